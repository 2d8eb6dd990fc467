// The attention with which `benchmark` compares against fused attention: it may differ in cost, not in what it says.
#include <gtest/gtest.h>

#include "nn/forms.hpp"

namespace linformer::test {
namespace {

// Shape letters: B batch, N length.
void expect_the_transformer(ModelConfig config, const std::optional<at::Tensor>& padding_BN = std::nullopt) {
  const auto model = lively_model(config);
  config.attention.plain = true;
  const auto plain = lively_model(config);
  const auto ids_BN = random_ids({3, 17}, config.vocabulary);
  const auto expected = model.hidden(ids_BN, {.padding_mask = padding_BN});
  const auto found = plain.hidden(ids_BN, {.padding_mask = padding_BN});
  EXPECT_LT(largest_difference(found, expected), 1e-12);
  expected.pow(2).sum().backward();
  found.pow(2).sum().backward();
  const auto one = model.parameters(), other = plain.parameters();
  ASSERT_EQ(one.size(), other.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].first, other[i].first);
    if (one[i].first == "output.weight") continue;  // comes after what is compared
    EXPECT_LT(largest_difference(one[i].second.grad(), other[i].second.grad()), 1e-10) << one[i].first;
  }
  std::vector<at::Tensor> weights;
  const auto keep = [&](std::int64_t, const AttentionWeights& of_layer) { weights.push_back(of_layer.positions); };
  model.attention_weights(ids_BN, keep);
  plain.attention_weights(ids_BN, keep);
  EXPECT_LT(largest_difference(weights.at(1), weights.at(3)), 1e-12);
}

TEST(PlainAttention, SaysWhatFusedAttentionSays) {
  auto config = softmax_form().config;
  expect_the_transformer(config);
  config.key_value_heads = 1;
  expect_the_transformer(config);
  config.causal = false;
  expect_the_transformer(config);
  auto padding_BN = at::zeros({3, 17}, at::kBool);
  padding_BN[1].narrow(0, 11, 6).fill_(true);
  expect_the_transformer(config, padding_BN);
}

}  // namespace
}  // namespace linformer::test
