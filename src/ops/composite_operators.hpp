// Operators for calls that are traced, of forms made of tensor operations: PyTorch sees one operator each, whose
// implementation chooses products, loops and chunks by sizes that are known when it runs. Its gradient computes the
// form again. Arguments as those of the functions in linformer/ops.
#pragma once

#include "linformer/ops/attention.hpp"
#include "linformer/ops/summarise.hpp"

namespace linformer::ops {

at::Tensor softmax_attention_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                         const SoftmaxOptions& options);

at::Tensor prefix_attention_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                        const at::Tensor& projection_key, const at::Tensor& projection_value,
                                        const PrefixOptions& options);

/// `reference`: from the reference's operations.
Slots summarise_linear_as_operator(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                                   const at::Tensor& projection_value, const SummariseOptions& options, bool reference);

/// The functions of linformer/ops/attention.hpp as they run when nothing is traced.
namespace direct {
at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options);
at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options);
}  // namespace direct

/// Of keys or of values: slots by a linear projection. `before` undefined: nothing is before.
at::Tensor linear_slots(const at::Tensor& projection, const at::Tensor& x_BHMD, const SummariseOptions& options,
                        const at::Tensor& before);

}  // namespace linformer::ops
