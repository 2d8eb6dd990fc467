// How the fast decoder holds the weights of linear layers.
#pragma once

#include <string_view>

namespace linformer::kernels {

enum class WeightFormat { float32, bfloat16, int8 };

/// "float32", "bfloat16" or "int8".
std::string_view weight_format_name(WeightFormat format);

}  // namespace linformer::kernels
