// Shape letters: B batch, N query length, M key length, H heads of queries, G heads of keys, D head width, K slots, J
// blocks of keys.
#include "ops/running_kernel.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/running.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

namespace linformer::ops::running {

namespace {

at::Tensor rows_contiguous(const at::Tensor& x) {
  return !x.defined() || x.size(-1) == 1 || x.stride(-1) == 1 ? x : x.contiguous();
}

kernels::ConstView rows_view(const at::Tensor& x) {
  return x.defined() ? kernels::ConstView{x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(2), 0}
                     : kernels::ConstView{};
}

kernels::ElementView written_view(const at::Tensor& x) {
  return x.defined() ? kernels::ElementView{x.mutable_data_ptr(), x.stride(0), x.stride(1), x.stride(2)}
                     : kernels::ElementView{};
}

const float* floats_of(const at::Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }
float* written_floats(const at::Tensor& x) { return x.defined() ? x.mutable_data_ptr<float>() : nullptr; }

/// (B,·,M,D) that lies as (B,M,·,D).
at::Tensor empty_rows(const at::Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options()).transpose(1, 2);
}

bool of_text(const at::Tensor& weights) { return weights.dim() == 4; }

/// Weights (K,P), (G,K,P) or (B,G,K,M) with four dimensions; what is shared has the stride 0.
at::Tensor with_heads(const at::Tensor& weights) {
  auto all = weights;
  while (all.dim() < 4) all = all.unsqueeze(0);
  return all;
}

/// Of a gradient, which lies as the weights do.
kernels::FloatView weights_gradient(const at::Tensor& weights) {
  const auto all = with_heads(weights);
  const auto shared = [&](std::int64_t dim) { return all.size(dim) == 1 ? 0 : all.stride(dim); };
  return {all.mutable_data_ptr<float>(), shared(0), shared(1), all.stride(2), 0};
}

/// Of what read_of() made of them: (B,G,K,M), or by blocks (J,K,W) or (G,J,K,W).
kernels::ConstView weights_read(const at::Tensor& weights, bool by_block, std::int64_t window) {
  const auto* data = weights.const_data_ptr();
  const auto stride = [&](std::int64_t dim) { return weights.size(dim) == 1 ? 0 : weights.stride(dim); };
  if (!by_block) return {data, stride(0), stride(1), weights.stride(2), window};
  return {data, 0, weights.dim() == 4 ? stride(0) : 0, window, weights.size(-2) * window};
}

/// What one call reads, so that it lives as long as the pointers to it.
struct Read {
  Tensors x;
  at::Tensor key_weights, value_weights;  // of the columns that are read, in the dtype of the query
};

Read read_of(const Tensors& given, const Settings& settings) {
  Read read{given, {}, {}};
  for (const auto place : {query, key, value, window_key, slot_query}) read.x[place] = rows_contiguous(given[place]);
  for (const auto place : {decay, key_before, value_before, slot_bias})
    if (given[place].defined()) read.x[place] = given[place].contiguous();
  for (std::size_t place = slot_key_norm; place < window_key; ++place)
    if (given[place].defined()) read.x[place] = given[place].contiguous();
  const auto dtype = given[query].scalar_type();
  const auto window = settings.window;
  const auto used = [&](const at::Tensor& weights) {
    if (of_text(weights)) return rows_contiguous(weights.to(dtype));
    // By blocks: a block's columns in one piece, for all heads that share them.
    const auto columns = settings.period > 0 ? weights.narrow(-1, 0, settings.period)
                                             : weights.narrow(-1, settings.column, taken_of(given, settings) * window);
    const auto blocks = columns.unflatten(-1, {columns.size(-1) / window, window}).transpose(-3, -2);
    return at::empty(blocks.sizes(), blocks.options().dtype(dtype)).copy_(blocks);
  };
  read.key_weights = used(given[key_weights]);
  read.value_weights = given[value_weights].defined() ? used(given[value_weights]) : read.key_weights;
  return read;
}

kernels::RunningInputs inputs_of(const Read& read, const Settings& settings) {
  const auto& x = read.x;
  const auto norm = [&](std::size_t place) {
    return kernels::RowNorm{floats_of(x[place]), floats_of(x[place + 1]), settings.rms[(place - slot_key_norm) / 2]};
  };
  const auto side = [&](std::size_t rows, const at::Tensor& own, std::size_t window_norm, std::size_t slot_norm,
                        const at::Tensor& given, const at::Tensor& weights, std::size_t before) {
    return kernels::RunningSide{.rows = rows_view(x[rows]),
                                .own = rows_view(own),
                                .window_norm = norm(window_norm),
                                .slot_norm = norm(slot_norm),
                                .weights = weights_read(weights, !of_text(given), settings.window),
                                .before = floats_of(x[before])};
  };
  const auto& decays = x[decay];
  kernels::DecayView decay_view{};
  if (decays.defined() && decays.dim() == 2) decay_view = {floats_of(decays), 0, decays.stride(0), decays.stride(1), 0};
  if (decays.defined() && decays.dim() == 4)
    decay_view = {floats_of(decays), decays.stride(0), decays.stride(1), decays.stride(2), decays.stride(3)};
  const auto& q = x[query];
  return {
      .shape = {q.size(0), q.size(1), q.size(2), q.size(3), settings.window, read.key_weights.size(-2),
                kernels::SlotKind::running, settings.first / settings.window, q.size(1) / x[key].size(1)},
      .element = element_of(q.scalar_type()),
      .query = rows_view(q),
      .slot_query = rows_view(x[slot_query]),
      .key = side(key, x[window_key], window_key_norm, slot_key_norm, x[key_weights], read.key_weights, key_before),
      .value = side(value, {}, window_value_norm, slot_value_norm, x[key_weights], read.value_weights, value_before),
      .column = settings.period > 0 ? settings.column : 0,
      .period = settings.period,
      .decay = decay_view,
      .slot_bias = floats_of(x[slot_bias]),
      .scale = static_cast<float>(scale_or_default(settings.scale, q))};
}

/// Gradients of one side, and where the kernel writes them.
kernels::RunningSideGradients side_gradients(const at::Tensor& sums, Tensors& found, std::size_t rows,
                                             const at::Tensor& weights, std::size_t before,
                                             const at::Tensor& window_norm, const at::Tensor& slot_norm) {
  kernels::RunningSideGradients side{.sums = floats_of(sums),
                                     .rows = written_view(found[rows]),
                                     .own = {},
                                     .weights = {},
                                     .weight_count = 0,
                                     .before = written_floats(found[before]),
                                     .window_norm = written_floats(window_norm),
                                     .slot_norm = written_floats(slot_norm)};
  if (!weights.defined()) return side;
  side.weights = weights_gradient(weights);
  side.weight_count = weights.numel();
  return side;
}

}  // namespace

std::int64_t steps_of(const Tensors& x, const Settings& settings) {
  return ceil_divide(x[query].size(2), settings.window);
}

std::int64_t taken_of(const Tensors& x, const Settings& settings) {
  return std::max<std::int64_t>(steps_of(x, settings) - (settings.first > 0 ? 1 : 2), 0);
}

Tensors forward(const Tensors& x, const Settings& settings, bool training) {
  const auto read = read_of(x, settings);
  const auto inputs = inputs_of(read, settings);
  const auto& q = x[query];
  const auto floats = q.options().dtype(at::kFloat);
  const auto heads = x[key].size(1), slots = read.key_weights.size(-2);
  const auto out = empty_rows(q), log_sum = at::empty({q.size(0), q.size(1), q.size(2)}, floats),
             key_sums = at::empty({q.size(0), heads, slots, q.size(3)}, floats), value_sums = at::empty_like(key_sums),
             checkpoints = training && inputs.checkpoints() > 0
                               ? at::empty({q.size(0), heads, inputs.checkpoints(), 2, slots, q.size(3)}, floats)
                               : nothing_like(log_sum);
  kernels::running_forward(inputs, {.output = written_view(out),
                                    .log_sum = written_floats(log_sum),
                                    .key_sums = written_floats(key_sums),
                                    .value_sums = written_floats(value_sums),
                                    .checkpoints = checkpoints.numel() > 0 ? written_floats(checkpoints) : nullptr});
  return {out, key_sums, value_sums, log_sum, checkpoints};
}

Tensors backward(const Tensors& x, const Settings& settings, const Tensors& results, const Tensors& grads,
                 const std::vector<bool>& wanted) {
  const auto read = read_of(x, settings);
  const auto& out = results[0];
  const auto grad_out = rows_contiguous(grads[0].defined() ? grads[0].to(out.scalar_type()) : at::zeros_like(out));
  const auto sums_gradient = [](const at::Tensor& grad) {
    return grad.defined() ? grad.to(at::kFloat).contiguous() : grad;
  };
  const auto grad_key_sums = sums_gradient(grads[1]), grad_value_sums = sums_gradient(grads[2]);
  Tensors found(place_count);
  for (const auto place : {query, key, value, window_key, slot_query})
    if (x[place].defined()) found[place] = empty_rows(x[place]);
  const bool one = !x[value_weights].defined();
  for (const auto place : {key_weights, value_weights})
    if (wanted[place] && x[place].defined())
      found[place] = at::zeros(x[place].sizes(), x[place].options().dtype(at::kFloat));
  for (const auto place : {decay, slot_bias})
    if (wanted[place]) found[place] = at::zeros(x[place].sizes(), x[place].options());
  for (const auto place : {key_before, value_before})
    if (wanted[place]) found[place] = at::empty(x[place].sizes(), x[place].options());
  Tensors norms(place_count);
  for (std::size_t place = slot_key_norm; place < window_key; place += 2)
    if (x[place].defined()) norms[place] = at::zeros({2, x[place].size(0)}, x[place].options());
  kernels::RunningGradients gradients{
      .output = rows_view(out),
      .grad_output = rows_view(grad_out),
      .log_sum = floats_of(results[3]),
      .checkpoints = floats_of(results[4]),
      .query = written_view(found[query]),
      .slot_query = written_view(found[slot_query]),
      .key = side_gradients(grad_key_sums, found, key, found[key_weights], key_before, norms[window_key_norm],
                            norms[slot_key_norm]),
      .value = side_gradients(grad_value_sums, found, value, found[one ? key_weights : value_weights], value_before,
                              norms[window_value_norm], norms[slot_value_norm]),
      .column = of_text(x[key_weights]) ? 0 : settings.column,
      .decay = written_floats(found[decay]),
      .decay_blocks = x[decay].defined() && x[decay].dim() == 4 ? x[decay].size(3) : 0,
      .slot_bias = written_floats(found[slot_bias])};
  gradients.key.own = written_view(found[window_key]);
  kernels::running_backward(inputs_of(read, settings), gradients);
  for (std::size_t place = slot_key_norm; place < window_key; place += 2) {
    if (!norms[place].defined()) continue;
    found[place] = norms[place][0];
    if (x[place + 1].defined()) found[place + 1] = norms[place][1];
  }
  return found;
}

}  // namespace linformer::ops::running
