// One file registers the operator for the dispatcher: schema, the implementation for the CPU and that for other
// devices, shapes for tracing, and autograd. Another device's kernel is one more TORCH_LIBRARY_IMPL.
#include "ops/attend_operator.hpp"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "linformer/core/error.hpp"
#include "linformer/ops/reference.hpp"
#include "ops/checks.hpp"
#include "ops/composed.hpp"
#include "ops/kernel.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

using Optional = std::optional<at::Tensor>;
using Ten = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor,
                       at::Tensor, at::Tensor>;

Tensors inputs_of(const kernel::Call& call) {
  return {call.query,     call.key,        call.value,    call.slot_key,   call.slot_value,
          call.slot_bias, call.slot_query, call.sink_key, call.sink_value, call.slot_offset};
}

std::optional<Slots> sinks_of(const at::Tensor& key, const at::Tensor& value) {
  return key.defined() ? std::optional(Slots{key, value}) : std::nullopt;
}

/// The call from operations that autograd knows; inputs as inputs_of() has them.
Composite attend_composite(std::int64_t window, std::int64_t first, std::optional<double> scale, bool reference) {
  return [=](const Tensors& x) -> Tensors {
    return {attend_from_operations(x[0], x[1], x[2], {x[3], x[4]},
                                   {.causal = window > 0,
                                    .window = window,
                                    .first = first,
                                    .slot_bias = or_none(x[5]),
                                    .slot_query = or_none(x[6]),
                                    .sinks = sinks_of(x[7], x[8]),
                                    .slot_offset = or_none(x[9]),
                                    .scale = scale},
                                   reference)};
  };
}

Composite composite_of(const kernel::Call& call, Path path) {
  return attend_composite(call.window, call.first, call.scale, path == Path::reference);
}

Ten as_tuple(const kernel::GradientTensors& x, const at::Tensor& like) {
  const auto given = [&](const at::Tensor& gradient) { return gradient.defined() ? gradient : nothing_like(like); };
  return {given(x[0]), given(x[1]), given(x[2]), given(x[3]), given(x[4]),
          given(x[5]), given(x[6]), given(x[7]), given(x[8]), given(x[9])};
}

using ForwardResult = std::tuple<at::Tensor, at::Tensor>;

ForwardResult forward_composed(const kernel::Call& call, Path path) {
  const auto out = kernel::outputs_of(call).first;
  out.copy_(composite_of(call, path)(inputs_of(call))[0]);
  return {out, nothing_like(out)};
}

Ten backward_composed(const kernel::Call& call, Path path, const at::Tensor& grad_out) {
  const auto found = gradients_of(composite_of(call, path), inputs_of(call), {grad_out});
  kernel::GradientTensors gradients;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const bool unread = call.window == 0 && (i == 1 || i == 2);
    gradients[i] = unread ? at::Tensor() : unless_nothing(found[i]);
  }
  return as_tuple(gradients, grad_out);
}

kernel::Call call_of(const Tensors& x, std::int64_t window, std::int64_t first, std::optional<double> scale) {
  return {x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], window, first, scale};
}

/// What backward has beside the call.
struct Results {
  at::Tensor grad_out, out, log_sum;
};

/// From the arguments of the schema to what the implementations take.
template <ForwardResult (*implementation)(const kernel::Call&, Path)>
ForwardResult attend_forward(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const at::Tensor& slot_key, const at::Tensor& slot_value, const Optional& slot_bias,
                             const Optional& slot_query, const Optional& sink_key, const Optional& sink_value,
                             const Optional& slot_offset, std::int64_t window, std::int64_t first,
                             std::optional<double> scale, std::string_view path) {
  return implementation(
      {query, key, value, slot_key, slot_value, or_undefined(slot_bias), or_undefined(slot_query),
       or_undefined(sink_key), or_undefined(sink_value), or_undefined(slot_offset), window, first, scale},
      parse_path(path));
}

template <Ten (*implementation)(const kernel::Call&, Path, const Results&)>
Ten attend_backward(const at::Tensor& grad_out, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const at::Tensor& slot_key, const at::Tensor& slot_value, const Optional& slot_bias,
                    const Optional& slot_query, const Optional& sink_key, const Optional& sink_value,
                    const Optional& slot_offset, const at::Tensor& out, const at::Tensor& log_sum, std::int64_t window,
                    std::int64_t first, std::optional<double> scale, std::string_view path) {
  return implementation(
      {query, key, value, slot_key, slot_value, or_undefined(slot_bias), or_undefined(slot_query),
       or_undefined(sink_key), or_undefined(sink_value), or_undefined(slot_offset), window, first, scale},
      parse_path(path), {grad_out, out, log_sum});
}

void check(const kernel::Call& call) {
  check_attend(call.query, call.key, call.value, {call.slot_key, call.slot_value},
               {.causal = call.window > 0,
                .window = call.window,
                .first = call.first,
                .slot_bias = or_none(call.slot_bias),
                .slot_query = or_none(call.slot_query),
                .sinks = sinks_of(call.sink_key, call.sink_value),
                .slot_offset = or_none(call.slot_offset)});
}

/// What the kernel reads without asking again.
void check_for_kernel(const kernel::Call& call) {
  const auto dtype = call.query.scalar_type();
  bool same = dtype == at::kFloat || dtype == at::kBFloat16;
  for (const auto* x :
       {&call.key, &call.value, &call.slot_key, &call.slot_value, &call.slot_query, &call.sink_key, &call.sink_value})
    same = same && (!x->defined() || x->scalar_type() == dtype);
  for (const auto* x : {&call.slot_bias, &call.slot_offset})
    same = same && (!x->defined() || x->scalar_type() == at::kFloat);
  require(
      same,
      "the attend kernel takes tensors of one dtype, float32 or bfloat16, and slot_bias and slot_offset in float32; "
      "query is {}",
      c10::toString(dtype));
}

ForwardResult forward_on_cpu(const kernel::Call& call, Path path) {
  check(call);
  if (path != Path::kernel) return forward_composed(call, path);
  check_for_kernel(call);
  const auto [out, log_sum] = kernel::forward(call);
  return {out, log_sum};
}

ForwardResult forward_elsewhere(const kernel::Call& call, Path path) {
  check(call);
  require(path != Path::kernel, "path kernel: there is none for the device {}; use auto, composed or reference",
          call.query.device().str());
  return forward_composed(call, path);
}

ForwardResult forward_shapes(const kernel::Call& call, Path path) {
  if (sizes_are_known({call.query, call.key, call.slot_key})) check(call);
  const auto [out, log_sum] = kernel::outputs_of(call);
  return {out, path == Path::kernel ? log_sum : nothing_like(out)};
}

Ten backward_on_cpu(const kernel::Call& call, Path path, const Results& results) {
  check(call);
  if (path != Path::kernel) return backward_composed(call, path, results.grad_out);
  check_for_kernel(call);
  const auto sizes = call.query.sizes();
  require(results.grad_out.sizes() == sizes && results.out.sizes() == sizes &&
              results.out.scalar_type() == call.query.scalar_type() && results.log_sum.sizes() == sizes.slice(0, 3) &&
              results.log_sum.scalar_type() == at::kFloat,
          "grad_out, out and log_sum don't fit the query; expected what attend_forward returned");
  return as_tuple(kernel::backward(call, results.grad_out, results.out, results.log_sum), results.grad_out);
}

Ten backward_elsewhere(const kernel::Call& call, Path path, const Results& results) {
  return backward_composed(call, path, results.grad_out);
}

Ten backward_shapes(const kernel::Call& call, Path path, const Results& results) {
  if (path == Path::kernel) return as_tuple(kernel::as_given(call, kernel::gradients_of(call)), results.grad_out);
  const auto all = inputs_of(call);
  kernel::GradientTensors gradients;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool unread = call.window == 0 && (i == 1 || i == 2);
    if (all[i].defined() && !unread) gradients[i] = at::empty_symint(all[i].sym_sizes(), all[i].options());
  }
  return as_tuple(gradients, results.grad_out);
}

ForwardResult call_forward(const kernel::Call& call, Path path) {
  using Signature = ForwardResult(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const Optional&, const Optional&, const Optional&, const Optional&,
                                  const Optional&, std::int64_t, std::int64_t, std::optional<double>, std::string_view);
  static const auto handle = operator_named<Signature>("linformer::attend_forward");
  return handle.call(call.query, call.key, call.value, call.slot_key, call.slot_value, or_none(call.slot_bias),
                     or_none(call.slot_query), or_none(call.sink_key), or_none(call.sink_value),
                     or_none(call.slot_offset), call.window, call.first, call.scale, path_name(path));
}

Ten call_backward(const kernel::Call& call, Path path, const Results& results) {
  using Signature =
      Ten(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
          const at::Tensor&, const Optional&, const Optional&, const Optional&, const Optional&, const Optional&,
          const at::Tensor&, const at::Tensor&, std::int64_t, std::int64_t, std::optional<double>, std::string_view);
  static const auto handle = operator_named<Signature>("linformer::attend_backward");
  return handle.call(results.grad_out, call.query, call.key, call.value, call.slot_key, call.slot_value,
                     or_none(call.slot_bias), or_none(call.slot_query), or_none(call.sink_key),
                     or_none(call.sink_value), or_none(call.slot_offset), results.out, results.log_sum, call.window,
                     call.first, call.scale, path_name(path));
}

Tensors as_list(const Ten& x) {
  return std::apply([](const auto&... each) { return Tensors{each...}; }, x);
}

ForwardResult forward_with_gradient(const kernel::Call& call, Path path) {
  const auto run = [&]() -> Tensors {
    const auto [out, log_sum] = call_forward(call, path);
    return {out, log_sum};
  };
  const auto gradient = [window = call.window, first = call.first, scale = call.scale, path](
                            const SavedCall& saved, const Tensors& grads) -> Tensors {
    const auto again = call_of(saved.inputs, window, first, scale);
    auto found = as_list(call_backward(again, path, {grads[0], saved.outputs[0], saved.outputs[1]}));
    for (auto& gradient_of_one : found) gradient_of_one = unless_nothing(gradient_of_one);
    // What a call doesn't read has the gradient 0 and not none.
    for (std::size_t i = 1; i <= 2 && window == 0; ++i) {
      if (saved.wanted[i]) found[i] = at::zeros({}, grads[0].options()).expand_symint(saved.inputs[i].sym_sizes());
    }
    return found;
  };
  const auto made = with_gradient("AttendBackward", inputs_of(call), 1, run, gradient);
  return {made[0], made[1]};
}

Ten backward_with_gradient(const kernel::Call& call, Path path, const Results& results) {
  auto inputs = inputs_of(call);
  inputs.insert(inputs.begin(), results.grad_out);
  const auto run = [&] { return as_list(call_backward(call, path, results)); };
  const auto gradient = [composite = composite_of(call, path)](const SavedCall& saved, const Tensors& grads) {
    return second_gradients(composite, 1, saved, grads);
  };
  const auto made = with_gradient("AttendSecondBackward", inputs, 10, run, gradient);
  return {made[0], made[1], made[2], made[3], made[4], made[5], made[6], made[7], made[8], made[9]};
}

TORCH_LIBRARY_FRAGMENT(linformer, library) {
  library.def(
      "attend_forward(Tensor query, Tensor key, Tensor value, Tensor slot_key, Tensor slot_value, Tensor? slot_bias, "
      "Tensor? slot_query, Tensor? sink_key, Tensor? sink_value, Tensor? slot_offset, int window, int first, "
      "float? scale, str path) -> (Tensor, Tensor)");
  library.def(
      "attend_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor slot_key, Tensor slot_value, "
      "Tensor? slot_bias, Tensor? slot_query, Tensor? sink_key, Tensor? sink_value, Tensor? slot_offset, Tensor out, "
      "Tensor log_sum, int window, int first, float? scale, str path) -> (Tensor, Tensor, Tensor, Tensor, Tensor, "
      "Tensor, Tensor, "
      "Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(linformer, CPU, library) {
  library.impl("attend_forward", attend_forward<forward_on_cpu>);
  library.impl("attend_backward", attend_backward<backward_on_cpu>);
}
TORCH_LIBRARY_IMPL(linformer, CompositeExplicitAutograd, library) {
  library.impl("attend_forward", attend_forward<forward_elsewhere>);
  library.impl("attend_backward", attend_backward<backward_elsewhere>);
}
TORCH_LIBRARY_IMPL(linformer, Meta, library) {
  library.impl("attend_forward", attend_forward<forward_shapes>);
  library.impl("attend_backward", attend_backward<backward_shapes>);
}
TORCH_LIBRARY_IMPL(linformer, Autograd, library) {
  library.impl("attend_forward", attend_forward<forward_with_gradient>);
  library.impl("attend_backward", attend_backward<backward_with_gradient>);
}

}  // namespace

at::Tensor attend_from_operations(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                  const Slots& slots, const AttendOptions& options, bool reference) {
  const auto repeated = [&](const at::Tensor& x) { return repeat_heads(x, query.size(1)); };
  const Slots all{repeated(slots.key), repeated(slots.value)};
  auto given = options;
  if (options.sinks) given.sinks = Slots{repeated(options.sinks->key), repeated(options.sinks->value)};
  if (options.slot_offset) given.slot_offset = repeated(*options.slot_offset);
  return reference ? reference::attend(query, repeated(key), repeated(value), all, given)
                   : composed::attend(query, repeated(key), repeated(value), all, given);
}

at::Tensor attend_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                              const Slots& slots, const AttendOptions& options, Path path) {
  const auto dtype = query.scalar_type();
  const auto as_logits = [&](const std::optional<at::Tensor>& x) {
    return x && path == Path::kernel ? x->to(at::kFloat) : or_undefined(x);
  };
  const auto sinks = options.sinks.value_or(Slots{});
  const auto as_query = [&](const at::Tensor& x) { return x.defined() ? x.to(dtype) : x; };
  return std::get<0>(call_forward(
      {query, key.to(dtype), value.to(dtype), slots.key.to(dtype), slots.value.to(dtype), as_logits(options.slot_bias),
       or_undefined(options.slot_query), as_query(sinks.key), as_query(sinks.value), as_logits(options.slot_offset),
       options.window, options.first, options.scale},
      path));
}

}  // namespace linformer::ops
