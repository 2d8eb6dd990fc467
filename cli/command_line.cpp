// What is wrong with a command line, in words that lead on.
#include <algorithm>
#include <string>
#include <vector>

#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

constexpr std::size_t kLine = 300;  // bytes of the library's message: it repeats what was given

// "; did you mean --train.steps?" for a flag such as --step or --stepz.
std::string flag_meant(const CLI::App& verb, const std::string& flag) {
  std::vector<std::string> names, keys;
  for (const auto* option : verb.get_options()) {
    for (const auto& name : option->get_lnames()) {
      names.push_back(name);
      keys.push_back(name.substr(name.find('.') + 1));
    }
  }
  auto near = nearest_name(flag, names);
  if (near.empty()) {
    if (const auto key = nearest_name(flag, keys); !key.empty())
      near = names[static_cast<std::size_t>(std::ranges::find(keys, key) - keys.begin())];
  }
  return near.empty() ? "" : formatted("; did you mean --{}?", near);
}

std::string of_verb(const CLI::App& verb, const CLI::ParseError& error) {
  const auto name = verb.get_name();
  // A wrong flag is said first: what is missing may stand behind it.
  for (const auto& word : verb.remaining()) {
    if (!word.starts_with("--")) continue;
    const auto flag = word.substr(2, word.find('=') - 2);
    const auto meant = flag_meant(verb, flag);
    return formatted("{}: unknown flag --{}{}", name, excerpt(flag),
                     meant.empty() ? formatted("; linformer {} --help lists the flags", name) : meant);
  }
  if (const auto rest = verb.remaining(); !rest.empty())
    return formatted("{}: '{}' was not expected; linformer {} --help lists what is", name, excerpt(rest.front()), name);
  return formatted("{}: {}; linformer {} --help lists the flags", name, excerpt(error.what(), kLine), name);
}

}  // namespace

std::string command_line_error(const CLI::App& app, const CLI::ParseError& error) {
  constexpr auto kList = "linformer --help lists the verbs";
  if (const auto given = app.get_subcommands(); !given.empty()) return of_verb(*given.front(), error);
  const auto rest = app.remaining();
  if (rest.empty()) return formatted("expected a verb, such as train; {}", kList);
  if (rest.front().starts_with('-')) return formatted("unknown flag {}; {}", excerpt(rest.front()), kList);
  std::vector<std::string> verbs;
  for (const auto* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  const auto near = nearest_name(rest.front(), verbs);
  return formatted("unknown verb '{}'; {}", excerpt(rest.front()),
                   near.empty() ? kList : formatted("did you mean {}?", near));
}

}  // namespace linformer::cli
