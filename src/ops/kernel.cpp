// Shape letters: B batch, N query length, M key length, H heads, D head width, K slots, W window, r slots a
// block, G = r·ceil(N/W).
#include "ops/kernel.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <initializer_list>
#include <optional>

#include "kernels/attend.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

namespace linformer::ops::kernel {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The tensor itself where rows of D are contiguous, else a copy.
at::Tensor with_contiguous_rows(const at::Tensor& x) {
  return x.size(-1) == 1 || x.stride(-1) == 1 ? x : x.contiguous();
}

kernels::ConstView view_of(const at::Tensor& x) {
  const bool running = x.dim() == 5;
  return {x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(-2), running ? x.stride(2) : 0};
}

kernels::FloatView float_view_of(const at::Tensor& x) {
  const bool running = x.dim() == 5;
  return {x.mutable_data_ptr<float>(), x.stride(0), x.stride(1), x.stride(-2), running ? x.stride(2) : 0};
}

/// (B,H,N,D) that lies as (B,N,H,D), so that heads are joined without a copy.
at::Tensor empty_by_position(const at::Tensor& like, std::int64_t heads, at::ScalarType dtype) {
  return at::empty({like.size(0), like.size(2), heads, like.size(3)}, like.options().dtype(dtype)).transpose(1, 2);
}

/// The gradient of G heads, of which each query head has a share: (B,H,…) → (B,G,…).
at::Tensor sum_of_groups(const at::Tensor& grad, std::int64_t heads) {
  return grad.size(1) == heads ? grad : grad.unflatten(1, {heads, grad.size(1) / heads}).sum(2);
}

/// The tensors and numbers of one call.
struct Call {
  at::Tensor query, key, value, slot_key, slot_value, slot_bias;  // slot_bias float32 or undefined
  std::int64_t window, first;
  double scale;

  kernels::AttendInputs inputs() const {
    const bool running = slot_key.dim() == 5;
    const auto kind = running      ? kernels::SlotKind::running
                      : window > 0 ? kernels::SlotKind::block
                                   : kernels::SlotKind::whole;
    const auto first_block = window > 0 ? first / window : 0;
    const auto slots = kind == kernels::SlotKind::block
                           ? slot_key.size(2) / (first_block + ceil_divide(query.size(2), window))
                           : slot_key.size(-2);
    return {.shape = {query.size(0), query.size(1), query.size(2), query.size(3), window, slots, kind, first_block,
                      query.size(1) / slot_key.size(1)},
            .element = element_of(query.scalar_type()),
            .query = view_of(query),
            .key = view_of(key),
            .value = view_of(value),
            .slot_key = view_of(slot_key),
            .slot_value = view_of(slot_value),
            .slot_bias = slot_bias.defined() ? slot_bias.const_data_ptr<float>() : nullptr,
            .scale = static_cast<float>(scale)};
  }
};

class Attend : public torch::autograd::Function<Attend> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const at::Tensor& slot_key, const at::Tensor& slot_value,
                            const std::optional<at::Tensor>& slot_bias, std::int64_t window, std::int64_t first,
                            double scale) {
    const Call call{with_contiguous_rows(query),
                    with_contiguous_rows(key),
                    with_contiguous_rows(value),
                    with_contiguous_rows(slot_key),
                    with_contiguous_rows(slot_value),
                    slot_bias ? slot_bias->contiguous() : at::Tensor(),
                    window,
                    first,
                    scale};
    const auto out = empty_by_position(query, query.size(1), query.scalar_type());
    const auto log_sum_BHN =
        at::empty({query.size(0), query.size(1), query.size(2)}, query.options().dtype(at::kFloat));
    kernels::attend_forward(call.inputs(), {out.mutable_data_ptr(), out.stride(0), out.stride(1), out.stride(2),
                                            log_sum_BHN.mutable_data_ptr<float>()});
    context->save_for_backward(
        {call.query, call.key, call.value, call.slot_key, call.slot_value, call.slot_bias, out, log_sum_BHN});
    context->saved_data["window"] = window;
    context->saved_data["first"] = first;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    require(!at::GradMode::is_enabled(),
            "the attend kernel has no second derivative. Call backward without create_graph, or take path = composed, "
            "which has one");
    const auto saved = context->get_saved_variables();
    const Call call{saved[0],
                    saved[1],
                    saved[2],
                    saved[3],
                    saved[4],
                    saved[5],
                    context->saved_data["window"].toInt(),
                    context->saved_data["first"].toInt(),
                    context->saved_data["scale"].toDouble()};
    const auto& out = saved[6];
    const auto grad_out = with_contiguous_rows(gradients[0].to(out.scalar_type()));
    const auto heads = call.query.size(1), own = call.slot_key.size(1);
    const auto zeros = [&](const at::Tensor& like) {
      if (own == heads) return at::zeros_like(like, like.options().dtype(at::kFloat));
      auto sizes = like.sizes().vec();
      sizes[1] = heads;
      return at::zeros(sizes, like.options().dtype(at::kFloat));
    };
    const auto zeros_of_window = [&](const at::Tensor& like) {  // without a window nothing is written
      return call.window > 0 ? empty_by_position(like, heads, at::kFloat).zero_()
                             : at::zeros({}, like.options().dtype(at::kFloat)).expand(like.sizes());
    };
    const auto grad_query = empty_by_position(call.query, heads, at::kFloat);
    const auto grad_key = zeros_of_window(call.key), grad_value = zeros_of_window(call.key);
    const auto grad_slot_key = zeros(call.slot_key), grad_slot_value = zeros(call.slot_key);
    const auto grad_bias = call.slot_bias.defined() ? at::zeros_like(call.slot_bias) : at::Tensor();
    kernels::attend_backward(call.inputs(),
                             {.output = view_of(out),
                              .grad_output = view_of(grad_out),
                              .log_sum = saved[7].const_data_ptr<float>(),
                              .query = float_view_of(grad_query),
                              .key = float_view_of(grad_key),
                              .value = float_view_of(grad_value),
                              .slot_key = float_view_of(grad_slot_key),
                              .slot_value = float_view_of(grad_slot_value),
                              .slot_bias = grad_bias.defined() ? grad_bias.mutable_data_ptr<float>() : nullptr});
    const auto dtype = out.scalar_type();
    return {grad_query.to(dtype),
            sum_of_groups(grad_key, own).to(dtype),
            sum_of_groups(grad_value, own).to(dtype),
            sum_of_groups(grad_slot_key, own).to(dtype),
            sum_of_groups(grad_slot_value, own).to(dtype),
            grad_bias,
            {},
            {},
            {}};
  }
};

}  // namespace

std::string unserved(const at::Tensor& query, const Slots& slots, const AttendOptions& options) {
  for (const auto& tensor : {query, slots.key, slots.value, options.slot_bias.value_or(query)}) {
    if (!tensor.device().is_cpu()) return formatted("device {}; expected cpu", tensor.device().str());
  }
  const auto dtype = query.scalar_type();
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    return formatted("dtype {}; expected Float or BFloat16", c10::toString(dtype));
  }
  return {};
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options) {
  const auto dtype = query.scalar_type();
  auto slot_bias = options.slot_bias;
  if (slot_bias) slot_bias = slot_bias->to(at::kFloat);
  return Attend::apply(query, key.to(dtype), value.to(dtype), slots.key.to(dtype), slots.value.to(dtype), slot_bias,
                       options.window, options.first, scale_or_default(options.scale, query));
}

}  // namespace linformer::ops::kernel
