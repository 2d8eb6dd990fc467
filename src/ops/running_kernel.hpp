// The running kernel on tensors, as a node of autograd's graph needs it. Arguments are checked by the callers.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "ops/operator_node.hpp"

namespace linformer::ops::running {

/// Which tensor of a call stands where. Norms: weight, then bias.
enum Place : std::size_t {
  query,
  key,
  value,
  key_weights,
  value_weights,
  decay,
  key_before,
  value_before,
  slot_key_norm,
  slot_value_norm = slot_key_norm + 2,
  window_key_norm = slot_value_norm + 2,
  window_value_norm = window_key_norm + 2,
  window_key = window_value_norm + 2,
  slot_bias,
  slot_query,
  place_count
};

/// What a call is told beside its tensors.
struct Settings {
  std::int64_t window, first, column, period;
  std::optional<double> scale;
  std::array<bool, 4> rms;  ///< of the norms, in their order
};

/// The weights of values; without any of their own, those of keys. One tensor for both is one input, so that autograd
/// gets one gradient of it.
inline const at::Tensor& weights_of_values(const Tensors& x) {
  return x[value_weights].defined() ? x[value_weights] : x[key_weights];
}

/// Steps: blocks of queries. Of `taken` blocks of keys the weights are read.
std::int64_t steps_of(const Tensors& x, const Settings& settings);
std::int64_t taken_of(const Tensors& x, const Settings& settings);

/// {out, sums of keys, sums of values, log sums, checkpoints}; the last is empty (0) without `training`.
Tensors forward(const Tensors& x, const Settings& settings, bool training);
constexpr std::size_t result_count = 5, differentiable_results = 3;

/// Gradients in the order of the places, undefined where none is `wanted`. `grads`: of the first three results, each
/// of which may be undefined.
Tensors backward(const Tensors& x, const Settings& settings, const Tensors& results, const Tensors& grads,
                 const std::vector<bool>& wanted);

}  // namespace linformer::ops::running
