// The estimate of the train layer against what training steps take: it may not be more, or what could run is refused.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "linformer/train/train_loop.hpp"
#include "study/measure_memory.hpp"
#include "train/memory_estimate.hpp"

namespace linformer {
namespace {

class RandomBatches final : public Batches {
 public:
  explicit RandomBatches(const RunConfig& config)
      : shape_{config.train.batch, config.model.length}, vocabulary_(config.model.vocabulary) {}
  Batch at(std::int64_t) const override {
    return {at::randint(vocabulary_, shape_, at::kLong), at::randint(vocabulary_, shape_, at::kLong)};
  }

 private:
  std::vector<std::int64_t> shape_;
  std::int64_t vocabulary_;
};

double peak_of_a_step(const RunConfig& config) {
  const RandomBatches batches(config);
  const AllocatorCount count;
  TrainState state(LanguageModel(config.model, 1));
  const auto dtype = config.train.dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat;
  for (int i = 0; i < 2; ++i) train_step(state, batches, config.train, {.dtype = dtype});
  return static_cast<double>(count.peak());
}

double estimate_of(const RunConfig& config) {
  const auto memory = least_memory(config);
  double low = 0, high = 1e12;  // where check_memory() lets it through
  while (high - low > 1e4) {
    const auto middle = (low + high) / 2;
    try {
      check_memory(config, middle);
      high = middle;
    } catch (const UserError&) {
      low = middle;
    }
  }
  EXPECT_GE(high, memory.weights);
  return high;
}

struct Case {
  const char* name;
  AttentionKind kind;
  bool causal;
  std::int64_t window;
  Summary summary;
  DType dtype;
  bool checkpoint;
  std::int64_t accumulate;
};

class TrainingMemory : public testing::TestWithParam<Case> {};

TEST_P(TrainingMemory, IsAtLeastTheEstimateAndNotFarFromIt) {
  const auto& given = GetParam();
  at::set_num_threads(1);
  RunConfig config;
  auto& model = config.model;
  model.length = 256, model.width = 64, model.layers = 4, model.heads = 4, model.vocabulary = 300;
  model.causal = given.causal;
  model.attention.kind = given.kind, model.attention.window = given.window, model.attention.slots = 16;
  model.attention.summary = given.summary;
  model = resolved(model);
  config.train.batch = 8, config.train.accumulate = given.accumulate, config.train.chunk = 0;
  config.train.dtype = given.dtype, config.train.checkpoint_activations = given.checkpoint;
  const auto taken = peak_of_a_step(config), estimate = estimate_of(config);
  EXPECT_LE(estimate, taken);
  EXPECT_GT(estimate, 0.2 * taken);
}

using enum AttentionKind;
INSTANTIATE_TEST_SUITE_P(
    Forms, TrainingMemory,
    testing::Values(Case{"softmax", softmax, true, 0, Summary::running, DType::float32, false, 1},
                    Case{"softmax_bfloat16", softmax, true, 0, Summary::running, DType::bfloat16, false, 1},
                    Case{"bidirectional", linformer, false, 0, Summary::running, DType::float32, false, 1},
                    Case{"prefix", linformer, true, 0, Summary::running, DType::float32, false, 1},
                    Case{"running", linformer, true, 32, Summary::running, DType::float32, false, 1},
                    Case{"running_bfloat16", linformer, true, 32, Summary::running, DType::bfloat16, false, 1},
                    Case{"block", linformer, true, 32, Summary::block, DType::float32, false, 1},
                    Case{"block_checkpoint", linformer, true, 32, Summary::block, DType::float32, true, 1},
                    Case{"softmax_checkpoint", softmax, true, 0, Summary::running, DType::float32, true, 1},
                    Case{"block_accumulate", linformer, true, 32, Summary::block, DType::float32, false, 3}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace linformer
