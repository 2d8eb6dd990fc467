#include "nn/slot_maker.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace linformer::nn {

namespace {

// (K,P): each slot is the mean of an equal part of the positions.
at::Tensor segment_means(std::int64_t slots, std::int64_t length) {
  auto means = at::zeros({slots, length}, at::kFloat);
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const auto first = slot * length / slots, last = (slot + 1) * length / slots;
    means[slot].slice(0, first, last).fill_(1.0 / static_cast<double>(std::max<std::int64_t>(last - first, 1)));
  }
  return means;
}

// How new entries start (maths 1, 4), by kind of projection.
at::Tensor draw(const LayerContext& context, const std::string& name, const SlotMaker& maker, bool block) {
  const std::int64_t heads = context.config.heads;
  const bool random = context.config.projection_start() == ProjectionStart::random;
  const bool linear = maker.projection == Projection::linear;
  std::vector<std::int64_t> shape = linear ? std::vector{maker.slots, maker.length} : std::vector{maker.segment};
  if (!maker.shared_by_heads) shape.insert(shape.begin(), heads);
  const auto noise = [](std::int64_t weights) { return 0.02 / std::sqrt(static_cast<double>(weights)); };
  if (!linear) {
    if (random) return context.parameters.normal(name, shape, 1.0 / std::sqrt(static_cast<double>(maker.segment)));
    const auto mean = [&] { return at::full({1}, 1.0 / static_cast<double>(maker.segment), at::kFloat); };
    return context.parameters.around(name, shape, mean, noise(maker.segment));
  }
  if (!random)
    return context.parameters.around(
        name, shape, [&] { return segment_means(maker.slots, maker.length); }, noise(maker.length));
  const auto variance = 1.0 / static_cast<double>(context.config.causal || block ? maker.length : maker.slots);
  return context.parameters.normal(name, shape, std::sqrt(variance));
}

}  // namespace

SlotMaker::SlotMaker(const LayerContext& context, bool block)
    : projection(context.config.attention.projection),
      shared_by_heads(context.config.attention.sharing != Sharing::none) {
  const auto& config = context.config;
  slots = block ? config.block_slots_of(context.layer) : config.slots_of(context.layer);
  length = block ? config.window() : config.length;
  if (slots == 0) return;  // a window alone
  segment = length / slots;
  const bool layerwise = config.attention.sharing == Sharing::layerwise;
  if (projection == Projection::dynamic) {
    if (layerwise && context.shared.scores.weight.defined()) {
      scores = context.shared.scores;
      return;
    }
    scores = Linear(context.parameters, context.name + ".projection", config.width, config.heads * slots,
                    config.initializer_range);
    context.shared.scores = scores;
  } else if (projection == Projection::linear || projection == Projection::convolution) {
    if (layerwise && context.shared.key.defined()) {
      key = value = context.shared.key;
      return;
    }
    key = draw(context, context.name + ".projection_key", *this, block);
    const bool tied = layerwise || config.attention.sharing == Sharing::key_value;
    value = tied ? key : draw(context, context.name + ".projection_value", *this, block);
    context.shared.key = key;
  }
}

std::pair<at::Tensor, at::Tensor> SlotMaker::projections(at::ScalarType dtype) const {
  if (!key.is_same(value)) return {key.to(dtype), value.to(dtype)};
  // A view collects the gradient of this layer before it is added to those of other layers. So the order of the sum,
  // and every bit of it, is the same when a layer is computed again (checkpoint.hpp).
  const auto both = key.view_as(key).to(dtype);
  return {both, both};
}

at::Tensor SlotMaker::scores_of(const at::Tensor& x_BNd, std::int64_t heads) const {
  if (projection != Projection::dynamic) return {};
  return scores(x_BNd).unflatten(-1, {heads, slots}).permute({0, 2, 3, 1});
}

at::Tensor SlotMaker::reads(const at::Tensor& x_BNd, std::int64_t heads, const ops::SummariseOptions& options) const {
  if (projection != Projection::dynamic) return {};
  const auto marks = identity_values(x_BNd.size(1), x_BNd).expand({x_BNd.size(0), heads, -1, -1});
  return ops::summarise_dynamic(marks, marks, scores_of(x_BNd, heads), options).value;
}

ops::Slots SlotMaker::operator()(const at::Tensor& scores_BHKM, const at::Tensor& key_BHMD,
                                 const at::Tensor& value_BHMD, const ops::SummariseOptions& options) const {
  if (slots == 0) return {key_BHMD.narrow(2, 0, 0), value_BHMD.narrow(2, 0, 0)};
  const auto dtype = key_BHMD.scalar_type();
  switch (projection) {
    case Projection::linear: {
      const auto [e, f] = projections(dtype);
      return ops::summarise_linear(key_BHMD, value_BHMD, e, f, options);
    }
    case Projection::dynamic:
      return ops::summarise_dynamic(key_BHMD, value_BHMD, scores_BHKM, options);
    case Projection::convolution: {
      const auto [e, f] = projections(dtype);
      return ops::summarise_convolution(key_BHMD, value_BHMD, e, f, options);
    }
    case Projection::mean:
      return ops::summarise_mean(key_BHMD, value_BHMD, segment, options);
    case Projection::max:
      return ops::summarise_max(key_BHMD, value_BHMD, segment, options);
  }
  return {};
}

}  // namespace linformer::nn
