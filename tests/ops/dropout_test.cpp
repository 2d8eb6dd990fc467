// Dropout whose mask comes from a counter. Shape letters: B sequences, N positions, h width.
#include "linformer/ops/dropout.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "linformer/core/error.hpp"
#include "linformer/kernels/isa.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

TEST(Dropout, MasksAreTheSameOnEveryInstructionSetAndInEveryDtype) {
  const auto x_BNh = at::ones({3, 17, 93});
  const DropoutPlace place{.seed = 0x123456789abcdef, .site = 7, .position = 40};
  const auto expected = ops::dropout(x_BNh.to(at::kDouble), 0.3, place);
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    EXPECT_TRUE(ops::dropout(x_BNh, 0.3, place).ne(0).equal(expected.ne(0))) << kernels::isa_name(isa);
    EXPECT_TRUE(ops::dropout(x_BNh.to(at::kBFloat16), 0.3, place).ne(0).equal(expected.ne(0)));
  }
  EXPECT_NEAR((expected - expected.ne(0).to(at::kDouble) / 0.7).abs().max().item<double>(), 0, 1e-15);
}

TEST(Dropout, AChunkLosesWhatTheWholeLoses) {
  const auto x_BNh = at::randn({2, 50, 70});
  const auto whole = ops::dropout(x_BNh, 0.4, {.seed = 5, .site = 2});
  for (const std::int64_t chunk : {1, 7, 50}) {
    for (std::int64_t at = 0; at < 50; at += chunk) {
      const auto count = std::min(chunk, 50 - at);
      EXPECT_TRUE(ops::dropout(x_BNh.narrow(1, at, count), 0.4, {.seed = 5, .site = 2, .position = at})
                      .equal(whole.narrow(1, at, count)));
    }
  }
}

TEST(Dropout, EveryCoordinateChangesTheMask) {
  const auto ones_BNh = at::ones({2, 64, 256});
  const auto mask = [&](const DropoutPlace& place) { return ops::dropout(ones_BNh, 0.5, place).ne(0); };
  const auto first = mask({.seed = 1});
  // Two masks without a connection agree in half of their numbers: 32,768 draws, six deviations.
  const auto unlike = [](const at::Tensor& a, const at::Tensor& b) {
    return std::abs(a.eq(b).to(at::kDouble).mean().item<double>() - 0.5) < 6 * 0.5 / std::sqrt(a.numel());
  };
  const std::int64_t far = std::int64_t{1} << 32;
  EXPECT_TRUE(unlike(first, mask({.seed = 2})));
  EXPECT_TRUE(unlike(first, mask({.seed = std::uint64_t{1} << 32})));
  EXPECT_TRUE(unlike(first, mask({.seed = 1, .site = 1})));
  EXPECT_TRUE(unlike(first, mask({.seed = 1, .position = 64})));
  EXPECT_TRUE(unlike(first, mask({.seed = 1, .position = far})));
  EXPECT_TRUE(unlike(first[0], first[1]));
  EXPECT_TRUE(unlike(first[0].narrow(0, 0, 32), first[0].narrow(0, 32, 32)));
  EXPECT_TRUE(unlike(first.narrow(2, 0, 128), first.narrow(2, 128, 128)));
  for (const double share : {0.1, 0.9}) {
    const auto kept = ops::dropout(ones_BNh, share, {.seed = 3}).ne(0).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(kept, 1 - share, 6 * std::sqrt(share * (1 - share) / 32768));
  }
}

TEST(Dropout, GradientsAreThoseOfAProductWithTheMask) {
  const DropoutPlace place{.seed = 9, .site = 3, .position = 11};
  const auto factors = ops::dropout(at::ones({2, 9, 37}, at::kDouble), 0.25, place);
  test::expect_same([&](const test::Tensors& x) { return ops::dropout(x[0], 0.25, place); },
                    [&](const test::Tensors& x) { return x[0] * factors; }, {at::randn({2, 9, 37})},
                    test::tolerance_of(at::kFloat));
  const auto x = at::randn({1, 4, 5}).requires_grad_();
  EXPECT_TRUE(ops::dropout(x, 0, place).is_same(x));
}

TEST(Dropout, ThreadsDontChangeIt) {
  const auto x_BNh = at::randn({4, 33, 65});
  const auto threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto alone = ops::dropout(x_BNh, 0.5, {.seed = 4});
  at::set_num_threads(2);
  EXPECT_TRUE(ops::dropout(x_BNh, 0.5, {.seed = 4}).equal(alone));
  at::set_num_threads(threads);
}

TEST(Dropout, NotANumberStaysOne) {
  const auto x_BNh = at::full({1, 2, 70}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(ops::dropout(x_BNh, 0.5, {}).isnan().all().item<bool>());
  EXPECT_TRUE(ops::dropout(x_BNh.to(at::kDouble), 0.5, {}).isnan().all().item<bool>());
}

TEST(Dropout, RefusesWhatItCantTake) {
  EXPECT_THROW(ops::dropout(at::ones({2, 3}), 0.5, {}), UserError);
  EXPECT_THROW(ops::dropout(at::ones({1, 2, 3}), 1, {}), UserError);
  EXPECT_THROW(ops::dropout(at::ones({1, 2, 3}), 0.5, {.site = 65536}), UserError);
}

}  // namespace
}  // namespace linformer::ops
