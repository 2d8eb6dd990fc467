// The engine's own fused attention. Arguments are checked by the callers.
#pragma once

#include <string>

#include "linformer/ops/attention.hpp"

namespace linformer::ops::fused {

/// Why it can't serve these keys; empty if it can.
std::string unserved(const at::Tensor& key);
at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options);

}  // namespace linformer::ops::fused
