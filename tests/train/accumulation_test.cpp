// Micro-batches of a step: the step is that of one batch of all their rows, whatever the number of targets in each.
#include <ATen/ATen.h>

#include <numeric>

#include "data/draw.hpp"
#include "linformer/core/format.hpp"
#include "linformer/data/recall.hpp"
#include "linformer/ops/cross_entropy.hpp"
#include "train/support.hpp"

namespace linformer {
namespace {

using test::tiny_model;
using test::tiny_train;

// All micro-batches of step s in one batch of that number.
class Joined final : public Batches {
 public:
  Joined(const Batches& parts, std::int64_t count) : parts_(parts), count_(count) {}
  Batch at(std::int64_t index) const override {
    std::vector<at::Tensor> ids, targets;
    bool sparse = false;
    for (auto i = index * count_; i < (index + 1) * count_; ++i) {
      const auto part = parts_.at(i);
      ids.push_back(part.ids), targets.push_back(part.targets);
      sparse = part.sparse;
    }
    return {at::cat(ids), at::cat(targets), sparse};
  }

 private:
  const Batches& parts_;
  std::int64_t count_;
};

// Random ids, of which batch i has i % 4 targets: none, some, few.
class UnequalBatches final : public Batches {
 public:
  explicit UnequalBatches(bool sparse) : sparse_(sparse) {}
  Batch at(std::int64_t index) const override {
    Batch batch{at::empty({2, 13}, at::kLong), at::full({2, 13}, kIgnored, at::kLong), sparse_};
    for (std::int64_t i = 0; i < 26; ++i) batch.ids.view(-1)[i] = below(bits_at(7, index, i), 256);
    for (std::int64_t i = 0; i < index % 4; ++i)
      batch.targets.view(-1)[5 * i + index % 5] = below(bits_at(8, index, i), 256);
    return batch;
  }

 private:
  bool sparse_;
};

struct Outcome {
  at::Tensor moments;
  StepResult step;
};

Outcome first_step(const ModelConfig& model, const Batches& batches, std::int64_t accumulate) {
  auto config = tiny_train(10);
  config.clip = 0;
  config.accumulate = accumulate;
  TrainState state(LanguageModel(model, 1, at::kDouble));
  const auto step = train_step(state, batches, config, {.dtype = at::kDouble});
  std::vector<at::Tensor> moments;
  for (const auto& [name, tensor] : state.optimizer.moments()) moments.push_back(tensor.flatten());
  return {at::cat(moments), step};
}

void expect_one_step(const ModelConfig& model, const Batches& batches, std::int64_t accumulate) {
  const auto parts = first_step(model, batches, accumulate);
  const auto whole = first_step(model, Joined(batches, accumulate), 1);
  EXPECT_TRUE(parts.step.finite);
  EXPECT_NEAR(parts.step.loss, whole.step.loss, 1e-12);
  EXPECT_NEAR(parts.step.gradient_norm, whole.step.gradient_norm, 1e-12);
  EXPECT_LT((parts.moments - whole.moments).abs().max().item<double>(), 1e-12);
}

class Accumulation : public testing::Test {
 protected:
  Accumulation() { at::set_num_threads(1); }
  TokenData data() const {
    std::string text;
    for (int i = 0; i < 60; ++i) text += formatted("line {} of {}; ", i * i, 7919 * i);
    prepare({.inputs = {folder_.write("text.txt", text).string()},
             .out = folder_ / "data",
             .tokenizer = "bytes",
             .quiet = true});
    return TokenData::open(folder_ / "data");
  }
  test::TemporaryFolder folder_;
};

TEST_F(Accumulation, OfMaskedTextIsOneBatch) {
  auto model = tiny_model(AttentionKind::linformer);
  model.causal = false, model.attention.window = 0, model.vocabulary = 257;
  const MaskedBatches batches(std::make_unique<TrainBatches>(data(), 2, 13, 5), 256, 5);
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < 3; ++i) counts.push_back(batches.at(i).targets.ne(kIgnored).sum().item<std::int64_t>());
  ASSERT_NE(std::ranges::min(counts), std::ranges::max(counts));
  expect_one_step(model, batches, 3);
}

TEST_F(Accumulation, OfIgnoredTargetsIsOneBatch) {
  for (const bool sparse : {false, true})
    expect_one_step(tiny_model(AttentionKind::linformer), UnequalBatches(sparse), 8);
}

TEST_F(Accumulation, OfRecallIsOneBatch) {
  DataConfig config;
  config.source = DataSource::recall;
  config.pairs = 3, config.keys = 100, config.values = 100;
  auto model = tiny_model(AttentionKind::softmax);
  expect_one_step(model, RecallBatches(config, 2, 13, 4), 3);
}

TEST_F(Accumulation, WithoutAnyTargetIsNoStep) {
  TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  EXPECT_FALSE(train_step(state, UnequalBatches(false), tiny_train(10), {}).finite);
  EXPECT_EQ(state.step, 0);
}

// As runs before had it: a resumed one is to go on with the same bits.
TEST_F(Accumulation, OfEqualCountsKeepsTheBitsOfTheMeanOfMeans) {
  const TrainBatches batches(data(), 3, 13, 5);
  const auto config = tiny_model(AttentionKind::linformer);
  for (const std::int64_t accumulate : {1, 3, 7}) {
    LanguageModel model(config, 1);
    for (std::int64_t i = 0; i < accumulate; ++i) {
      const auto batch = batches.at(i);
      const auto loss =
          ops::linear_cross_entropy(model.hidden(batch.ids, {.training = true}), model.output_weight(), batch.targets);
      (loss * (1.0 / static_cast<double>(accumulate))).backward();
    }
    TrainState state(LanguageModel(config, 1));
    auto train = tiny_train(10);
    train.accumulate = accumulate, train.clip = 0, train.learning_rate_start = 0;
    train_step(state, batches, train, {});
    const auto expected = model.parameters(), found = state.model.parameters();
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_TRUE(at::equal(found[i].second.grad(), expected[i].second.grad())) << found[i].first << " " << accumulate;
  }
}

}  // namespace
}  // namespace linformer
