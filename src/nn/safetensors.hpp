#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "linformer/nn/model_file.hpp"

namespace linformer {

/// As read_safetensors(), of the file's content; `file` names it in messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

}  // namespace linformer
