#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <string>

#include "linformer/core/hash.hpp"

namespace linformer {

/// The SHA-256 of the numbers of a tensor, row by row.
inline std::string tensor_hash(const at::Tensor& tensor) {
  const auto bytes = tensor.detach().cpu().contiguous();
  return sha256(std::span(static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()));
}

}  // namespace linformer
