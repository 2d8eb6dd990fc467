// LanguageModel::attention_weights: what each row of a softmax came to. Shape letters: B batch, N length, H heads, K
// slots, W window, r slots a block, G = r·ceil(N/W).
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "nn/forms.hpp"

namespace linformer::test {
namespace {

std::vector<AttentionWeights> weights_of(const LanguageModel& model, const at::Tensor& ids_BN) {
  std::vector<AttentionWeights> layers;
  model.attention_weights(ids_BN, [&](std::int64_t layer, const AttentionWeights& weights) {
    EXPECT_EQ(layer, static_cast<std::int64_t>(layers.size()));
    layers.push_back(weights);
  });
  return layers;
}

/// Σ of a row over positions and slots.
at::Tensor row_sums(const AttentionWeights& weights) {
  if (!weights.slots.defined()) return weights.positions.sum(-1);
  const auto slots = weights.slots.sum(-1);
  return weights.positions.defined() ? slots + weights.positions.sum(-1) : slots;
}

TEST(AttentionWeights, RowsOfEveryCausalFormSumToOneAndSeeNothingLater) {
  for (const auto& form : causal_forms()) {
    SCOPED_TRACE(form.name);
    const auto model = lively_model(form.config);
    const auto layers =
        weights_of(model, random_ids({2, 41 < form.config.length ? 41 : form.config.length}, form.config.vocabulary));
    ASSERT_EQ(static_cast<std::int64_t>(layers.size()), form.config.layers);
    for (const auto& weights : layers) {
      EXPECT_LT((row_sums(weights) - 1).abs().max().item<double>(), 1e-12);
      if (weights.positions.defined()) {
        EXPECT_EQ(weights.positions.triu(1).abs().max().item<double>(), 0);
      }
    }
  }
}

// One layer with the values' product undone: weights times values is what the layer adds. The embedding enters raw (no
// other layer before it).
TEST(AttentionWeights, StandardAttentionIsItsEquation) {
  for (const bool causal : {true, false}) {
    auto form = softmax_form();
    form.config.causal = causal;
    form.config.position = Position::none;
    const auto model = lively_model(form.config);
    const auto ids = random_ids({1, 13}, form.config.vocabulary);
    const at::NoGradGuard no_grad;
    std::map<std::string, at::Tensor> by_name;
    for (const auto& [name, tensor] : model.parameters()) by_name[name] = tensor;
    const auto get = [&](const std::string& name) { return by_name.at(name); };
    const std::string first = "blocks.0.attention";
    const auto x = at::layer_norm(get("token_embedding.weight").index_select(0, ids[0]), {12},
                                  get(first + "_norm.weight"), get(first + "_norm.bias"), 1e-5);
    const auto weights = weights_of(model, ids)[0].positions[0];
    for (std::int64_t head = 0; head < 2; ++head) {
      const auto of_head = [&](const std::string& name) {
        return (at::matmul(x, get(first + name + ".weight").t()) + get(first + name + ".bias")).narrow(1, head * 6, 6);
      };
      auto logits = at::matmul(of_head(".query"), of_head(".key").t()) / std::sqrt(6.0);
      if (causal) logits = logits + at::full({13, 13}, -1e300, logits.options()).triu(1);
      const auto want = logits.exp() / logits.exp().sum(1, true);
      EXPECT_LT(largest_difference(weights[head], want), 1e-12);
    }
  }
}

TEST(AttentionWeights, AWindowGivesSlotsNothingBeforeItsThirdBlockAndSomethingAfter) {
  for (const auto summary : {Summary::running, Summary::block}) {
    const auto form = linformer_form("w", 48, 6, 2, Sharing::none, summary);
    const auto slots = weights_of(lively_model(form.config), random_ids({1, 40}, form.config.vocabulary))[1].slots;
    EXPECT_EQ(slots.size(-1), summary == Summary::block ? 14 : 2);
    EXPECT_EQ(slots.narrow(2, 0, 12).abs().max().item<double>(), 0);
    EXPECT_GT(slots.narrow(2, 12, 28).sum(-1).min().item<double>(), 0);
  }
}

TEST(AttentionWeights, SinksGetWeightForEverAndTheRestOfWhatIsFarGetsNone) {
  for (const std::int64_t slots : {std::int64_t{0}, std::int64_t{3}}) {
    auto form = linformer_form("w", 48, 6, slots, Sharing::none);
    form.config.attention.sinks = 2;
    const auto positions =
        weights_of(lively_model(form.config), random_ids({1, 40}, form.config.vocabulary))[1].positions;
    EXPECT_GT(positions.narrow(2, 1, 39).narrow(3, 0, 2).min().item<double>(), 0);
    EXPECT_EQ(positions.narrow(2, 12, 28).narrow(3, 2, 4).abs().max().item<double>(), 0);
  }
}

TEST(AttentionWeights, DynamicSlotsTakeNothingFromSinks) {
  auto form = linformer_form("w", 48, 6, 2, Sharing::none, Summary::block, Projection::dynamic);
  form.config.attention.sinks = 4;
  const auto reads = weights_of(lively_model(form.config), random_ids({1, 40}, form.config.vocabulary))[0].reads;
  EXPECT_EQ(reads.narrow(3, 0, 4).abs().max().item<double>(), 0);
  EXPECT_LT((reads.sum(-1) - 1).abs().max().item<double>(), 1e-12);
}

// Of N 48, W 6 and 40 tokens: the last query, 39, is in block 6, and sees slots of blocks 0 to 4. Sinks give nothing.
at::Tensor reads_of_running(Projection projection, std::int64_t sinks) {
  auto form = linformer_form("w", 48, 6, 3, Sharing::none, Summary::running, projection);
  form.config.attention.sinks = sinks;
  const auto reads = weights_of(lively_model(form.config), random_ids({2, 40}, form.config.vocabulary))[0].reads;
  EXPECT_EQ(reads.sizes(), (std::vector<std::int64_t>{2, 2, 3, 40}));
  EXPECT_GT(reads.narrow(3, sinks, 30 - sinks).min().item<double>(), 0);
  EXPECT_EQ(reads.narrow(3, 30, 10).abs().max().item<double>(), 0);
  if (sinks > 0) {
    EXPECT_EQ(reads.narrow(3, 0, sinks).abs().max().item<double>(), 0);
  }
  return reads;
}

// What a slot has taken in sums to 1, but for what is left of the zero that it began with.
TEST(AttentionWeights, GatedSlotsForgetAndTakeNothingFromSinks) {
  for (const std::int64_t sinks : {0, 4}) {
    const auto reads = reads_of_running(Projection::gated, sinks);
    EXPECT_LT(reads.sum(-1).max().item<double>(), 1);
  }
}

// A slot is a mean of what it took in.
TEST(AttentionWeights, ClusterSlotsAreMeansAndTakeNothingFromSinks) {
  for (const std::int64_t sinks : {0, 4, 6}) {
    const auto reads = reads_of_running(Projection::cluster, sinks);
    EXPECT_LT((reads.sum(-1) - 1).abs().max().item<double>(), 1e-12);
  }
}

TEST(AttentionWeights, BidirectionalRowsSumToOneAndDynamicSlotsReadEachPositionOnce) {
  for (const auto projection :
       {Projection::linear, Projection::dynamic, Projection::convolution, Projection::mean, Projection::max}) {
    auto form = linformer_form("b", 40, 0, 5, Sharing::headwise, Summary::running, projection);
    form.config.causal = false;
    const auto layers = weights_of(lively_model(form.config), random_ids({2, 40}, form.config.vocabulary));
    for (const auto& weights : layers) {
      EXPECT_FALSE(weights.positions.defined());
      EXPECT_EQ(weights.slots.sizes(), (std::vector<std::int64_t>{2, 2, 40, 5}));
      EXPECT_LT((row_sums(weights) - 1).abs().max().item<double>(), 1e-12);
      EXPECT_EQ(weights.reads.defined(), projection == Projection::dynamic);
      if (!weights.reads.defined()) continue;
      EXPECT_EQ(weights.reads.sizes(), (std::vector<std::int64_t>{2, 2, 5, 40}));
      EXPECT_LT((weights.reads.sum(-1) - 1).abs().max().item<double>(), 1e-12);
    }
  }
}

TEST(AttentionWeights, SaysWhatIsWrongWithIds) {
  const auto form = softmax_form(9);
  const auto model = lively_model(form.config);
  const auto nothing = [](std::int64_t, const AttentionWeights&) {};
  EXPECT_NE(
      message_of([&] { model.attention_weights(random_ids({1, 10}, 19), nothing); }).find("longer than model.length 9"),
      std::string::npos);
  EXPECT_NE(message_of([&] { model.attention_weights(random_ids({9}, 19), nothing); }).find("expected (batch, length)"),
            std::string::npos);
}

}  // namespace
}  // namespace linformer::test
