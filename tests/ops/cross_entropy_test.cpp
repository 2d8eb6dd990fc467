// linear_cross_entropy against the engine's own cross-entropy of whole logits. Shape letters: R rows, V
// vocabulary, d width.
#include "linformer/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/kernels/isa.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

constexpr std::int64_t kRows = 23, kWidth = 5, kVocabulary = 13;

at::Tensor draw_targets(std::int64_t rows = kRows) { return at::randint(kVocabulary, {rows}, at::kLong); }

test::Operation chunked(const at::Tensor& target, CrossEntropyOptions options = {}) {
  return [target, options](const test::Tensors& x) { return linear_cross_entropy(x[0], x[1], target, options); };
}

test::Operation whole(const at::Tensor& target, std::int64_t ignore_index = -100) {
  return [target, ignore_index](const test::Tensors& x) {
    return at::cross_entropy_loss(at::matmul(x[0], x[1].t()), target, {}, at::Reduction::Mean, ignore_index);
  };
}

test::Tensors draw(at::ScalarType dtype) {
  return {at::randn({kRows, kWidth}).to(dtype), at::randn({kVocabulary, kWidth}).to(dtype)};
}

TEST(CrossEntropy, EveryChunkEqualsWholeLogits) {
  const auto target = draw_targets();
  for (const std::int64_t chunk : {0, 1, 2, 7, 22, 23, 24, 1000}) {
    SCOPED_TRACE(chunk);
    for (const auto dtype : {at::kDouble, at::kFloat}) {
      test::expect_same(chunked(target, {.chunk = chunk}), whole(target), draw(dtype), test::tolerance_of(dtype));
    }
  }
}

TEST(CrossEntropy, EveryInstructionSetAgrees) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const std::int64_t vocabulary : {1, 7, 16, 1037, 9001}) {
      SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " V " << vocabulary);
      const auto target = at::randint(vocabulary, {5}, at::kLong);
      // Large logits of many tokens make the gradient of hidden a difference of near equals, which any float32 loss
      // gets to 1e-5 only.
      const test::Tensors inputs{at::randn({5, 3}), at::randn({vocabulary, 3}) / 4};
      test::expect_same(chunked(target, {.chunk = 3}), whole(target), inputs, test::tolerance_of(at::kFloat));
      const auto plain = linear_cross_entropy(inputs[0], inputs[1], target);  // no gradients wanted: another pass
      EXPECT_LT(test::relative_error(plain.add(1), whole(target)(inputs).add(1)), 1e-6);
    }
  }
}

TEST(CrossEntropy, GradientsAreThoseOfDifferences) {
  auto target = draw_targets();
  target[3] = -100;
  EXPECT_LT(test::gradient_check(chunked(target, {.chunk = 7}), draw(at::kDouble)), 1e-6);
}

TEST(CrossEntropy, IgnoredTargetsCountForNothing) {
  auto target = draw_targets();
  target.narrow(0, 5, 9).fill_(2);
  for (const std::int64_t chunk : {0, 4}) {
    test::expect_same(chunked(target, {.ignore_index = 2, .chunk = chunk}), whole(target, 2), draw(at::kDouble),
                      test::tolerance_of(at::kDouble));
  }
  const auto inputs = draw(at::kDouble);
  const auto gradient =
      test::run_with_gradients(chunked(target, {.ignore_index = 2}), inputs, at::ones({}, at::kDouble), at::kDouble)
          .gradients[0];
  EXPECT_EQ(gradient.narrow(0, 5, 9).abs().max().item<double>(), 0.0);
}

TEST(CrossEntropy, WithoutATargetTheLossIsNotANumberAndTheGradientZero) {
  const auto target = at::full({kRows}, -100, at::kLong);
  const auto got = test::run_with_gradients(chunked(target, {.chunk = 4}), draw(at::kFloat), at::ones({}), at::kFloat);
  EXPECT_TRUE(got.output.isnan().item<bool>());
  for (const auto& gradient : got.gradients) EXPECT_EQ(gradient.abs().max().item<float>(), 0.0F);
}

TEST(CrossEntropy, TiedWeightsGatherBothGradients) {
  // The hidden rows are rows of the weight, as where the token embedding is also the output layer.
  const auto ids = draw_targets(), target = draw_targets();
  const auto tied = [&](const auto& loss) {
    return [&ids, loss](const test::Tensors& x) { return loss({x[0].index_select(0, ids), x[0]}); };
  };
  const test::Tensors weight{at::randn({kVocabulary, kWidth}, at::kDouble)};
  test::expect_same(tied(chunked(target, {.chunk = 5})), tied(whole(target)), weight, test::tolerance_of(at::kDouble));
  EXPECT_LT(test::gradient_check(tied(chunked(target, {.chunk = 5})), weight), 1e-6);
}

TEST(CrossEntropy, HasSecondDerivatives) {
  auto target = draw_targets();
  target[3] = -100;
  const auto gradients = [](const test::Operation& loss) {
    return [loss](const test::Tensors& x) { return test::gradients_of(loss, x); };
  };
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    test::expect_same(gradients(chunked(target, {.chunk = 7})), gradients(whole(target)), draw(dtype),
                      dtype == at::kDouble ? test::tolerance_of(dtype) : test::Tolerance{5e-6, 2e-5});
  }
}

TEST(CrossEntropy, HugeLogitsStayExact) {
  const auto target = draw_targets();
  auto inputs = draw(at::kFloat);
  for (auto& input : inputs) input = input.mul(1e3).round();  // integers whose products float32 holds exactly
  test::expect_same(chunked(target, {.chunk = 6}), whole(target), inputs, test::tolerance_of(at::kFloat));
}

TEST(CrossEntropy, Bfloat16) {
  const auto target = draw_targets();
  test::expect_as_close_as(whole(target), chunked(target, {.chunk = 9}), whole(target), draw(at::kBFloat16));
}

// Whole vectors and tails of rows, ignored targets, several chunks and uneven ones.
TEST(CrossEntropy, EveryInstructionSetAgreesInBfloat16) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const std::int64_t vocabulary : {16, 1037, 9001}) {
      for (const std::int64_t chunk : {0, 3, 11}) {
        SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " V " << vocabulary << " chunk " << chunk);
        auto target = at::randint(vocabulary, {11}, at::kLong);
        target[4] = -100;
        const test::Tensors inputs{at::randn({11, 24}).to(at::kBFloat16),
                                   (at::randn({vocabulary, 24}) / 4).to(at::kBFloat16)};
        const auto loss = chunked(target, {.chunk = chunk});
        test::expect_as_close_as(whole(target), loss, whole(target), inputs);
        const auto got = test::run_with_gradients(loss, inputs, at::ones({}), at::kBFloat16);
        EXPECT_EQ(got.gradients[0][4].abs().max().item<float>(), 0.0F);
      }
    }
  }
}

// More rows than one chunk of 64 MB of logits holds.
TEST(CrossEntropy, ChosenChunksCoverAllRows) {
  const std::int64_t vocabulary = 2'000'000, rows = 21;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto target = at::randint(vocabulary, {rows}, at::kLong);
    const test::Tensors inputs{at::randn({rows, 2}).to(dtype), at::randn({vocabulary, 2}).to(dtype)};
    const at::NoGradGuard no_grad;
    const auto got = chunked(target)(inputs), want = chunked(target, {.chunk = rows})(inputs);
    EXPECT_LT(test::relative_error(got, want), 1e-6);
  }
}

TEST(CrossEntropy, TakesAnyLeadingShapeAndStrides) {
  const auto hidden = at::randn({4, 5, 3}, at::kDouble).permute({2, 0, 1}),
             weight = at::randn({5, kVocabulary}, at::kDouble).t();
  const auto target = at::randint(kVocabulary, {3, 4}, at::kLong);
  const auto want = at::cross_entropy_loss(at::matmul(hidden, weight.t()).flatten(0, 1), target.flatten());
  EXPECT_LT(test::relative_error(linear_cross_entropy(hidden, weight, target), want), 1e-12);
}

TEST(CrossEntropy, ErrorsNameWhatIsWrong) {
  const auto hidden = at::randn({3, 5}), weight = at::randn({4, 5});
  const auto target = at::zeros({3}, at::kLong);
  EXPECT_THROW(linear_cross_entropy(hidden, at::randn({4, 6}), target), UserError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight.to(at::kDouble), target), UserError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, target.to(at::kInt)), UserError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, at::zeros({2}, at::kLong)), UserError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, at::full({3}, 4, at::kLong)), UserError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, target, {.chunk = -1}), UserError);
}

}  // namespace
}  // namespace linformer::ops
