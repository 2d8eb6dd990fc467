// attend_running(): checks, the path that serves, and the node on autograd's graph. Shape letters: see
// linformer/ops/running.hpp; here also T blocks of queries.
#include "linformer/ops/running.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/ops/autocast.hpp"
#include "ops/attend_operator.hpp"
#include "ops/checks.hpp"
#include "ops/composed.hpp"
#include "ops/operator_node.hpp"
#include "ops/running_kernel.hpp"

namespace linformer::ops {

namespace {

using running::Place;
using running::Settings;

/// What each block of keys adds to the sums: (B,G,J,K,D), in float32 at least.
at::Tensor block_parts(const at::Tensor& weights, const at::Tensor& x_BGMD, std::int64_t taken,
                       const Settings& settings) {
  const auto window = settings.window, count = taken * window;
  auto columns = wide(weights);
  if (weights.dim() < 4 && settings.period > 0) {
    std::vector<std::int64_t> times(static_cast<std::size_t>(weights.dim()), 1);
    times.back() = ceil_divide(settings.column + count, settings.period);
    columns = columns.narrow(-1, 0, settings.period).repeat(times);
  }
  columns = columns.narrow(-1, weights.dim() == 4 ? 0 : settings.column, count).unflatten(-1, {taken, window});
  const auto blocks = wide(composed::to_blocks(x_BGMD, 0, taken, window));
  columns = columns.to(blocks.scalar_type());
  return weights.dim() == 4 ? at::einsum("bhktc,bhtcd->bhtkd", {columns, blocks})
                            : composed::project_blocks(columns, blocks);
}

/// The sums that each block of queries sees: (B,G,T,K,D).
at::Tensor sums_of_steps(const at::Tensor& weights, const at::Tensor& x_BGMD, const at::Tensor& before,
                         const at::Tensor& decay, std::int64_t steps, std::int64_t taken, const Settings& settings) {
  const auto parts = block_parts(weights, x_BGMD, taken, settings);
  auto sum = before.defined() ? before.to(parts.scalar_type()) : at::zeros_like(parts.sum(2));
  std::vector<at::Tensor> entries(static_cast<std::size_t>(steps - taken), sum);
  for (std::int64_t block = 0; block < taken; ++block) {
    if (decay.defined())
      sum = sum * (decay.dim() == 4 ? decay.select(3, block) : decay).unsqueeze(-1).to(sum.scalar_type());
    sum = sum + parts.select(2, block);
    entries.push_back(sum);
  }
  return at::stack(entries, 2);
}

/// What the weights say; the rest of the settings is that of a text's start.
Settings settings_of(const SlotWrites& writes, std::int64_t window) {
  const bool text = writes.key_weights.defined() && writes.key_weights.dim() == 4;
  return {.window = window,
          .first = 0,
          .column = writes.period > 0 ? writes.first % writes.period : writes.first,
          .period = text ? 0 : writes.period,
          .scale = std::nullopt,
          .rms = {}};
}

/// The call from operations that autograd knows: {out, sums of keys, sums of values}.
Composite running_composite(const Settings& settings, bool reference) {
  return [=](const Tensors& x) -> Tensors {
    const AutocastOff autocast_off(x[Place::query].device().type());
    const auto dtype = x[Place::query].scalar_type();
    const auto steps = running::steps_of(x, settings), taken = running::taken_of(x, settings);
    const auto normed = [&](const at::Tensor& rows, std::size_t place) {
      if (!x[place].defined()) return rows.to(dtype);
      const auto bias = x[place + 1].defined() ? wide(x[place + 1]) : at::Tensor();
      const LayerNorm norm{wide(x[place]), bias, settings.rms[(place - Place::slot_key_norm) / 2]};
      return layer_norm(wide(rows), norm, dtype);
    };
    const auto key_sums = sums_of_steps(x[Place::key_weights], x[Place::key], x[Place::key_before], x[Place::decay],
                                        steps, taken, settings),
               value_sums = sums_of_steps(running::weights_of_values(x), x[Place::value], x[Place::value_before],
                                          x[Place::decay], steps, taken, settings);
    const auto window_key =
        x[Place::window_key].defined() ? x[Place::window_key] : normed(x[Place::key], Place::window_key_norm);
    const auto out =
        attend_from_operations(x[Place::query], window_key, normed(x[Place::value], Place::window_value_norm),
                               {normed(key_sums, Place::slot_key_norm), normed(value_sums, Place::slot_value_norm)},
                               {.causal = true,
                                .window = settings.window,
                                .first = settings.first,
                                .slot_bias = or_none(x[Place::slot_bias]),
                                .slot_query = or_none(x[Place::slot_query]),
                                .scale = settings.scale},
                               reference);
    return {out, key_sums.select(2, steps - 1).clone(), value_sums.select(2, steps - 1).clone()};
  };
}

void check_weights(const char* name, const at::Tensor& weights, const at::Tensor& key, std::int64_t read,
                   const SlotWrites& writes) {
  require(weights.defined() && weights.dim() >= 2 && weights.dim() <= 4,
          "{} is {}; expected (K,P), (G,K,P) or (B,G,K,M)", name,
          weights.defined() ? shape_text(weights) : "undefined");
  check_same_device(name, weights, "key", key);
  const bool text = weights.dim() == 4;
  const auto columns = text ? read : writes.period > 0 ? writes.period : writes.first + read;
  require((weights.dim() == 2 || weights.size(text ? 1 : 0) == key.size(1)) &&
              (!text || weights.size(0) == key.size(0)) && weights.size(-2) > 0 && weights.size(-1) >= columns,
          "{} has shape {}; expected {} with at least {} columns, as key is {}", name, shape_text(weights),
          text ? "(B,G,K,M)" : "(K,P) or (G,K,P)", columns, shape_text(key));
}

void check_decay(const at::Tensor& decay, const at::Tensor& key, std::int64_t slots, std::int64_t taken) {
  if (!decay.defined()) return;
  check_same_device("decay", decay, "key", key);
  const auto heads = key.size(1);
  const bool fits = decay.dim() == 2 ? decay.size(0) == heads && decay.size(1) == slots
                                     : decay.dim() == 4 && decay.size(0) == key.size(0) && decay.size(1) == heads &&
                                           decay.size(2) == slots && decay.size(3) >= taken;
  require(fits, "decay has shape {}; expected (G,K) = ({},{}) or (B,G,K,J) with J at least {}", shape_text(decay),
          heads, slots, taken);
}

void check_writes(const SlotWrites& writes, const at::Tensor& key, std::int64_t window, std::int64_t taken) {
  require(writes.first >= 0 && writes.first % window == 0 && writes.period >= 0 && writes.period % window == 0,
          "weights begin at {} and repeat after {}; expected multiples of the window, {}", writes.first, writes.period,
          window);
  check_weights("key_weights", writes.key_weights, key, taken * window, writes);
  check_weights("value_weights", writes.value_weights, key, taken * window, writes);
  const auto slots = writes.key_weights.size(-2);
  require(writes.value_weights.size(-2) == slots && writes.value_weights.dim() / 4 == writes.key_weights.dim() / 4,
          "value_weights has shape {}; expected as many slots as key_weights, {}, and both by position or of the text",
          shape_text(writes.value_weights), shape_text(writes.key_weights));
  check_decay(writes.decay, key, slots, taken);
}

void check_norm_of(const char* name, const LayerNorm& norm, const at::Tensor& key) {
  for (const auto& row : {norm.weight, norm.bias}) {
    require(!row.defined() || (row.dim() == 1 && row.size(0) == key.size(3)), "{} has shape {}; expected (D) = ({})",
            name, row.defined() ? shape_text(row) : "", key.size(3));
  }
}

void check_running(const Tensors& x, const SlotWrites& writes, const RunningOptions& options,
                   const Settings& settings) {
  const auto &query = x[Place::query], &key = x[Place::key];
  require(options.window > 0, "window is {}; expected 1 or more", options.window);
  const auto none = at::empty({key.size(0), key.size(1), 0, key.size(3)}, key.options());
  check_attend(query, key, x[Place::value], {none, none},
               {.causal = true,
                .window = options.window,
                .first = options.first,
                .slot_bias = options.slot_bias,
                .slot_query = options.slot_query});
  check_writes(writes, key, options.window, running::taken_of(x, settings));
  check_sums(options.before, key, writes.key_weights.size(-2));
  const auto& norms = options.norms;
  for (const auto* norm : {&norms.slot_key, &norms.slot_value, &norms.window_key, &norms.window_value})
    check_norm_of("a norm", *norm, key);
  if (!options.window_key) return;
  require(options.window_key->sizes() == key.sizes() && !norms.window_key.weight.defined(),
          "window_key has shape {}; expected that of key, {}, and no norm window_key beside it",
          shape_text(*options.window_key), shape_text(key));
}

Tensors inputs_of(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const SlotWrites& writes,
                  const RunningOptions& options) {
  const auto& norms = options.norms;
  const auto before = options.before.value_or(Slots{});
  return {query,
          key,
          value,
          writes.key_weights,
          writes.value_weights.is_same(writes.key_weights) ? at::Tensor() : writes.value_weights,
          writes.decay,
          before.key,
          before.value,
          norms.slot_key.weight,
          norms.slot_key.bias,
          norms.slot_value.weight,
          norms.slot_value.bias,
          norms.window_key.weight,
          norms.window_key.bias,
          norms.window_value.weight,
          norms.window_value.bias,
          or_undefined(options.window_key),
          or_undefined(options.slot_bias),
          or_undefined(options.slot_query)};
}

/// In the dtypes that the kernel reads. Weights are cast within: only the columns that a call uses.
Tensors as_kernel_reads(const Tensors& given) {
  auto x = given;
  const auto dtype = given[Place::query].scalar_type();
  for (auto place = 0UL; place < x.size(); ++place) {
    if (!x[place].defined() || place == Place::key_weights || place == Place::value_weights) continue;
    const bool rows = place <= Place::value || place == Place::window_key || place == Place::slot_query;
    x[place] = x[place].to(rows ? dtype : at::kFloat);
  }
  return x;
}

Tensors run_kernel_node(const Tensors& x, const Settings& settings) {
  const bool training = torch::autograd::compute_requires_grad(at::TensorList(x));
  const auto run = [&] { return running::forward(x, settings, training); };
  const auto gradient = [settings](const SavedCall& saved, const Tensors& grads) {
    const Tensors some(grads.begin(), grads.begin() + running::differentiable_results);
    if (at::GradMode::is_enabled()) return derivable_gradients(running_composite(settings, false), saved.inputs, some);
    return running::backward(saved.inputs, settings, saved.outputs, some, saved.wanted);
  };
  // Backward doesn't read the sums after; of short texts they would be the largest thing kept beside keys and values.
  return with_gradient("AttendRunningBackward", x, running::differentiable_results, run, gradient, 1);
}

std::string unserved(const Tensors& x) {
  for (const auto& tensor : x) {
    if (!tensor.defined()) continue;
    if (is_traced({tensor})) return "traced";
    if (!tensor.device().is_cpu()) return formatted("device {}; expected cpu", tensor.device().str());
    if (tensor.scalar_type() != at::kFloat && tensor.scalar_type() != at::kBFloat16)
      return formatted("dtype {}; expected Float or BFloat16", c10::toString(tensor.scalar_type()));
  }
  return {};
}

}  // namespace

Slots running_sums(const at::Tensor& key, const at::Tensor& value, const SlotWrites& writes, std::int64_t window,
                   const std::optional<Slots>& before) {
  const AutocastOff autocast_off(key.device().type());
  check_key_value(key, value);
  check_summarise({.window = window, .before = before}, key);
  require(window > 0, "window is {}; expected 1 or more", window);
  const auto blocks = ceil_divide(key.size(2), window), steps = before ? blocks - 1 : blocks;
  const auto taken = before ? steps - 1 : std::max<std::int64_t>(blocks - 2, 0);
  check_writes(writes, key, window, taken);
  check_sums(before, key, writes.key_weights.size(-2));
  const auto settings = settings_of(writes, window);
  const auto sums = before.value_or(Slots{});
  return {sums_of_steps(writes.key_weights, key, sums.key, writes.decay, steps, taken, settings),
          sums_of_steps(writes.value_weights, value, sums.value, writes.decay, steps, taken, settings)};
}

bool running_kernel_serves(const at::Tensor& query) { return unserved({query}).empty(); }

RunningResult attend_running(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SlotWrites& writes, const RunningOptions& options) {
  const auto x = inputs_of(query, key, value, writes, options);
  const auto& norms = options.norms;
  auto settings = settings_of(writes, options.window);
  settings.first = options.first;
  settings.scale = options.scale;
  settings.rms = {norms.slot_key.rms, norms.slot_value.rms, norms.window_key.rms, norms.window_value.rms};
  check_running(x, writes, options, settings);
  const auto path = choose_path(options.path, Path::kernel, unserved(x));
  auto made = path == Path::kernel ? run_kernel_node(as_kernel_reads(x), settings)
                                   : running_composite(settings, path == Path::reference)(x);
  return {std::move(made[0]), {std::move(made[1]), std::move(made[2])}};
}

}  // namespace linformer::ops
