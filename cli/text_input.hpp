// Text that a verb reads from a file or standard input.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace linformer::cli {

/// read_text() (data/text_file.hpp); what a user should know of the text is said on standard error.
void read_input(const std::string& path, const std::function<void(std::string_view)>& sink);
/// The whole of it.
std::string read_input(const std::string& path);

}  // namespace linformer::cli
