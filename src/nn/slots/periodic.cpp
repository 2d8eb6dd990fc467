// Running slots without a table of positions: E and F repeat every p positions, and what a slot holds fades (maths 4).
#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <utility>

#include "nn/slots/projected.hpp"

namespace linformer::nn {

namespace {

// E and F are (K,p) or (H,K,p); `decay` (H,K) holds the logits of λ. A block's columns never wrap around: p is a
// multiple of W.
class PeriodicSlots final : public ProjectedSlots {
 public:
  explicit PeriodicSlots(const LayerContext& context) : ProjectedSlots(context), period_(context.config.period()) {
    make(context, {slots_, period_},
         [&](const std::string& name, at::IntArrayRef shape) { return draw_matrix(context, name, shape); });
    // From slots that forget half of a block in 5 blocks to slots that do so in 2000.
    decay_ = context.parameters.around(
        context.name + ".decay", {heads_, slots_}, [&] { return at::linspace(2, 8, slots_, at::kFloat); }, 0);
  }

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    const auto [e, f] = projections(text.key.scalar_type());
    const auto count = text.key.size(2), start = text.first % period_;
    const auto repeated = [&](const at::Tensor& projection) {
      std::vector<std::int64_t> times(static_cast<std::size_t>(projection.dim()), 1);
      times.back() = (start + count + period_ - 1) / period_;
      return projection.repeat(times).narrow(-1, start, count);
    };
    auto decaying = options;
    decaying.decay = decay_.sigmoid();
    const auto keys = repeated(e);
    return ops::summarise_linear(text.key, text.value, keys, f.is_same(e) ? keys : repeated(f), decaying);
  }

  ops::Slots sums_after(const ops::Slots& sums, const SlotText& blocks) const override {
    const auto decay_HK1 = decay_.sigmoid().unsqueeze(-1);
    const auto after = [&](at::Tensor sum, const at::Tensor& projection, const at::Tensor& x) {
      for (std::int64_t at = 0; at < x.size(2); at += window_) {
        const auto columns = projection.narrow(-1, (blocks.first + at) % period_, window_);
        sum = sum * decay_HK1 + at::matmul(columns, x.narrow(2, at, window_).to(projection.scalar_type()));
      }
      return sum;
    };
    return {after(sums.key, key_, blocks.key), after(sums.value, value_, blocks.value)};
  }

  std::optional<ops::SlotWrites> writes(const SlotText& text) const override {
    return ops::SlotWrites{.key_weights = key_,
                           .value_weights = value_,
                           .decay = decay_.sigmoid(),
                           .first = text.first,
                           .period = period_};
  }

  void absorb(const DecodedBlock& block) const override {
    const float* decay = decay_.const_data_ptr<float>() + block.head * slots_;
    for (const auto& [projection, side] : {std::pair{&key_, &block.key}, std::pair{&value_, &block.value}}) {
      for (std::int64_t slot = 0; slot < slots_; ++slot) {
        const auto kept = 1 / (1 + std::exp(-decay[slot]));
        for (std::int64_t i = 0; i < block.stride; ++i) side->slots[slot * block.stride + i] *= kept;
      }
      const float* own = projection->const_data_ptr<float>() + (shared_by_heads() ? 0 : block.head * slots_ * period_);
      block.kernels.add_slots(
          {own + block.number * window_ % period_, period_, side->rows, side->slots, slots_, window_, block.stride});
    }
  }

 private:
  std::int64_t period_;
  at::Tensor decay_;
};

}  // namespace

std::unique_ptr<SlotRule> make_periodic_slots(const LayerContext& context) {
  return std::make_unique<PeriodicSlots>(context);
}

}  // namespace linformer::nn
