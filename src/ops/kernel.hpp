// The attend kernel on tensors, as the implementation of an operator: without autograd. Arguments are checked by the
// callers.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "linformer/ops/attention.hpp"

namespace linformer::ops::kernel {

/// Why the kernel can't serve a case ("dtype Double; expected Float or BFloat16"), or nothing where it can.
std::string unserved(const at::Tensor& query, const Slots& slots, const AttendOptions& options);

/// The tensors and numbers of one call, in one dtype; slot_bias and slot_offset in float32. Those after slot_value may
/// be undefined.
struct Call {
  at::Tensor query, key, value, slot_key, slot_value, slot_bias, slot_query, sink_key, sink_value, slot_offset;
  std::int64_t window, first;
  std::optional<double> scale;
};

/// What a call writes: out (B,H,N,D) that lies as (B,N,H,D), so that heads are joined without a copy; and the sums that
/// backward needs (B,H,N).
std::pair<at::Tensor, at::Tensor> outputs_of(const Call& call);
std::pair<at::Tensor, at::Tensor> forward(const Call& call);

/// Gradients of the call's tensors, in their order, in float32 and of each query head. Undefined where nothing is
/// written: of what is undefined, and of key and value without a window.
using GradientTensors = std::array<at::Tensor, 10>;
GradientTensors gradients_of(const Call& call);
/// From that to what the operator returns: of as many heads as the call's tensors have, in their dtype.
GradientTensors as_given(const Call& call, const GradientTensors& gradients);
GradientTensors backward(const Call& call, const at::Tensor& grad_out, const at::Tensor& out,
                         const at::Tensor& log_sum_BHN);

}  // namespace linformer::ops::kernel
