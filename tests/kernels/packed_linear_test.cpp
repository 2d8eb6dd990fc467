#include "kernels/packed_linear.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer::kernels {
namespace {

using Floats = std::vector<float>;
constexpr auto kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<Isa> supported() {
  std::vector<Isa> found;
  for (const auto isa : all_isas) {
    if (isa_supported(isa)) found.push_back(isa);
  }
  return found;
}

Floats random(std::int64_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(static_cast<std::size_t>(count));
  for (auto& value : values) value = normal(generator);
  return values;
}

// Each row in room for `stride` floats; what is past its end is zero.
Floats spread(const Floats& values, std::int64_t columns, std::int64_t stride) {
  Floats out(values.size() / static_cast<std::size_t>(columns) * static_cast<std::size_t>(stride));
  for (std::size_t i = 0; i < values.size(); ++i) {
    out[i / static_cast<std::size_t>(columns) * static_cast<std::size_t>(stride) +
        i % static_cast<std::size_t>(columns)] = values[i];
  }
  return out;
}

class EachIsa : public ::testing::TestWithParam<Isa> {
 protected:
  const DecodeKernels& kernels_ = decode_kernels(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Isas, EachIsa, ::testing::ValuesIn(supported()),
                         [](const auto& set) { return std::string(isa_name(set.param)); });

struct Case {
  std::int64_t rows, columns, batch;
};
constexpr Case kCases[] = {{1, 1, 1}, {5, 12, 2}, {63, 33, 3}, {7, 384, 4}, {130, 96, 7}, {12, 1536, 13}};

// Largest error of y in units of Σ|w·x| of its entry.
double multiply_error(const DecodeKernels& kernels, const Case& c, WeightFormat format, bool add) {
  const auto w = random(c.rows * c.columns, 1), x = random(c.batch * c.columns, 2), bias = random(c.rows, 3);
  PackedLinear linear(c.rows, c.columns, format, kernels);
  const auto half = c.rows / 2;  // in two parts, as query, key and value come
  linear.set_rows(0, half, w.data(), bias.data());
  linear.set_rows(half, c.rows - half, w.data() + half * c.columns, bias.data() + half);
  const auto stride = padded(c.columns), room = linear.padded_rows();
  const auto padded_x = spread(x, c.columns, stride);
  std::vector<std::int16_t> integers(padded_x.size(), 77);
  Floats scales(static_cast<std::size_t>(c.batch)), y(static_cast<std::size_t>(c.batch * room), add ? 2.0F : kNan);
  for (std::int64_t b = 0; b < c.batch; ++b) {
    kernels.quantise(x.data() + b * c.columns, c.columns, linear.quantise_limit(), integers.data() + b * stride,
                     &scales[static_cast<std::size_t>(b)]);
  }
  kernels.multiply({.weights = linear.weights(),
                    .x = format == WeightFormat::int8 ? nullptr : padded_x.data(),
                    .quantised = {integers.data(), scales.data()},
                    .x_stride = stride,
                    .y = y.data(),
                    .y_stride = room,
                    .batch = c.batch,
                    .add = add},
                   0, room);
  double worst = 0;
  for (std::int64_t b = 0; b < c.batch; ++b) {
    for (std::int64_t r = 0; r < c.rows; ++r) {
      double expected = bias[static_cast<std::size_t>(r)] + (add ? 2.0 : 0.0), size = std::abs(expected);
      for (std::int64_t k = 0; k < c.columns; ++k) {
        const double term = static_cast<double>(w[static_cast<std::size_t>(r * c.columns + k)]) *
                            x[static_cast<std::size_t>(b * c.columns + k)];
        expected += term;
        size += std::abs(term);
      }
      const double error = std::abs(y[static_cast<std::size_t>(b * room + r)] - expected) / size;
      worst = std::isnan(error) ? 1e9 : std::max(worst, error);
    }
  }
  return worst;
}

TEST_P(EachIsa, ProductsAreRightInEveryFormat) {
  for (const auto& c : kCases) {
    SCOPED_TRACE(formatted("{}x{}, batch {}", c.rows, c.columns, c.batch));
    for (const bool add : {false, true}) {
      EXPECT_LT(multiply_error(kernels_, c, WeightFormat::float32, add), 1e-6);
      EXPECT_LT(multiply_error(kernels_, c, WeightFormat::bfloat16, add), 1.0 / 256);
      EXPECT_LT(multiply_error(kernels_, c, WeightFormat::int8, add), 1.0 / 60);
    }
  }
  EXPECT_GT(multiply_error(kernels_, kCases[3], WeightFormat::bfloat16, false), 1e-5);
}

TEST_P(EachIsa, Int8IsTheSameOnEveryInstructionSetAndNeverOverflows) {
  for (const std::int64_t columns : {96, 1536, 6000}) {
    PackedLinear linear(4, columns, WeightFormat::int8, kernels_);
    const Floats w(static_cast<std::size_t>(4 * columns), -3.0F), x(static_cast<std::size_t>(columns), 5.0F);
    linear.set_rows(0, 4, w.data(), nullptr);
    std::vector<std::int16_t> integers(static_cast<std::size_t>(padded(columns)));
    float scale = 0, y[4];
    kernels_.quantise(x.data(), columns, linear.quantise_limit(), integers.data(), &scale);
    kernels_.multiply({.weights = linear.weights(),
                       .quantised = {integers.data(), &scale},
                       .x_stride = padded(columns),
                       .y = y,
                       .y_stride = 4},
                      0, 4);
    for (const float value : y)
      EXPECT_NEAR(value, -15.0 * static_cast<double>(columns), 1e-4 * 15.0 * static_cast<double>(columns));
  }
}

TEST_P(EachIsa, ZeroAndTinyVectorsQuantise) {
  std::int16_t values[32];
  float scale = kNan;
  const float zeros[3] = {0, 0, 0}, tiny[3] = {1e-30F, -2e-30F, 0};
  kernels_.quantise(zeros, 3, 32767, values, &scale);
  EXPECT_EQ(scale, 0);
  EXPECT_EQ(values[0], 0);
  kernels_.quantise(tiny, 3, 32767, values, &scale);
  EXPECT_EQ(values[1], -32767);
  EXPECT_NEAR(values[0], 16383.5, 1);
}

// NaN and infinities make the whole product NaN, wherever they stand.
TEST_P(EachIsa, WhatIsNotFiniteIsNotQuantisedAway) {
  for (const float wrong : {kNan, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const std::int64_t place : {0, 7, 20, 32, 36}) {
      auto x = random(37, 4);
      x[static_cast<std::size_t>(place)] = wrong;
      std::vector<std::int16_t> values(64, 77);
      float scale = 0;
      kernels_.quantise(x.data(), 37, 32767, values.data(), &scale);
      EXPECT_TRUE(std::isnan(scale)) << wrong << " at " << place;
      PackedLinear linear(1, 37, WeightFormat::int8, kernels_);
      linear.set_rows(0, 1, x.data(), nullptr);
      EXPECT_TRUE(std::isnan(linear.weights().scales[0])) << wrong << " at " << place;
    }
  }
}

TEST_P(EachIsa, LayerNormAndGelu) {
  for (const std::int64_t count : {1, 6, 12, 64, 65, 384}) {
    auto x = random(count, 5, 3);
    x[0] += 40;
    const auto weight = random(count, 6), bias = random(count, 7);
    double mean = 0, variance = 0;
    for (const float value : x) mean += value / static_cast<double>(count);
    for (const float value : x) variance += (value - mean) * (value - mean) / static_cast<double>(count);
    Floats out(static_cast<std::size_t>(padded(count)), kNan);
    kernels_.normalise(x.data(), weight.data(), bias.data(), count, out.data());
    auto gelu = spread(x, count, padded(count));
    kernels_.gelu(gelu.data(), count);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(out[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i], 2e-5) << count;
      EXPECT_NEAR(gelu[i], 0.5 * x[i] * (1 + std::erf(x[i] / std::sqrt(2.0))), 2e-7 * std::max(1.0F, std::abs(x[i])))
          << x[i];
    }
  }
}

TEST_P(EachIsa, RmsNormAndSwiglu) {
  for (const std::int64_t count : {1, 6, 12, 64, 65, 384}) {
    const auto x = random(count, 5, 3), weight = random(count, 6), up = random(count, 7);
    double square = 0;
    for (const float value : x) square += value * value / static_cast<double>(count);
    Floats normed(static_cast<std::size_t>(padded(count)), kNan);
    kernels_.rms_normalise(x.data(), weight.data(), count, normed.data());
    Floats gated(static_cast<std::size_t>(count + 1), 7.0F);
    kernels_.swiglu(x.data(), up.data(), count, gated.data());
    EXPECT_EQ(gated.back(), 7.0F);  // nothing after the end is written
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(normed[i], x[i] / std::sqrt(square + 1e-5) * weight[i], 1e-5) << count;
      EXPECT_NEAR(gated[i], x[i] / (1 + std::exp(-static_cast<double>(x[i]))) * up[i],
                  1e-6 * std::max(1.0F, std::abs(x[i] * up[i])))
          << x[i];
    }
  }
  const Floats extremes{-1000, 1000, kNan}, ones{1, 1, 1};
  Floats out(3);
  kernels_.swiglu(extremes.data(), ones.data(), 3, out.data());
  EXPECT_NEAR(out[0], 0, 1e-30);
  EXPECT_EQ(out[1], 1000);
  EXPECT_TRUE(std::isnan(out[2]));
}

TEST_P(EachIsa, AttentionOfOneQuery) {
  struct Setting {
    std::int64_t width;
    std::vector<std::int64_t> counts;
    float size;
  };
  for (const auto& s :
       {Setting{6, {1}, 1}, Setting{64, {3, 64, 17}, 1}, Setting{40, {5, 2}, 30}, Setting{33, {130}, 1}}) {
    const auto stride = padded(s.width);
    const auto query = random(s.width, 8, s.size), padded_query = spread(query, s.width, stride);
    const auto other = random(s.width, 7, s.size), padded_other = spread(other, s.width, stride);
    std::vector<Floats> keys, values;
    std::vector<VisibleKeys> visible;
    std::int64_t all = 0;
    for (const auto count : s.counts) {
      keys.push_back(spread(random(count * s.width, 9 + static_cast<unsigned>(all)), s.width, stride));
      values.push_back(spread(random(count * s.width, 99 + static_cast<unsigned>(all)), s.width, stride));
      all += count;
    }
    for (std::size_t i = 0; i < keys.size(); ++i)
      visible.push_back(
          {keys[i].data(), values[i].data(), s.counts[i], i == 0 ? -1.5F : 0, i == 1 ? padded_other.data() : nullptr});
    Floats weights(static_cast<std::size_t>(all + kPadding), kNan), out(static_cast<std::size_t>(stride), kNan);
    kernels_.attend(
        {padded_query.data(), visible.data(), static_cast<int>(visible.size()), stride, weights.data(), out.data()});
    std::vector<double> logits, expected(static_cast<std::size_t>(s.width));
    for (const auto& part : visible) {
      const auto& own_query = part.query != nullptr ? other : query;
      for (std::int64_t i = 0; i < part.count; ++i) {
        double logit = part.bias;
        for (std::int64_t k = 0; k < s.width; ++k)
          logit += static_cast<double>(own_query[static_cast<std::size_t>(k)]) * part.key[i * stride + k];
        logits.push_back(logit);
      }
    }
    const double maximum = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (auto& logit : logits) total += logit = std::exp(logit - maximum);
    std::size_t index = 0;
    for (const auto& part : visible) {
      for (std::int64_t i = 0; i < part.count; ++i, ++index) {
        for (std::size_t k = 0; k < expected.size(); ++k)
          expected[k] += logits[index] / total * part.value[i * stride + static_cast<std::int64_t>(k)];
      }
    }
    for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(out[k], expected[k], 3e-5) << s.width;
  }
}

// Of 37 keys, one part of which is wholly wrong in the second case.
TEST_P(EachIsa, AttentionKeepsNotANumber) {
  for (const bool all : {false, true}) {
    const std::int64_t width = 32, count = 37;
    auto query = random(width, 1), key = random(count * width, 2);
    const auto value = random(count * width, 3);
    (all ? query[5] : key[static_cast<std::size_t>(20 * width + 3)]) = kNan;
    const VisibleKeys visible[] = {{key.data(), value.data(), count, 0}};
    Floats weights(static_cast<std::size_t>(count + kPadding), kNan), out(static_cast<std::size_t>(width), 1);
    kernels_.attend({query.data(), visible, 1, width, weights.data(), out.data()});
    for (const float number : out) EXPECT_TRUE(std::isnan(number));
  }
}

TEST_P(EachIsa, SlotSums) {
  for (const std::int64_t width : {7, 40, 64}) {
    const std::int64_t slots = 5, rows = 9, stride = padded(width), weights_stride = 11;
    const auto weights = random(slots * weights_stride, 3), x = random(rows * width, 4),
               start = random(slots * width, 5);
    const auto padded_x = spread(x, width, stride);
    auto out = spread(start, width, stride);
    kernels_.add_slots({weights.data(), weights_stride, padded_x.data(), out.data(), slots, rows, stride});
    for (std::int64_t s = 0; s < slots; ++s) {
      for (std::int64_t k = 0; k < width; ++k) {
        double expected = start[static_cast<std::size_t>(s * width + k)];
        for (std::int64_t r = 0; r < rows; ++r)
          expected += static_cast<double>(weights[static_cast<std::size_t>(s * weights_stride + r)]) *
                      x[static_cast<std::size_t>(r * width + k)];
        EXPECT_NEAR(out[static_cast<std::size_t>(s * stride + k)], expected, 1e-5);
      }
    }
  }
}

TEST(PackedLinear, KnowsItsSize) {
  const auto& kernels = decode_kernels();
  const PackedLinear wide(10, 64, WeightFormat::float32, kernels), narrow(10, 64, WeightFormat::int8, kernels);
  EXPECT_EQ(wide.padded_rows(), 12);
  EXPECT_EQ(wide.bytes(), 12 * 64 * 4 + 12 * 4);
  EXPECT_EQ(narrow.bytes(), 12 * 64 + 2 * 12 * 4);
  EXPECT_EQ(weight_format_name(narrow.format()), "int8");
  if (!isa_supported(Isa::avx512)) {
    EXPECT_THROW(decode_kernels(Isa::avx512), UserError);
  }
}

}  // namespace
}  // namespace linformer::kernels
