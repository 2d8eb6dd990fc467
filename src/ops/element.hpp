// Which dtype of a tensor is which of the kernels' elements.
#pragma once

#include <c10/core/ScalarType.h>

#include "kernels/attend.hpp"

namespace linformer::ops {

/// float32 or bfloat16.
inline kernels::Element element_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? kernels::Element::float32 : kernels::Element::bfloat16;
}

}  // namespace linformer::ops
