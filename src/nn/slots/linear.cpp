#include "nn/slots/linear.hpp"

#include <ATen/ATen.h>

#include <utility>

namespace linformer::nn {

LinearSlots::LinearSlots(const LayerContext& context) : ProjectedSlots(context) {
  make(context, {slots_, length_},
       [&](const std::string& name, at::IntArrayRef shape) { return draw_matrix(context, name, shape); });
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

std::optional<ops::SlotWrites> LinearSlots::writes(const SlotText& text) const {
  return ops::SlotWrites{.key_weights = key_, .value_weights = value_, .first = text.first};
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
