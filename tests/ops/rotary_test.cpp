// Rotary positions against complex numbers, in float64. Shape letters: B batch, H heads, N length, D head width.
#include "linformer/ops/rotary.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/kernels/isa.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

// The pair (i, i + D/2) as a complex number, multiplied by e^(i·angle).
at::Tensor by_complex_numbers(const at::Tensor& x, const at::Tensor& turns) {
  const auto complex = [](const at::Tensor& pairs) {
    const auto halves = pairs.chunk(2, -1);
    return at::complex(halves[0].contiguous(), halves[1].contiguous());
  };
  const auto turn = complex(turns.to(x.scalar_type()));
  const auto turned = complex(x) * (turn.dim() == 3 ? turn.unsqueeze(1) : turn);
  return at::cat({at::real(turned), at::imag(turned)}, -1);
}

at::Tensor heads_side_by_side(const at::Tensor& x) { return x.transpose(1, 2).contiguous().transpose(1, 2); }

TEST(Rotary, TurnsAreThoseOfThePaper) {
  const auto turns = rotary_turns(at::tensor({0, 1, 7, 1'000'003}, at::kLong), 6, 100.0);
  const double places[] = {0, 1, 7, 1'000'003};
  for (int row = 0; row < 4; ++row) {
    for (int pair = 0; pair < 3; ++pair) {
      const double angle = places[row] * std::pow(100.0, -2.0 * pair / 6);
      EXPECT_NEAR(turns[row][pair].item<double>(), std::cos(angle), 1e-7);
      EXPECT_NEAR(turns[row][3 + pair].item<double>(), std::sin(angle), 1e-7);
    }
  }
}

TEST(Rotary, EveryInstructionSetTurnsPairs) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const std::int64_t width : {2, 6, 10, 34, 64, 70}) {
      SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " width " << width);
      const auto turns = rotary_turns(at::arange(5, 14), width, 10000.0);
      const auto each = rotary_turns(at::randint(0, 900, {3, 9}, at::kLong), width, 10000.0);
      for (const auto& places : {turns, each}) {
        const auto fast = [&](const test::Tensors& x) { return rotate(x[0], places); };
        const auto plain = [&](const test::Tensors& x) { return by_complex_numbers(x[0], places); };
        const auto x = at::randn({3, 2, 9, width});
        test::expect_same(fast, plain, {x}, test::tolerance_of(at::kFloat));
        test::expect_same(fast, plain, {heads_side_by_side(x)}, test::tolerance_of(at::kFloat));
        const auto rounded = rotate(x.to(at::kBFloat16), places);
        EXPECT_EQ(rounded.scalar_type(), at::kBFloat16);
        EXPECT_TRUE(at::equal(rounded, rotate(x.to(at::kBFloat16).to(at::kFloat), places).to(at::kBFloat16)));
      }
    }
  }
}

TEST(Rotary, ProductsDependOnTheDistanceAlone) {
  const auto query = at::randn({1, 1, 1, 8}, at::kDouble), key = at::randn({1, 1, 1, 8}, at::kDouble);
  const auto product = [&](std::int64_t query_place, std::int64_t key_place) {
    const auto turn = [](const at::Tensor& x, std::int64_t place) {
      return rotate(x, rotary_turns(at::tensor({place}, at::kLong), 8, 10000.0));
    };
    return (turn(query, query_place) * turn(key, key_place)).sum().item<double>();
  };
  EXPECT_NEAR(product(12, 5), product(1'000'012, 1'000'005), 1e-5);
  EXPECT_GT(std::abs(product(12, 5) - product(12, 6)), 1e-3);
}

TEST(Rotary, GradientsOfFirstAndSecondOrder) {
  const auto turns = rotary_turns(at::arange(3), 4, 10.0);
  const auto turned = [&](const test::Tensors& x) { return rotate(x[0], turns); };
  EXPECT_LT(test::gradient_check(turned, {at::randn({2, 2, 3, 4}, at::kDouble)}), 1e-6);
  auto x = at::randn({2, 2, 3, 4}).requires_grad_();
  const auto first = torch::autograd::grad({rotate(x, turns).pow(3).sum()}, {x}, {}, true, true)[0];
  const auto second = torch::autograd::grad({first.sum()}, {x})[0];
  const auto expected = 6 * rotate(x, turns) * rotate(at::ones_like(x), turns);  // turned back with the turn's gradient
  const auto back = rotate(expected, at::cat({turns.narrow(1, 0, 2), -turns.narrow(1, 2, 2)}, 1));
  EXPECT_LT((second - back).abs().max().item<double>(), 1e-4);
}

TEST(Rotary, NothingAndNotANumber) {
  const auto turns = rotary_turns(at::arange(2), 4, 10.0);
  EXPECT_EQ(rotate(at::randn({0, 2, 2, 4}), turns).numel(), 0);
  auto x = at::randn({1, 1, 2, 4});
  x[0][0][1][3] = std::nan("");
  const auto bad = rotate(x, turns).isnan();
  EXPECT_TRUE(bad[0][0][1][1].item<bool>() && bad[0][0][1][3].item<bool>());
  EXPECT_EQ(bad.sum().item<std::int64_t>(), 2);
}

TEST(Rotary, RefusesWhatDoesNotFit) {
  const auto turns = rotary_turns(at::arange(2), 4, 10.0);
  EXPECT_THROW(rotate(at::randn({1, 1, 2, 5}), turns), UserError);
  EXPECT_THROW(rotate(at::randn({1, 1, 3, 4}), turns), UserError);
  EXPECT_THROW(rotate(at::randn({2, 1, 2, 4}), turns.expand({3, 2, 4})), UserError);
}

}  // namespace
}  // namespace linformer::ops
