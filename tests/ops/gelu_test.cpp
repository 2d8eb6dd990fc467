// bias_gelu against the engine's own gelu, in float64. Shape letters: R rows, h width.
#include "linformer/ops/gelu.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/kernels/isa.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

at::Tensor fused(const test::Tensors& x) { return bias_gelu(x[0], x[1]); }
at::Tensor plain(const test::Tensors& x) { return at::gelu(x[0] + x[1]); }

TEST(BiasGelu, EveryInstructionSetEqualsThePlainOne) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const auto& shape :
         std::vector<std::vector<std::int64_t>>{{1, 40}, {5, 7}, {2, 3, 16}, {131, 33}, {300, 130}}) {
      for (const double spread : {0.1, 1.0, 30.0}) {
        SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " " << at::IntArrayRef(shape) << " spread "
                                        << spread);
        test::expect_same(fused, plain, {at::randn(shape) * spread, at::randn({shape.back()})},
                          test::tolerance_of(at::kFloat));
      }
    }
  }
}

TEST(BiasGelu, ShortFloatsRoundOnlyTheirOwnNumbers) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    const auto x = at::randn({70, 45}).to(at::kBFloat16).to(at::kFloat);
    const auto halves = [](const test::Tensors& in) {
      return bias_gelu(in[0].to(at::kBFloat16), in[1]).to(at::kFloat);
    };
    const auto composed = [](const test::Tensors& in) {
      return at::gelu(in[0].to(at::kBFloat16) + in[1].to(at::kBFloat16)).to(at::kFloat);
    };
    test::expect_as_close_as(composed, halves, plain, {x, at::randn({45})});
  }
}

TEST(BiasGelu, EveryNumberIsClose) {
  const auto x = at::linspace(-12, 12, 4801).unsqueeze(1), none = at::zeros({1});
  const auto error = (bias_gelu(x, none).to(at::kDouble) - at::gelu(x.to(at::kDouble))).abs();
  EXPECT_LT((error / x.to(at::kDouble).abs().clamp_min(1.0)).max().item<double>(), 3e-7);
}

TEST(BiasGelu, GradientsAreThoseOfDifferences) {
  EXPECT_LT(test::gradient_check(fused, {at::randn({3, 5}, at::kDouble), at::randn({5}, at::kDouble)}), 1e-6);
}

TEST(BiasGelu, HugeNumbers) {
  const auto x = at::tensor({-1e30, -100.0, 100.0, 1e30}, at::kFloat).unsqueeze(0);
  const auto y = bias_gelu(x, at::zeros({4}));
  EXPECT_TRUE(at::equal(y, at::tensor({0.0, 0.0, 100.0, 1e30}, at::kFloat).unsqueeze(0)));
  EXPECT_TRUE(bias_gelu(at::full({1, 1}, std::numeric_limits<double>::quiet_NaN(), at::kFloat), at::zeros({1}))
                  .isnan()
                  .all()
                  .item<bool>());
}

TEST(BiasGelu, NoRows) {
  auto none = at::randn({0, 5}).requires_grad_();
  bias_gelu(none, at::randn({5})).sum().backward();
  EXPECT_EQ(none.grad().numel(), 0);
}

TEST(BiasGelu, HasSecondDerivatives) {
  const auto fast = [](const test::Tensors& x) {
    return bias_gelu(x[0].t(), x[1]);
  };  // of rows that are not contiguous
  const auto plain = [](const test::Tensors& x) { return at::gelu(x[0].t() + x[1]); };
  test::expect_same([&](const test::Tensors& x) { return test::gradients_of(fast, x); },
                    [&](const test::Tensors& x) { return test::gradients_of(plain, x); },
                    {at::randn({5, 7}), at::randn({5})}, test::tolerance_of(at::kFloat));
}

TEST(BiasGelu, RefusesABiasOfAnotherWidth) { EXPECT_THROW(bias_gelu(at::randn({2, 3}), at::randn({4})), UserError); }

}  // namespace
}  // namespace linformer::ops
