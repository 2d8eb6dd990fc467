#include "config/toml.hpp"

// toml++ asserts some of what a file says, such as the first character of a table's name in "[$]", and an assertion
// ends the process. Without assertions it goes on as if they held. So they are on, and throw.
#undef NDEBUG
namespace linformer {
struct BrokenToml {};
[[noreturn]] static void throw_broken_toml() { throw BrokenToml(); }
}  // namespace linformer
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : ::linformer::throw_broken_toml())
#define TOML_HEADER_ONLY 1
#define TOML_MAX_NESTED_VALUES 64
#include <toml++/toml.h>

#include <string>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kMostDots = 16;  // of one key; a field's name has one
constexpr std::size_t kReasonBytes = 200;

/// Where a TOML text is, as far as its strings and comments have to be told from the rest.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  /// What toml++ would fail over, with its line; "" where there is nothing of the kind. It makes a table for each part
  /// of a key, and ends them in calls that lie in each other, so that a key of 150,000 parts runs out of stack. And it
  /// has no answer to some letters outside ASCII, which TOML allows in strings and comments alone. A quote begins a
  /// string only where a key or a value may begin; in the middle of a word it takes the quote for one of its letters.
  std::string mistake() {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";
    if (rest_.starts_with(kMark)) skip(kMark.size());
    char before = '\n';  // the last one that is no space
    for (std::size_t dots = 0; !rest_.empty();) {
      const char c = rest_.front();
      if (c == '"' || c == '\'') {
        if (std::string_view("\n=,[]{}.").find(before) == std::string_view::npos)
          return formatted("line {}: a quote behind '{}'; a text begins behind one of = , [ {{ or on a line of its own",
                           line_, excerpt(std::string_view(&before, 1)));
        skip_string(c);
        before = c;
        continue;
      }
      if (c == '#') {
        skip(std::min(rest_.find('\n'), rest_.size()));
        continue;
      }
      if (static_cast<unsigned char>(c) >= 0x80)
        return formatted("line {}: a letter outside ASCII, which needs quotes around it", line_);
      if (c == '.' && ++dots > kMostDots)
        return formatted("line {}: a key has more than {} dots; a field's name has one", line_, kMostDots);
      if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) dots = 0;
      if (c != ' ' && c != '\t' && c != '\r') before = c;
      skip(1);
    }
    return "";
  }

 private:
  void skip(std::size_t count) {
    line_ += static_cast<std::size_t>(std::ranges::count(rest_.substr(0, count), '\n'));
    rest_.remove_prefix(std::min(count, rest_.size()));
  }

  // A string of one line ends there at the latest; the parser says what is wrong with it.
  void skip_string(char quote) {
    const std::string three(3, quote);
    const bool long_string = rest_.starts_with(three);
    const std::string_view end = long_string ? std::string_view(three) : std::string_view(three).substr(0, 1);
    skip(end.size());
    while (!rest_.empty() && !rest_.starts_with(end)) {
      if (!long_string && rest_.front() == '\n') return;
      skip(quote == '"' && rest_.front() == '\\' ? 2 : 1);
    }
    skip(end.size());
    // Quotes in front of the three that end a long string belong to it.
    while (long_string && rest_.starts_with(quote)) skip(1);
  }

  std::string_view rest_;
  std::size_t line_ = 1;
};

json to_json(const toml::node& node, std::string_view source, std::size_t depth = 0) {
  const auto place = node.source().begin;
  if (depth > kDeepest) {
    fail("{}: line {}, column {}: tables and lists lie in each other more than {} deep; no field needs that", source,
         place.line, place.column, kDeepest);
  }
  if (const auto* table = node.as_table()) {
    json object = json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value, source, depth + 1);
    return object;
  }
  if (const auto* array = node.as_array()) {
    json list = json::array();
    for (const auto& value : *array) list.push_back(to_json(value, source, depth + 1));
    return list;
  }
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* whole = node.as_integer()) return whole->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  fail("{}: line {}, column {}: no field holds a date or time; put text in quotes", source, place.line, place.column);
}

}  // namespace

json parse_toml(std::string_view text, std::string_view source) {
  if (const auto mistake = Scanner(text).mistake(); !mistake.empty()) fail("{}: {}", source, mistake);
  try {
    return to_json(toml::parse(text, source), source);
  } catch (const toml::parse_error& error) {
    const auto place = error.source().begin;
    fail("{}: line {}, column {}: {}", source, place.line, place.column, excerpt(error.description(), kReasonBytes));
  } catch (const BrokenToml&) {
    fail("{}: not valid TOML; look for a table's name between [ and ] that doesn't begin with a letter, digit or quote",
         source);
  }
}

json read_toml(const std::filesystem::path& path) { return parse_toml(read_file(path), path.string()); }

}  // namespace linformer
