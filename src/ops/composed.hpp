// Attention from the engine's tensor operations, in the chunked forms, which can be derived any number of times.
// Arguments are checked by the callers.
#pragma once

#include "linformer/ops/attention.hpp"

namespace linformer::ops::composed {

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options);
at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options);

/// E x for each block: projection (K,T,C) or (H,K,T,C), x (B,H,T,C,D) → (B,H,T,K,D). One product a block for
/// all batches and shared heads, so that neither forward nor backward holds a projection for each sequence.
at::Tensor project_blocks(const at::Tensor& projection, const at::Tensor& x);

/// Rows of `x` (B,H,N,D) from `start`, padded with zeros to `blocks` blocks of `size`: (B,H,blocks,size,D).
at::Tensor to_blocks(const at::Tensor& x, std::int64_t start, std::int64_t blocks, std::int64_t size);

}  // namespace linformer::ops::composed
