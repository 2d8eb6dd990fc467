#include "linformer/kernels/weight_format.hpp"

namespace linformer::kernels {

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::float32:
      return "float32";
    case WeightFormat::bfloat16:
      return "bfloat16";
    case WeightFormat::int8:
      return "int8";
  }
  return "";
}

}  // namespace linformer::kernels
