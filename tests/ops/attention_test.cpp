// What tests/python/test_operator.py can't reach: softmax attention, the kinds of slots, bfloat16. Shape
// letters: see ops/attention.hpp.
#include "linformer/ops/attention.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
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
  const auto q = at::randn({1, 2, 23, 4}), k = at::randn_like(q), v = at::randn_like(q), e = at::randn({3, 23});
  const AttentionOptions options{.causal = true, .window = 5};
  const auto shorter = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
  const auto out = attention(shorter(q), shorter(k), shorter(v), shorter(e), shorter(e), options);
  EXPECT_LT(relative_error(out, attention(q, k, v, e, e, options)),
            0.05);  // a few roundings of 2^-9, logits included
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
