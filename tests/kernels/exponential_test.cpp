// The kernels' exponential, which training and the decoder share, against the library's in double precision, over its
// whole range and for every instruction set. What its comment says is held here.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "linformer/kernels/isa.hpp"

namespace linformer::kernels {
namespace {

using Exponential = std::function<void(float*, std::int64_t)>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kBatch = 4096;
// Of neighbouring floats one is tried: some twenty million over the range, which a prime number spreads over all ends
// of a mantissa.
constexpr std::uint32_t kStride = 101;

/// |got − eˣ| in units of the last place of eˣ.
double error_in_ulp(float got, float x) {
  const double exact = std::exp(static_cast<double>(x));
  return std::abs(got - exact) / std::ldexp(1.0, std::ilogb(exact) - 23);
}

/// The largest error over the floats from 0 to `end`.
double worst_error(const Exponential& exponential, float end) {
  const auto sign = std::signbit(end) ? 0x80000000U : 0U, last = std::bit_cast<std::uint32_t>(std::abs(end));
  double worst = 0;
  std::vector<float> x, y;
  for (std::uint32_t bits = 0; bits <= last; bits += kStride) {
    x.push_back(std::bit_cast<float>(bits | sign));
    if (std::ssize(x) < kBatch && bits + kStride <= last) continue;
    x.resize(kBatch, end);
    y = x;
    exponential(y.data(), kBatch);
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, error_in_ulp(y[i], x[i]));
    x.clear();
  }
  return worst;
}

float value_of(const Exponential& exponential, float x) {
  std::vector<float> row(kPadding, x);
  exponential(row.data(), kPadding);
  return row[3];
}

class ExponentialOfEachIsa : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam())) GTEST_SKIP() << "this processor has no " << isa_name(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, ExponentialOfEachIsa, testing::ValuesIn(all_isas),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST_P(ExponentialOfEachIsa, IsWithinTwoUlp) {
  const Exponential exponential = table_of(GetParam()).exponential;
  const float smallest = -87.33654F;
  EXPECT_LE(worst_error(exponential, 88.0F), 2.0);
  EXPECT_LE(worst_error(exponential, smallest), 2.0);
  EXPECT_GE(value_of(exponential, smallest), std::numeric_limits<float>::min());
  EXPECT_EQ(value_of(exponential, std::nextafter(smallest, -kInfinity)), 0.0F);
  EXPECT_EQ(value_of(exponential, 0.0F), 1.0F);
  EXPECT_EQ(value_of(exponential, -kInfinity), 0.0F);
  EXPECT_EQ(value_of(exponential, -std::numeric_limits<float>::max()), 0.0F);
  EXPECT_TRUE(std::isnan(value_of(exponential, std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace linformer::kernels
