// Slots that are sums over segments with one learned kernel (maths 1, 4).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "nn/slots/projected.hpp"

namespace linformer::nn {

namespace {

// The kernels are (segment), or (H,segment).
class ConvolutionSlots final : public ProjectedSlots {
 public:
  explicit ConvolutionSlots(const LayerContext& context) : ProjectedSlots(context) {
    make(context, {segment_}, [&](const std::string& name, at::IntArrayRef shape) {
      const auto weight = 1.0 / static_cast<double>(segment_);
      if (context.config.projection_start() == ProjectionStart::random)
        return context.parameters.normal(name, shape, std::sqrt(weight));
      return context.parameters.around(
          name, shape, [&] { return at::full({1}, weight, at::kFloat); }, noise_of_means(segment_));
    });
  }

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    const auto [e, f] = projections(text.key.scalar_type());
    return ops::summarise_convolution(text.key, text.value, e, f, options);
  }

  // As a matrix (r,W), with the kernel along its diagonal.
  void absorb(const DecodedBlock& block) const override {
    for (const auto& [kernel, side] : {std::pair{&key_, &block.key}, std::pair{&value_, &block.value}}) {
      const float* own = kernel->const_data_ptr<float>() + (shared_by_heads() ? 0 : block.head * segment_);
      std::fill_n(block.weights, slots_ * window_, 0.0F);
      for (std::int64_t slot = 0; slot < slots_; ++slot)
        std::copy_n(own, segment_, block.weights + slot * (window_ + segment_));
      set_slots(block, *side, block.weights);
    }
  }
};

}  // namespace

std::unique_ptr<SlotRule> make_convolution_slots(const LayerContext& context) {
  return std::make_unique<ConvolutionSlots>(context);
}

}  // namespace linformer::nn
