// The verbs of the program. Each has a file of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/config/io.hpp"
#include "linformer/core/format.hpp"

namespace linformer::cli {

/// A verb throws this to end the program with its own status, after it has said why (130 and 143 after a signal).
struct Exit {
  int status;
};

/// Options that every verb has.
struct Common {
  std::string config;  ///< --config FILE.toml; every verb checks the whole file
  bool json = false;   ///< --json: machine-readable results on standard output
  int threads = 0;     ///< 0 = as many as there are processors
  std::uint64_t seed = 0;
  std::string device = "cpu";
  std::string dtype = "auto";     ///< of inference; training has train.dtype, which this sets
  std::string products = "auto";  ///< only of verbs that run a model; training has train.products, which this sets
  bool verbose = false;           ///< only of verbs that run a model
};
/// What --dtype means to a verb.
struct DTypeFlag {
  std::string help = "auto, float32 or bfloat16";
  std::vector<std::string> names = {"auto", "float32", "bfloat16"};
  std::string flag = "--dtype";
};
/// Adds them to a verb. Call apply() first in the verb's callback: it sets threads, seed and device for the process,
/// and checks the whole config file, because a verb reads only some of its sections.
void add_common(CLI::App& verb, Common& common, const DTypeFlag& dtype = {});
void apply(const Common& common);

/// --verbose, for verbs that run attention. say_path() then names the implementation that ran, on standard error.
void add_verbose(CLI::App& verb, Common& common);
void say_path(const Common& common);

/// Writes to standard output. UserError when it can't be written: a full disk, a closed pipe. put() may keep bytes
/// until flush().
void put(std::string_view text);
template <class... Arguments>
  requires(sizeof...(Arguments) > 0)
void put(FormatPattern<Arguments...> pattern, const Arguments&... arguments) {
  put(std::string_view(formatted<Arguments...>(pattern, arguments...)));
}
void flush();

/// Makes the folder of --out, if one was given. Call it before the work, which would be lost otherwise.
void make_out_folder(const std::string& folder);

/// How the flag of a field may be spelled: "--generate.max_tokens" alone, or "--max-tokens" too.
enum class Spelling { full, full_and_short };

/// Adds a flag for each field. Precedence: defaults < `--config` file < command line. The handles must outlive parsing.
/// Call `merge` in the verb's callback: it reads the TOML file (if named) and then the flags that were given. UserError
/// when a flag comes twice with two values, in whatever spelling.
class FieldFlags {
 public:
  FieldFlags(CLI::App& verb, std::vector<FieldHandle> fields, Spelling spelling = Spelling::full);
  void merge(const std::string& config_file);

 private:
  void take(FieldHandle& field, const std::vector<std::string>& values) const;
  CLI::App& verb_;
  std::vector<FieldHandle> fields_;
  std::vector<std::vector<std::string>> values_;  // of each field, as often as its flag was given
};

/// The group of --help that the flags of fields stand in.
constexpr const char* kFieldGroup = "Fields";

/// Makes every option of `app` and its verbs that holds a number refuse what is no decimal number in its range. Call it
/// when all options are there.
void check_numbers(CLI::App& app);

/// The message for a command line that can't be parsed: what was given, what was expected, and the name that was
/// probably meant. `app` has tried to parse it.
std::string command_line_error(const CLI::App& app, const CLI::ParseError& error);

// Each adds its verb to `app`; its callback does the work.
void add_prepare(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_train(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_generate(CLI::App& app);
void add_logits(CLI::App& app);
void add_benchmark(CLI::App& app);
void add_ablate(CLI::App& app);
void add_audit(CLI::App& app);
void add_inspect(CLI::App& app);
void add_report(CLI::App& app);
void add_watch(CLI::App& app);
void add_info(CLI::App& app);

}  // namespace linformer::cli
