// Shape letters: B sequences, N positions, h width.
#include "linformer/ops/dropout.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "kernels/dropout.hpp"
#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

namespace linformer::ops {

namespace {

at::Tensor dropped(const at::Tensor& x_BNh, double share, const DropoutPlace& place) {
  const auto input = x_BNh.contiguous(), out = at::empty_like(input);
  kernels::dropout({.sequences = x_BNh.size(0),
                    .length = x_BNh.size(1),
                    .width = x_BNh.size(2),
                    .element = element_of(x_BNh.scalar_type()),
                    .x = input.const_data_ptr(),
                    .out = out.mutable_data_ptr(),
                    .seed = place.seed,
                    .site = place.site,
                    .position = place.position,
                    .threshold = static_cast<std::uint32_t>(share * 0x1p32),
                    .scale = static_cast<float>(1 / (1 - share))});
  return out;
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x_BNh, double share,
                            std::int64_t seed, std::int64_t site, std::int64_t position) {
    context->saved_data["share"] = share;
    context->saved_data["seed"] = seed;
    context->saved_data["site"] = site;
    context->saved_data["position"] = position;
    return dropped(x_BNh, share, {static_cast<std::uint64_t>(seed), site, position});
  }

  // The gradient is multiplied by the same numbers, and so is the gradient of that.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    auto& saved = context->saved_data;
    return {apply(gradients[0], saved["share"].toDouble(), saved["seed"].toInt(), saved["site"].toInt(),
                  saved["position"].toInt()),
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x_BNh, double share, const DropoutPlace& place) {
  require(x_BNh.dim() == 3 && at::isFloatingType(x_BNh.scalar_type()),
          "x has shape {} and dtype {}; expected (B,N,h) of a floating-point dtype", shape_text(x_BNh),
          c10::toString(x_BNh.scalar_type()));
  require(share >= 0 && share < 1, "share is {}, expected at least 0 and below 1", share);
  require(place.site >= 0 && place.site < 65536 && place.position >= 0,
          "site {} and position {}: expected 0 to 65535, and at least 0", place.site, place.position);
  if (share == 0) return x_BNh;
  const bool short_or_single = x_BNh.scalar_type() == at::kFloat || x_BNh.scalar_type() == at::kBFloat16;
  if (x_BNh.is_cpu() && short_or_single)
    return Dropout::apply(x_BNh, share, static_cast<std::int64_t>(place.seed), place.site, place.position);
  const auto kept = dropped(at::ones(x_BNh.sizes(), at::kFloat), share, place).ne(0);
  return x_BNh * kept.to(x_BNh.options().requires_grad(std::nullopt)).div_(1 - share);
}

}  // namespace linformer::ops
