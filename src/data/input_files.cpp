#include "data/input_files.hpp"

#include <algorithm>
#include <iterator>
#include <system_error>

#include "linformer/config/output_folder.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/path.hpp"
#include "linformer/data/text_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

std::string output_of(FolderKind kind) {
  switch (kind) {
    case FolderKind::prepared:
      return "prepared text";
    case FolderKind::run:
      return "a training run";
    case FolderKind::model:
      return "a model";
    case FolderKind::ablation:
      return "an ablation";
    case FolderKind::other:
      break;
  }
  return {};
}

/// Collects the text files of one folder.
class FolderReader {
 public:
  FolderReader(const fs::path& folder, const fs::path& out) : folder_(folder), out_(resolved_path(out)) {
    if (leaves_out(folder, why_no_input(folder))) return;
    std::error_code error;
    auto entry = fs::recursive_directory_iterator(folder, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      std::error_code ignored;
      if (!entry->is_symlink(ignored) && entry->is_directory(ignored)) {
        const bool hidden = is_hidden(entry->path());
        if (leaves_out(entry->path(), hidden ? "hidden" : why_no_input(entry->path()))) {
          entry.disable_recursion_pending();
        }
      } else if (!leaves_out(entry->path(), why_no_input_file(*entry))) {
        files_.push_back(entry->path().string());
      }
    }
    require(!error, "{}: {}", folder.string(), error.message());
  }

  /// Moves what was found to `found`.
  void give(InputFiles& found) {
    const auto by_path = [](const LeftOut& one, const LeftOut& other) { return one.path < other.path; };
    std::sort(left_out_.begin(), left_out_.end(), by_path);
    // A folder that is an output itself may be named by a pattern such as texts/*.
    const bool whole = left_out_.size() == 1 && left_out_.front().path == folder_.string();
    require(!files_.empty() || whole, "{} holds no text file{}", folder_.string(), summary());
    std::sort(files_.begin(), files_.end());
    std::ranges::move(files_, std::back_inserter(found.files));
    std::ranges::move(left_out_, std::back_inserter(found.left_out));
  }

 private:
  static bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

  bool leaves_out(const fs::path& path, std::string reason) {
    if (reason.empty()) return false;
    left_out_.push_back({.path = path.string(), .reason = std::move(reason)});
    return true;
  }

  std::string why_no_input(const fs::path& folder) const {
    if (is_inside(folder, out_)) return "the folder to write";
    return output_of(folder_kind(folder));
  }

  std::string why_no_input_file(const fs::directory_entry& entry) const {
    std::error_code ignored;
    const auto& path = entry.path();
    if (is_hidden(path)) return "hidden";
    if (entry.is_directory(ignored)) return "a link to a folder";
    if (!entry.is_regular_file(ignored)) return "not a regular file";
    if (entry.is_symlink(ignored)) {
      const auto folder = resolved_path(path).parent_path();
      if (auto reason = why_no_input(folder); !reason.empty()) return reason;
      // Some files of a run lie in a folder of it.
      if (auto reason = why_no_input(folder.parent_path()); !reason.empty()) return reason;
    }
    return is_results_file(path) ? "results of this program" : why_no_text(path.string());
  }

  /// For the message that nothing was found.
  std::string summary() const {
    if (left_out_.empty()) return {};
    const auto& [path, reason] = left_out_.front();
    return formatted(": {} left out, such as {} ({}); a file named by itself with --input is taken as it is",
                     left_out_.size(), path, reason);
  }

  const fs::path folder_, out_;
  std::vector<std::string> files_;
  std::vector<LeftOut> left_out_;
};

}  // namespace

InputFiles find_input_files(const std::vector<std::string>& inputs, const fs::path& out, const std::string& flag) {
  require(!inputs.empty(), "no input; name text files, folders or - (standard input) with --input");
  require(std::count(inputs.begin(), inputs.end(), "-") <= 1,
          "--input - comes twice, but standard input can be read only once");
  InputFiles found;
  for (const std::string& input : inputs) {
    std::error_code error;
    require(input == "-" || fs::exists(input, error), "{} {}: no such file or folder", flag, input);
    if (input != "-" && fs::is_directory(input, error)) {
      FolderReader(input, out).give(found);
    } else {
      found.files.push_back(input);
    }
  }
  if (found.files.empty()) {
    fail("{} {}: is {}, so there is no text to read; name text files or folders of text", flag, inputs.front(),
         found.left_out.front().reason);
  }
  return found;
}

}  // namespace linformer
