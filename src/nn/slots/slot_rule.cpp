#include "nn/slots/slot_rule.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "linformer/core/error.hpp"

namespace linformer::nn {

SlotRule::SlotRule(const LayerContext& context)
    : form_(form_of(context.config)), heads_(context.config.state_heads()), window_(context.config.window()) {
  const bool block = form_ == Form::block;
  slots_ = block ? context.config.block_slots_of(context.layer) : context.config.slots_of(context.layer);
  length_ = block ? window_ : context.config.length;
  segment_ = length_ / slots_;
}

at::Tensor SlotRule::in_float(const at::Tensor& x) { return x.to(at::promote_types(x.scalar_type(), at::kFloat)); }
at::Tensor SlotRule::scores(const at::Tensor&) const { return {}; }
at::Tensor SlotRule::reads(const at::Tensor&, const ops::SummariseOptions&) const { return {}; }
at::Tensor SlotRule::reads_of_keys(const at::Tensor&) const { return {}; }
std::int64_t SlotRule::working_floats() const { return form_ == Form::block || has_scores() ? slots_ * window_ : 0; }
ops::Slots SlotRule::sums_after(const ops::Slots&, const SlotText&) const {
  fail("this slot rule has no running sums.");
}

std::optional<ops::SlotWrites> SlotRule::writes(const SlotText&) const { return std::nullopt; }

void SlotRule::set_slots(const DecodedBlock& block, const DecodedBlock::Side& side, const float* weights) const {
  std::fill_n(side.slots, slots_ * block.stride, 0.0F);
  block.kernels.add_slots({weights, window_, side.rows, side.slots, slots_, window_, block.stride});
}

std::unique_ptr<SlotRule> make_slot_rule(const LayerContext& context) {
  if (context.config.slots_of(context.layer) == 0) return nullptr;
  switch (context.config.attention.projection) {
    case Projection::linear:
      return make_linear_slots(context);
    case Projection::dynamic:
      return make_dynamic_slots(context);
    case Projection::convolution:
      return make_convolution_slots(context);
    case Projection::periodic:
      return make_periodic_slots(context);
    case Projection::gated:
      return make_gated_slots(context);
    case Projection::cluster:
      return make_cluster_slots(context);
    case Projection::mean:
      return make_mean_slots(context);
    case Projection::max:
      return make_max_slots(context);
  }
  fail("no slot rule for this projection");
}

}  // namespace linformer::nn
