// The public operators: checks, then the path that serves the case.
#include "linformer/ops/attention.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>

#include "linformer/core/error.hpp"
#include "linformer/ops/reference.hpp"
#include "linformer/ops/summarise.hpp"
#include "ops/attend_operator.hpp"
#include "ops/checks.hpp"
#include "ops/composed.hpp"
#include "ops/composite_operators.hpp"
#include "ops/fused.hpp"
#include "ops/kernel.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

void check_prefix(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const at::Tensor& projection_key, const at::Tensor& projection_value, const PrefixOptions& options) {
  check_query_key_value(query, key, value);
  check_same_length(query, key);
  check_projections(projection_key, projection_value, key, key.size(2), false);
  check_sums(options.before, key, projection_key.size(-2));
  require(options.chunk >= 0, "chunk is {}; expected 0 (chosen) or more", options.chunk);
}

at::Tensor softmax_of_heads(at::Tensor (*softmax)(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                  const SoftmaxOptions&),
                            const Tensors& x, const SoftmaxOptions& options) {
  const auto heads = x[0].size(1);
  return softmax(x[0], repeat_heads(x[1], heads), repeat_heads(x[2], heads), options);
}

/// The engine's fused attention, whose gradient can't be derived again: that of the reference can. Its own graph ends
/// at copies of the inputs; a node stands for all of it.
at::Tensor fused_softmax(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const SoftmaxOptions& options) {
  struct Graph {
    Tensors leaves;
    at::Tensor out;
  };
  const auto graph = std::make_shared<Graph>();
  const auto run = [&]() -> Tensors {
    const AutogradOn autograd_on;
    for (const auto* x : {&query, &key, &value})
      graph->leaves.push_back(x->detach().requires_grad_(x->requires_grad()));
    graph->out = softmax_of_heads(fused::softmax_attention, graph->leaves, options);
    return {graph->out.detach()};
  };
  const auto gradient = [graph, options](const SavedCall& call, const Tensors& grads) -> Tensors {
    if (at::GradMode::is_enabled()) {
      return derivable_gradients(
          [&](const Tensors& x) -> Tensors { return {softmax_of_heads(reference::softmax_attention, x, options)}; },
          call.inputs, grads);
    }
    Tensors wanted, results(3);
    for (const auto& leaf : graph->leaves) {
      if (leaf.requires_grad()) wanted.push_back(leaf);
    }
    const auto found = torch::autograd::grad({graph->out}, wanted, grads, true, false, true);
    for (std::size_t i = 0, next = 0; i < results.size(); ++i) {
      if (graph->leaves[i].requires_grad()) results[i] = found[next++];
    }
    return results;
  };
  if (!at::GradMode::is_enabled() || !(query.requires_grad() || key.requires_grad() || value.requires_grad()))
    return softmax_of_heads(fused::softmax_attention, {query, key, value}, options);
  return with_gradient("SoftmaxAttentionBackward", {query, key, value}, 1, run, gradient)[0];
}

bool is_half(const at::Tensor& x) { return x.scalar_type() == at::kHalf; }
at::Tensor to_float(const at::Tensor& x) { return x.to(at::kFloat); }

}  // namespace

at::Tensor repeat_heads(const at::Tensor& x, std::int64_t heads) {
  const auto own = x.size(1);
  require(own > 0 && heads % own == 0, "{} heads of keys for {} of queries; expected a divisor of it", own, heads);
  return own == heads ? x : x.repeat_interleave(heads / own, 1);
}

namespace direct {

at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options) {
  check_query_key_value(query, key, value);
  require(!options.causal || query.size(2) <= key.size(2),
          "query has {} positions and key {}; a causal form needs at least as many keys", query.size(2), key.size(2));
  check_padding_mask(options.key_padding_mask, key);
  // With all weights in one piece there is nothing to cut: composed is the reference.
  return choose_path(options.path, Path::fused, fused::unserved(key)) == Path::fused
             ? fused_softmax(query, key, value, options)
             : softmax_of_heads(reference::softmax_attention, {query, key, value}, options);
}

at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options) {
  check_prefix(query, key, value, projection_key, projection_value, options);
  if (is_half(query)) {
    return direct::prefix_attention(to_float(query), to_float(key), to_float(value), to_float(projection_key),
                                    to_float(projection_value), options)
        .to(at::kHalf);
  }
  const auto heads = query.size(1);
  if (key.size(1) != heads) {
    const auto repeated = [&](const at::Tensor& x) { return repeat_heads(x, heads); };
    const auto projection = [&](const at::Tensor& x) { return x.dim() == 2 ? x : repeated(x.unsqueeze(0)).squeeze(0); };
    auto all = options;
    if (options.before) all.before = Slots{repeated(options.before->key), repeated(options.before->value)};
    return direct::prefix_attention(query, repeated(key), repeated(value), projection(projection_key),
                                    projection(projection_value), all);
  }
  return choose_path(options.path, Path::composed) == Path::reference
             ? reference::prefix_attention(query, key, value, projection_key, projection_value, options)
             : composed::prefix_attention(query, key, value, projection_key, projection_value, options);
}

}  // namespace direct

at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options) {
  return is_traced({query, key, value}) ? softmax_attention_as_operator(query, key, value, options)
                                        : direct::softmax_attention(query, key, value, options);
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options) {
  if (sizes_are_known({query, key, value, slots.key, slots.value})) check_attend(query, key, value, slots, options);
  if (is_half(query)) {
    auto as_float = options;
    if (options.slot_query) as_float.slot_query = to_float(*options.slot_query);
    if (options.sinks) as_float.sinks = Slots{to_float(options.sinks->key), to_float(options.sinks->value)};
    const auto out = attend(to_float(query), key, value, {to_float(slots.key), to_float(slots.value)}, as_float);
    return out.to(at::kHalf);
  }
  const auto path = choose_path(options.path, Path::kernel, kernel::unserved(query, slots, options));
  const auto sinks = options.sinks.value_or(Slots{key, value});
  if (path == Path::kernel || is_traced({query, key, value, slots.key, slots.value, sinks.key, sinks.value,
                                         options.slot_offset.value_or(query)}))
    return attend_as_operator(query, key, value, slots, options, path);
  return attend_from_operations(query, key, value, slots, options, path == Path::reference);
}

at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options) {
  return is_traced({query, key, value, projection_key, projection_value})
             ? prefix_attention_as_operator(query, key, value, projection_key, projection_value, options)
             : direct::prefix_attention(query, key, value, projection_key, projection_value, options);
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const at::Tensor& projection_key, const at::Tensor& projection_value,
                     const AttentionOptions& options) {
  check_window(options.window);
  require(options.causal || options.window == 0,
          "window is {} without causal; a window is for the causal form: set causal, or window = 0", options.window);
  require(!options.causal || !options.key_padding_mask,
          "key_padding_mask is for the bidirectional form; a causal form needs none when padding stands at "
          "the end");
  const SummariseOptions summarise{
      .window = options.window, .block = options.block, .key_padding_mask = options.key_padding_mask};
  const bool traced = is_traced({query, key, value, projection_key, projection_value});
  if (sizes_are_known({query, key, value})) {
    check_query_key_value(query, key, value);
    if (options.causal) check_same_length(query, key);
    check_summarise(summarise, key);
  }
  if (options.causal && options.window == 0) {
    return prefix_attention(query, key, value, projection_key, projection_value,
                            {.scale = options.scale, .path = options.path});
  }
  if (is_half(query)) {
    return attention(to_float(query), to_float(key), to_float(value), to_float(projection_key),
                     to_float(projection_value), options)
        .to(at::kHalf);
  }
  const bool reference = options.path == Path::reference;
  const auto slots =
      traced      ? summarise_linear_as_operator(key, value, projection_key, projection_value, summarise, reference)
      : reference ? reference::summarise_linear(key, value, projection_key, projection_value, summarise)
                  : summarise_linear(key, value, projection_key, projection_value, summarise);
  return attend(query, key, value, slots,
                {.causal = options.causal, .window = options.window, .scale = options.scale, .path = options.path});
}

}  // namespace linformer::ops
