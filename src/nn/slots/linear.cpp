#include "nn/slots/linear.hpp"

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

LinearSlots::LinearSlots(const LayerContext& context) : ProjectedSlots(context) {
  make(context, {slots_, length_}, [&](const std::string& name, at::IntArrayRef shape) {
    if (context.config.projection_start() == ProjectionStart::means)
      return context.parameters.around(
          name, shape, [&] { return segment_means(slots_, length_); }, noise_of_means(length_));
    const auto variance = 1.0 / static_cast<double>(context.config.causal ? length_ : slots_);
    return context.parameters.normal(name, shape, std::sqrt(variance));
  });
}

ops::Slots LinearSlots::summarise(const SlotText& text, const ops::SummariseOptions& options) const {
  const auto [e, f] = projections(text.key.scalar_type());
  const auto from_first = [&](const at::Tensor& projection) {
    return text.first == 0 ? projection : projection.narrow(-1, text.first, length_ - text.first);
  };
  if (form_ == Form::block) return ops::summarise_linear(text.key, text.value, e, f, options);
  return ops::summarise_linear(text.key, text.value, from_first(e), from_first(f), options);
}

ops::Slots LinearSlots::sums_after(const ops::Slots& sums, const SlotText& blocks) const {
  const auto sum_of = [&](const at::Tensor& projection, const at::Tensor& x) {
    return at::matmul(projection.narrow(-1, blocks.first, x.size(2)), x.to(projection.scalar_type()));
  };
  return {sums.key + sum_of(key_, blocks.key), sums.value + sum_of(value_, blocks.value)};
}

void LinearSlots::absorb(const DecodedBlock& block) const {
  for (const auto& [projection, side] : {std::pair{&key_, &block.key}, std::pair{&value_, &block.value}}) {
    const float* own = projection->const_data_ptr<float>() + (shared_by_heads() ? 0 : block.head * slots_ * length_);
    if (form_ == Form::block) {
      set_slots(block, *side, own);
    } else {
      block.kernels.add_slots(
          {own + block.number * window_, length_, side->rows, side->slots, slots_, window_, block.stride});
    }
  }
}

std::unique_ptr<SlotRule> make_linear_slots(const LayerContext& context) {
  return std::make_unique<LinearSlots>(context);
}

}  // namespace linformer::nn
