#include "linformer/core/format.hpp"

#include <fmt/args.h>
#include <fmt/format.h>

#include <cstdio>

namespace linformer {

std::string formatted_at_run_time(std::string_view pattern, std::span<const FormatArgument> arguments) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  store.reserve(arguments.size(), 0);
  for (const auto& argument : arguments) {
    std::visit([&store](const auto& value) { store.push_back(value); }, argument.value());
  }
  return fmt::vformat({pattern.data(), pattern.size()}, store);
}

void say(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace linformer
