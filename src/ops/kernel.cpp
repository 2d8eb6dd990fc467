// Shape letters: B batch, N query length, M key length, H heads, D head width, K slots, W window, r slots a
// block, G = r·ceil(N/W).
#include "ops/kernel.hpp"

#include <ATen/ATen.h>

#include "kernels/attend.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

namespace linformer::ops::kernel {

namespace {

/// The tensor itself where rows of D are contiguous, else a copy.
at::Tensor with_contiguous_rows(const at::Tensor& x) {
  return !x.defined() || x.size(-1) == 1 || x.stride(-1) == 1 ? x : x.contiguous();
}

kernels::ConstView view_of(const at::Tensor& x) {
  const bool running = x.dim() == 5;
  return {x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(-2), running ? x.stride(2) : 0};
}

kernels::FloatView float_view_of(const at::Tensor& x) {
  const bool running = x.dim() == 5;
  return {x.mutable_data_ptr<float>(), x.stride(0), x.stride(1), x.stride(-2), running ? x.stride(2) : 0};
}

template <class Number>
kernels::SlotNumbers<Number> numbers_of(const at::Tensor& x, Number* data) {
  return {data, x.stride(0), x.stride(1), x.stride(2)};
}

kernels::ConstView view_if_defined(const at::Tensor& x) { return x.defined() ? view_of(x) : kernels::ConstView{}; }
kernels::FloatView float_view_if_defined(const at::Tensor& x) {
  return x.defined() ? float_view_of(x) : kernels::FloatView{};
}

/// (B,H,N,D) that lies as (B,N,H,D).
at::Tensor empty_by_position(const at::Tensor& like, const c10::SymInt& heads, at::ScalarType dtype) {
  return at::empty_symint({like.sym_size(0), like.sym_size(2), heads, like.sym_size(3)}, like.options().dtype(dtype))
      .transpose(1, 2);
}

/// The gradient of G heads, of which each query head has a share: (B,H,…) → (B,G,…).
at::Tensor sum_of_groups(const at::Tensor& grad, const c10::SymInt& heads) {
  if (grad.sym_size(1) == heads) return grad;
  return grad.unflatten_symint(1, {heads, grad.sym_size(1) / heads}).sum(2);
}

/// The call with rows of D contiguous.
Call readable(const Call& call) {
  const auto row = with_contiguous_rows;
  return {row(call.query),
          row(call.key),
          row(call.value),
          row(call.slot_key),
          row(call.slot_value),
          call.slot_bias.defined() ? call.slot_bias.contiguous() : at::Tensor(),
          row(call.slot_query),
          row(call.sink_key),
          row(call.sink_value),
          row(call.slot_offset),
          call.window,
          call.first,
          call.scale};
}

kernels::AttendInputs inputs_of(const Call& call) {
  const auto &query = call.query, &slot_key = call.slot_key;
  const bool running = slot_key.dim() == 5;
  const auto kind = running           ? kernels::SlotKind::running
                    : call.window > 0 ? kernels::SlotKind::block
                                      : kernels::SlotKind::whole;
  const auto first_block = call.window > 0 ? call.first / call.window : 0;
  const auto slots = kind == kernels::SlotKind::block
                         ? slot_key.size(2) / (first_block + ceil_divide(query.size(2), call.window))
                         : slot_key.size(-2);
  return {.shape = {query.size(0), query.size(1), query.size(2), query.size(3), call.window, slots, kind, first_block,
                    query.size(1) / slot_key.size(1), call.sink_key.defined() ? call.sink_key.size(2) : 0},
          .element = element_of(query.scalar_type()),
          .query = view_of(query),
          .key = view_of(call.key),
          .value = view_of(call.value),
          .slot_key = view_of(slot_key),
          .slot_value = view_of(call.slot_value),
          .slot_bias = call.slot_bias.defined() ? call.slot_bias.const_data_ptr<float>() : nullptr,
          .scale = static_cast<float>(scale_or_default(call.scale, query)),
          .slot_query = view_if_defined(call.slot_query),
          .sink_key = view_if_defined(call.sink_key),
          .sink_value = view_if_defined(call.sink_value),
          .slot_offset = call.slot_offset.defined()
                             ? numbers_of(call.slot_offset, call.slot_offset.const_data_ptr<float>())
                             : kernels::SlotNumbers<const float>{}};
}

}  // namespace

std::string unserved(const at::Tensor& query, const Slots& slots, const AttendOptions& options) {
  for (const auto& tensor :
       {query, slots.key, slots.value, options.slot_bias.value_or(query), options.slot_offset.value_or(query)}) {
    if (!tensor.device().is_cpu()) return formatted("device {}; expected cpu", tensor.device().str());
  }
  const auto dtype = query.scalar_type();
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    return formatted("dtype {}; expected Float or BFloat16", c10::toString(dtype));
  }
  return {};
}

std::pair<at::Tensor, at::Tensor> outputs_of(const Call& call) {
  const auto& query = call.query;
  return {
      empty_by_position(query, query.sym_size(1), query.scalar_type()),
      at::empty_symint({query.sym_size(0), query.sym_size(1), query.sym_size(2)}, query.options().dtype(at::kFloat))};
}

std::pair<at::Tensor, at::Tensor> forward(const Call& given) {
  const auto call = readable(given);
  auto made = outputs_of(call);
  const auto& [out, log_sum_BHN] = made;
  kernels::attend_forward(inputs_of(call), {out.mutable_data_ptr(), out.stride(0), out.stride(1), out.stride(2),
                                            log_sum_BHN.mutable_data_ptr<float>()});
  return made;
}

GradientTensors gradients_of(const Call& call) {
  const auto heads = call.query.sym_size(1), own = call.slot_key.sym_size(1);
  const auto zeros = [&](const at::Tensor& like) {
    auto sizes = like.sym_sizes().vec();
    sizes[1] = heads;
    return at::zeros_symint(sizes, like.options().dtype(at::kFloat));
  };
  const auto zeros_of_window = [&](const at::Tensor& like) {
    return call.window > 0 ? empty_by_position(like, heads, at::kFloat).zero_() : at::Tensor();
  };
  const auto of_query = [&] { return empty_by_position(call.query, heads, at::kFloat); };
  return {of_query(),
          zeros_of_window(call.key),
          zeros_of_window(call.key),
          zeros(call.slot_key),
          zeros(call.slot_key),
          call.slot_bias.defined() ? at::zeros_like(call.slot_bias) : at::Tensor(),
          call.slot_query.defined() ? of_query() : at::Tensor(),
          call.sink_key.defined() ? zeros(call.sink_key) : at::Tensor(),
          call.sink_value.defined() ? zeros(call.sink_value) : at::Tensor(),
          call.slot_offset.defined() ? zeros(call.slot_offset) : at::Tensor()};
}

GradientTensors as_given(const Call& call, const GradientTensors& gradients) {
  const auto own = call.slot_key.sym_size(1);
  const auto dtype = call.query.scalar_type();
  auto made = gradients;
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (i == 5 || !made[i].defined()) continue;  // slot_bias is of query heads, and float32
    const bool of_key_heads = (i >= 1 && i <= 4) || i >= 7;
    made[i] = of_key_heads ? sum_of_groups(made[i], own) : made[i];
    if (i < 9) made[i] = made[i].to(dtype);  // slot_offset is float32
  }
  return made;
}

GradientTensors backward(const Call& given, const at::Tensor& given_grad_out, const at::Tensor& given_out,
                         const at::Tensor& given_log_sum) {
  const auto call = readable(given);
  const auto out = with_contiguous_rows(given_out), log_sum_BHN = given_log_sum.contiguous();
  const auto grad_out = with_contiguous_rows(given_grad_out.to(out.scalar_type()));
  const auto gradients = gradients_of(call);
  const auto& [query, key, value, slot_key, slot_value, slot_bias, slot_query, sink_key, sink_value, slot_offset] =
      gradients;
  kernels::attend_backward(
      inputs_of(call),
      {.output = view_of(out),
       .grad_output = view_of(grad_out),
       .log_sum = log_sum_BHN.const_data_ptr<float>(),
       .query = float_view_of(query),
       .key = float_view_if_defined(key),
       .value = float_view_if_defined(value),
       .slot_key = float_view_of(slot_key),
       .slot_value = float_view_of(slot_value),
       .slot_bias = slot_bias.defined() ? slot_bias.mutable_data_ptr<float>() : nullptr,
       .slot_query = float_view_if_defined(slot_query),
       .sink_key = float_view_if_defined(sink_key),
       .sink_value = float_view_if_defined(sink_value),
       .slot_offset = slot_offset.defined() ? numbers_of(slot_offset, slot_offset.mutable_data_ptr<float>())
                                            : kernels::SlotNumbers<float>{}});
  return as_given(call, gradients);
}

}  // namespace linformer::ops::kernel
