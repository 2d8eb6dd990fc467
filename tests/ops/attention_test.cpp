// What tests/python/test_operator.py can't reach: softmax attention, the kinds of slots, bfloat16. Shape
// letters: see ops/attention.hpp.
#include "linformer/ops/attention.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/ops/reference.hpp"
#include "linformer/ops/summarise.hpp"
#include "support/closeness.hpp"
#include "support/golden.hpp"

namespace linformer::ops {
namespace {

using test::relative_error;

class SoftmaxGolden : public testing::TestWithParam<Path> {};

TEST_P(SoftmaxGolden, OutputsAndGradientsAgree) {
  const auto golden = test::read_golden();
  for (const std::string name : {"softmax", "softmax_causal"}) {
    const auto leaf = [&](const std::string& part) { return golden.at(name + "." + part).clone().requires_grad_(); };
    const auto query = leaf("query"), key = leaf("key"), value = leaf("value");
    const auto mask = golden.find(name + ".key_padding_mask");
    SoftmaxOptions options{.causal = name == "softmax_causal", .path = GetParam()};
    if (mask != golden.end()) options.key_padding_mask = mask->second;
    const auto out = softmax_attention(query, key, value, options);
    EXPECT_EQ(last_path(), GetParam());
    EXPECT_LT(relative_error(out.detach(), golden.at(name + ".output")), 1e-10);
    out.backward(golden.at(name + ".grad_output"));
    EXPECT_LT(relative_error(query.grad(), golden.at(name + ".grad_query")), 1e-10);
    EXPECT_LT(relative_error(key.grad(), golden.at(name + ".grad_key")), 1e-10);
    EXPECT_LT(relative_error(value.grad(), golden.at(name + ".grad_value")), 1e-10);
  }
}
INSTANTIATE_TEST_SUITE_P(Paths, SoftmaxGolden, testing::Values(Path::reference, Path::composed));

// The golden cases have fewer keys than the engine's fused attention is asked for.
TEST(Softmax, FusedEqualsTheReferenceWithAnyScale) {
  const auto mask = at::rand({2, 37}).lt(0.3);
  for (const bool causal : {false, true}) {
    for (const bool padded : {false, true}) {
      for (const std::optional<double> scale : {std::optional<double>(), std::optional(-0.7), std::optional(0.0)}) {
        SCOPED_TRACE(testing::Message() << "causal " << causal << " padded " << padded << " scale "
                                        << scale.value_or(1));
        const auto by = [&](Path path) {
          return [=](const test::Tensors& x) {
            SoftmaxOptions options{.causal = causal, .scale = scale, .path = path};
            if (padded) options.key_padding_mask = mask;
            return softmax_attention(x[0], x[1], x[2], options);
          };
        };
        const auto draw = [] { return at::randn({2, 3, 37, 8}, at::kDouble); };
        const test::Tensors inputs{draw(), draw(), draw()};
        test::expect_same(by(Path::fused), by(Path::reference), inputs, test::tolerance_of(at::kDouble));
        EXPECT_EQ(last_path(), Path::reference);
        by(Path::automatic)(inputs);
        EXPECT_EQ(last_path(), Path::fused);
      }
    }
  }
}

TEST(Softmax, NotANumberStaysOne) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const std::int64_t length : {1, 3, 7, 15, 16, 17, 40, 513}) {
      SCOPED_TRACE(testing::Message() << dtype << " length " << length);
      const auto t = length / 3;
      auto q = at::randn({1, 1, length, 8}).to(dtype);
      const auto k = at::randn({1, 1, length, 8}).to(dtype);
      q[0][0][t][5] = std::numeric_limits<double>::quiet_NaN();
      const auto lost = softmax_attention(q, k, k, {.causal = true}).isnan().all(-1).flatten();
      EXPECT_EQ(last_path(), length < 16 ? Path::composed : Path::fused);
      EXPECT_TRUE(lost[t].item<bool>());
      EXPECT_EQ(lost.sum().item<std::int64_t>(), 1);
    }
  }
  const auto few = at::randn({1, 1, 15, 8});
  EXPECT_THROW(softmax_attention(few, few, few, {.path = Path::fused}), UserError);
  EXPECT_THROW(softmax_attention(few, few, few, {.path = Path::kernel}), UserError);
}

TEST(Softmax, SecondDerivativesAreThoseOfDifferences) {
  for (const auto path : {Path::reference, Path::composed}) {
    const auto gradients = [path](const test::Tensors& x) {
      test::Tensors leaves;
      for (const auto& input : x) leaves.push_back(input.requires_grad() ? input : input.clone().requires_grad_());
      const auto out = softmax_attention(leaves[0], leaves[1], leaves[2], {.causal = true, .path = path});
      test::Tensors flat;
      for (const auto& gradient : torch::autograd::grad({out.square().sum()}, leaves, {}, true, true))
        flat.push_back(gradient.flatten());
      return at::cat(flat);
    };
    const auto draw = [] { return at::randn({1, 2, 5, 3}, at::kDouble); };
    EXPECT_LT(test::gradient_check(gradients, {draw(), draw(), draw()}), 1e-6);
  }
}

// What the README says of float64.
TEST(Paths, Float64TakesTensorOperations) {
  const auto x = at::randn({1, 2, 23, 4}, at::kDouble), e = at::randn({3, 23}, at::kDouble);
  for (const std::int64_t window : {-1, 0, 5}) {  // −1: bidirectional
    for (const bool block : {false, true}) {
      if (block && window <= 0) continue;
      const AttentionOptions options{
          .causal = window >= 0, .window = std::max<std::int64_t>(window, 0), .block = block};
      const auto projection = block ? e.narrow(1, 0, window) : e;
      attention(x, x, x, projection, projection, options);
      EXPECT_EQ(last_path(), Path::composed);
      const auto single = [](const at::Tensor& wide) { return wide.to(at::kFloat); };
      attention(single(x), single(x), single(x), single(projection), single(projection), options);
      EXPECT_EQ(last_path(), window == 0 ? Path::composed : Path::kernel);
    }
  }
}

// A bias is summed with logits, so that its last digits count though the rest is in bfloat16, whose steps near −3 are
// of 1/64.
TEST(SlotBias, IsNotRounded) {
  const auto short_randn = [](at::IntArrayRef sizes) { return at::randn(sizes).to(at::kBFloat16); };
  const auto q = short_randn({1, 2, 40, 8}), k = short_randn({1, 2, 40, 8}), v = short_randn({1, 2, 40, 8});
  const Slots slots{short_randn({1, 2, 8, 3, 8}), short_randn({1, 2, 8, 3, 8})};
  for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
    const auto run = [&](double bias) {
      auto slot_bias = at::full({2}, bias).requires_grad_();
      const auto out =
          attend(q, k, v, slots, {.causal = true, .window = 5, .slot_bias = slot_bias, .path = path}).to(at::kFloat);
      out.square().sum().backward();
      EXPECT_FALSE(at::equal(slot_bias.grad(), slot_bias.grad().to(at::kBFloat16).to(at::kFloat)));
      return out.detach();
    };
    EXPECT_FALSE(at::equal(run(-3), run(-3 + 1.0 / 256))) << path_name(path);
  }
}

TEST(Softmax, RowThatSeesNothingIsZero) {
  const auto x = at::randn({2, 1, 3, 4});
  auto mask = at::zeros({2, 3}, at::kBool);
  mask[1].fill_(true);
  for (const auto path : {Path::reference, Path::composed}) {
    const auto out = softmax_attention(x, x, x, {.key_padding_mask = mask, .path = path});
    EXPECT_TRUE(out.isfinite().all().item<bool>());
    EXPECT_EQ(out[1].abs().max().item<float>(), 0.0F);
  }
}

TEST(Window, EqualsStandardCausalAttentionUpToTwoWindows) {
  for (const std::int64_t length : {1, 7, 13, 14}) {
    const auto q = at::randn({2, 3, length, 4}, at::kDouble), k = at::randn_like(q), v = at::randn_like(q);
    const auto e = at::randn({5, 14}, at::kDouble);
    const auto out = attention(q, k, v, e, e, {.causal = true, .window = 7});
    EXPECT_LT(relative_error(out, softmax_attention(q, k, v, {.causal = true, .path = Path::reference})), 1e-12);
  }
}

TEST(Prefix, EveryChunkLengthAgrees) {
  const auto q = at::randn({1, 2, 65, 4}, at::kDouble), k = at::randn_like(q), v = at::randn_like(q);
  const auto e = at::randn({2, 3, 70}, at::kDouble), f = at::randn({2, 3, 70}, at::kDouble);
  const auto want = prefix_attention(q, k, v, e, f, {.path = Path::reference});
  for (const std::int64_t chunk : {0, 1, 7, 64, 65, 100}) {
    EXPECT_LT(relative_error(prefix_attention(q, k, v, e, f, {.chunk = chunk, .path = Path::composed}), want), 1e-12)
        << chunk;
  }
}

TEST(Window, ShortAndHugeNumbersStayClose) {
  const auto q = at::randn({3, 4, 61, 16}), k = at::randn_like(q), v = at::randn_like(q);
  const auto e = at::randn({3, 61}) / std::sqrt(61.0);  // as large as the model draws them
  const AttentionOptions options{.causal = true, .window = 5};
  const auto by = [&](Path path) {
    return [=](const test::Tensors& x) {
      return attention(x[0], x[1], x[2], x[3], x[4], {.causal = true, .window = 5, .path = path});
    };
  };
  test::Tensors shorter;
  for (const auto& x : {q, k, v, e, e}) shorter.push_back(x.to(at::kBFloat16));
  test::expect_as_close_as(by(Path::composed), by(Path::kernel), by(Path::reference), shorter);
  EXPECT_TRUE(attention(q * 1e4, k * 1e4, v, e, e, options).isfinite().all().item<bool>());
}

TEST(Summarise, MeanAndConvolutionAreLinearProjections) {
  const auto k = at::randn({2, 3, 8, 4}, at::kDouble), v = at::randn_like(k);
  auto e = at::zeros({2, 8}, at::kDouble);
  e[0].narrow(0, 0, 4).fill_(0.25);
  e[1].narrow(0, 4, 4).fill_(0.25);
  const auto want = summarise_linear(k, v, e, e, {});
  const auto kernel = at::full({4}, 0.25, at::kDouble);
  for (const auto& got : {summarise_mean(k, v, 4, {}), summarise_convolution(k, v, kernel, kernel, {})}) {
    EXPECT_LT(relative_error(got.key, want.key), 1e-12);
    EXPECT_LT(relative_error(got.value, want.value), 1e-12);
  }
}

// 300 positions a segment: bfloat16 can't hold that count, nor float16 the sum.
TEST(Summarise, MeansOfLongSegmentsInShortFloats) {
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    const auto k = at::full({1, 1, 301, 2}, 500.0, dtype);
    const auto got = summarise_mean(k, k, 301, {}).key;
    EXPECT_EQ(got.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(got, k.narrow(2, 0, 1))) << dtype;
  }
}

TEST(Summarise, PaddedPositionsCountForNothing) {
  const auto k = at::randn({1, 2, 6, 4}, at::kDouble), scores = at::randn({1, 2, 3, 6}, at::kDouble);
  auto poisoned = k.clone();
  poisoned.narrow(2, 4, 2).fill_(std::numeric_limits<double>::quiet_NaN());
  auto mask = at::zeros({1, 6}, at::kBool);
  mask.narrow(1, 4, 2).fill_(true);
  const SummariseOptions padded{.key_padding_mask = mask};
  const auto cut = k.narrow(2, 0, 4);
  EXPECT_LT(relative_error(summarise_mean(poisoned, poisoned, 4, padded).key.narrow(2, 0, 1), cut.mean(2, true)),
            1e-12);
  EXPECT_LT(relative_error(summarise_max(poisoned, poisoned, 4, padded).key.narrow(2, 0, 1), cut.amax(2, true)), 1e-12);
  const auto want = at::matmul(scores.narrow(3, 0, 4).softmax(-1), cut);
  EXPECT_LT(relative_error(summarise_dynamic(poisoned, poisoned, scores, padded).key, want), 1e-12);
}

TEST(Summarise, BlocksOfDynamicSlotsStandAlone) {
  const auto k = at::randn({1, 2, 13, 4}, at::kDouble), scores = at::randn({1, 2, 3, 13}, at::kDouble);
  const auto got = summarise_dynamic(k, k, scores, {.window = 5, .block = true}).key;
  ASSERT_EQ(got.size(2), 9);
  const auto last = at::matmul(scores.narrow(3, 10, 3).softmax(-1), k.narrow(2, 10, 3));
  EXPECT_LT(relative_error(got.narrow(2, 6, 3), last), 1e-12);
  EXPECT_THROW(summarise_dynamic(k, k, scores, {.window = 5}), UserError);
  EXPECT_THROW(summarise_mean(k, k, 2, {.window = 5, .block = true}), UserError);
}

}  // namespace
}  // namespace linformer::ops
