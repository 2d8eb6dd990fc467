#include "text_input.hpp"

#include <cstdio>

#include "linformer/core/format.hpp"
#include "linformer/data/text_file.hpp"

namespace linformer::cli {

void read_input(const std::string& path, const std::function<void(std::string_view)>& sink) {
  const auto remark = remark_of(read_text(path, sink));
  if (!remark.empty()) say("linformer: {}: {}\n", name_of_input(path), remark);
}

std::string read_input(const std::string& path) {
  std::string text;
  read_input(path, [&](std::string_view piece) { text += piece; });
  return text;
}

}  // namespace linformer::cli
