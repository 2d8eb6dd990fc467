// What training and the decoder must compute in the same way, for every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/decode_kernels.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/packed_linear.hpp"
#include "linformer/kernels/isa.hpp"

namespace linformer::kernels {
namespace {

using Row = std::vector<float>;
constexpr float kNowhere = std::numeric_limits<float>::quiet_NaN(), kEndless = std::numeric_limits<float>::infinity();

class SharedFormula : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam())) GTEST_SKIP() << "this processor has no " << isa_name(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, SharedFormula, testing::ValuesIn(all_isas),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

Row numbers_between(float first, float last, std::int64_t count) {
  Row row;
  for (std::int64_t i = 0; i < count; ++i)
    row.push_back(first + (last - first) * static_cast<float>(i) / static_cast<float>(count - 1));
  return row;
}

/// Of a multiple of kPadding numbers.
Row trained_gelu(const KernelTable& table, const Row& x) {
  const Row no_bias(x.size());
  Row out(x.size());
  table.gelu({1, std::ssize(x), Element::float32, x.data(), no_bias.data(), out.data()}, 0, 1);
  return out;
}
Row decoded_gelu(const KernelTable& table, Row x) {
  table.decode.gelu(x.data(), std::ssize(x));
  return x;
}

TEST_P(SharedFormula, GeluHasEqualBitsInBoth) {
  const auto& table = table_of(GetParam());
  auto x = numbers_between(-14, 14, 64 * kPadding);
  x.insert(x.end(), {kNowhere, kEndless, 1e30F, -1e30F, 1e-40F, -1e-40F, 0.0F});
  x.resize(static_cast<std::size_t>(padded(std::ssize(x))));
  const auto trained = trained_gelu(table, x), decoded = decoded_gelu(table, x);
  EXPECT_EQ(std::memcmp(trained.data(), decoded.data(), trained.size() * sizeof(float)), 0);
}

TEST_P(SharedFormula, GeluIsWithinItsBound) {
  const auto x = numbers_between(-14, 14, 1024 * kPadding);
  const auto y = decoded_gelu(table_of(GetParam()), x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double wide = x[i], exact = 0.5 * wide * std::erfc(-wide / std::sqrt(2.0));
    ASSERT_LE(std::abs(y[i] - exact), 3.5e-7 * std::abs(wide)) << wide;
  }
}

TEST_P(SharedFormula, GeluOfWhatIsNotFinite) {
  auto x = Row(kPadding, 1.0F);
  x[0] = kNowhere, x[1] = kEndless;
  const auto y = decoded_gelu(table_of(GetParam()), x);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], kEndless);
}

// They add up lanes in another order, which moves the last bits.
TEST_P(SharedFormula, NormsAgree) {
  const auto& table = table_of(GetParam());
  for (const std::int64_t width : {1, 7, 16, 65, 384}) {
    for (const bool rms : {false, true}) {
      const auto x = numbers_between(-3, 5, width + 1), weight = numbers_between(0.5F, 2, width + 1),
                 bias = numbers_between(1, -1, width + 1);
      Row trained(x.size()), decoded(x.size());
      float mean = kNowhere, scale = kNowhere;
      table.layer_norm({.rows = 1,
                        .width = width,
                        .rms = rms,
                        .stream = Element::float32,
                        .element = Element::float32,
                        .x = x.data(),
                        .weight = weight.data(),
                        .bias = rms ? nullptr : bias.data(),
                        .normed = trained.data(),
                        .mean = &mean,
                        .scale = &scale},
                       0, 1);
      if (rms) {
        table.decode.rms_normalise(x.data(), weight.data(), width, decoded.data());
      } else {
        table.decode.normalise(x.data(), weight.data(), bias.data(), width, decoded.data());
      }
      for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_NEAR(decoded[i], trained[i], 1e-6F * std::max(1.0F, std::abs(trained[i]))) << width << " rms " << rms;
    }
  }
}

TEST_P(SharedFormula, NormsKeepNotANumber) {
  const auto& kernels = decode_kernels(GetParam());
  for (const std::size_t place : {0, 20, 36}) {
    Row x(37, 1.5F), out(37, 0.0F);
    const Row weight(37, 1.0F);
    x[place] = kNowhere;
    kernels.normalise(x.data(), weight.data(), weight.data(), 37, out.data());
    for (const float number : out) EXPECT_TRUE(std::isnan(number));
    kernels.rms_normalise(x.data(), weight.data(), 37, out.data());
    for (const float number : out) EXPECT_TRUE(std::isnan(number));
  }
}

/// What a row of one packed weight gives for x = 1.
float held(const DecodeKernels& kernels, float weight) {
  PackedLinear linear(1, 1, WeightFormat::bfloat16, kernels);
  linear.set_rows(0, 1, &weight, nullptr);
  Row x(kPadding), y(4);
  x[0] = 1;
  kernels.multiply(
      {.weights = linear.weights(), .x = x.data(), .quantised = {}, .x_stride = kPadding, .y = y.data(), .y_stride = 4},
      0, 4);
  return y[0];
}

// To nearest, ties to even.
TEST_P(SharedFormula, Bfloat16IsRoundedInBothAlike) {
  const auto& table = table_of(GetParam());
  const Row x{1.00390625F, 1.01171875F, -1.00390625F, 1.0039064F, kNowhere};
  const Row expected{1.0F, 1.015625F, -1.0F, 1.0078125F, kNowhere};
  const Row one(x.size(), 1.0F);
  std::vector<std::uint16_t> sum(x.size());
  const std::vector<std::uint16_t> zeros(x.size());
  table.layer_norm({.rows = 1,
                    .width = std::ssize(x),
                    .stream = Element::bfloat16,
                    .element = Element::bfloat16,
                    .x = zeros.data(),
                    .branch = zeros.data(),
                    .branch_bias = x.data(),
                    .sum = sum.data()},
                   0, 1);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float trained = std::bit_cast<float>(static_cast<std::uint32_t>(sum[i]) << 16),
                decoded = held(table.decode, x[i]);
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(trained) && std::isnan(decoded));
    } else {
      EXPECT_EQ(trained, decoded);
      EXPECT_EQ(decoded, expected[i]);
    }
  }
}

}  // namespace
}  // namespace linformer::kernels
