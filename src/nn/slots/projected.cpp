#include "nn/slots/projected.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

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

}  // namespace

std::pair<at::Tensor, at::Tensor> ProjectedSlots::projections(at::ScalarType dtype) const {
  if (!key_.is_same(value_)) return {key_.to(dtype), value_.to(dtype)};
  // A view collects the gradient of this layer before it is added to those of other layers. So the order of the sum,
  // and every bit of it, is the same when a layer is computed again (checkpoint.hpp).
  const auto both = key_.view_as(key_).to(dtype);
  return {both, both};
}

at::Tensor ProjectedSlots::draw_matrix(const LayerContext& context, const std::string& name, at::IntArrayRef shape) {
  const auto slots = shape[shape.size() - 2], columns = shape.back();
  if (context.config.projection_start() == ProjectionStart::means)
    return context.parameters.around(
        name, shape, [&] { return segment_means(slots, columns); }, noise_of_means(columns));
  const auto variance = 1.0 / static_cast<double>(context.config.causal ? columns : slots);
  return context.parameters.normal(name, shape, std::sqrt(variance));
}

double ProjectedSlots::noise_of_means(std::int64_t weights) { return 0.02 / std::sqrt(static_cast<double>(weights)); }

}  // namespace linformer::nn
