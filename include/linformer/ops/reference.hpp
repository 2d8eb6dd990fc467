// The reference for every fast path: each form computed exactly as its equation is written, with all the memory that
// this takes. Differentiable, for any floating dtype (bfloat16 and float16 are computed in float32). Arguments are
// those of ops/attention.hpp and ops/summarise.hpp; `path` and `chunk` are ignored.
#pragma once

#include "linformer/ops/attention.hpp"
#include "linformer/ops/summarise.hpp"

namespace linformer::ops::reference {

/// softmax(QKᵀ·scale)V with all N×M weights (maths 5). A row that sees no key gives zeros.
at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options);

/// One softmax over all N×N window logits and the logits of the slots (maths 4, 4a).
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options);

/// Each row t has its own sums S_t and U_t (maths 3). Needs N×K×D memory.
at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options);

/// Computes the slots of each block by a separate product (maths 1, 4).
Slots summarise_linear(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                       const at::Tensor& projection_value, const SummariseOptions& options);

}  // namespace linformer::ops::reference
