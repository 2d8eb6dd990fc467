// What a training needs at least, and what is said when there is less.
#include "train/memory_estimate.hpp"

#include "train/support.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

RunConfig estimated_config(std::int64_t batch) {
  RunConfig config;
  config.model = resolved(test::tiny_model(AttentionKind::linformer));
  config.train = test::tiny_train(10);
  config.train.batch = batch;
  config.train.chunk = 0;
  return config;
}

TEST(MemoryEstimate, WeightsAreThoseOfTheModel) {
  for (const auto kind : {AttentionKind::softmax, AttentionKind::linformer}) {
    for (const auto position : {Position::learned, Position::sinusoidal}) {
      auto config = estimated_config(1);
      config.model = test::tiny_model(kind);
      config.model.position = position;
      config.model = resolved(config.model);
      const auto parameters = LanguageModel(config.model, 1).parameter_count();
      EXPECT_EQ(least_memory(config).weights, 16.0 * static_cast<double>(parameters));
    }
  }
}

TEST(MemoryEstimate, SizesBeyondAnyMachineAreCounted) {
  auto config = estimated_config(1);
  config.model.width = config.model.vocabulary = config.model.length = std::int64_t{1} << 30;
  config.model.position = Position::sinusoidal;
  config.model.attention.slots = 1 << 20;
  config.model.attention.sharing = Sharing::none;
  EXPECT_GT(least_memory(config).weights, 16e18);
}

TEST(MemoryEstimate, WhatFitsIsLetThrough) {
  EXPECT_NO_THROW(check_memory(estimated_config(1), 10e6));
  EXPECT_NO_THROW(check_memory(estimated_config(1000), 1e9));
}

TEST(MemoryEstimate, ABatchThatDoesNotFitIsNamedWithOneThatMay) {
  const auto message = message_of([] { check_memory(estimated_config(1'000'000'000), 20e9); });
  EXPECT_TRUE(holds(message, {"at least ", " TB", "there are 20.0 GB", "train.batch = 1000000000", "model.length = 13",
                              "train.accumulate", "train.checkpoint_activations = true"}));
  // The number that it gives is where the estimate ends.
  constexpr std::string_view kBefore = "a train.batch below ";
  const auto below = std::stoll(message.substr(message.find(kBefore) + kBefore.size()));
  EXPECT_NO_THROW(check_memory(estimated_config(below - 1), 20e9));
  EXPECT_THROW(check_memory(estimated_config(below + 1), 20e9), UserError);
  auto recomputed = estimated_config(1'000'000'000);
  recomputed.train.checkpoint_activations = true;
  const auto other = message_of([&] { check_memory(recomputed, 20e9); });
  EXPECT_EQ(other.find("checkpoint_activations"), std::string::npos);
}

TEST(MemoryEstimate, ATextThatDoesNotFitIsCutIntoChunks) {
  auto config = estimated_config(2);
  config.model.length = 1 << 16;
  config.model = resolved(config.model);
  config.train.chunk = 0;
  const auto whole = least_memory(config);
  config.train.chunk = std::nullopt;
  EXPECT_EQ(choose_chunk(config, whole.weights + 3.1 * whole.a_sequence).chunk, 0);
  const auto some = choose_chunk(config, whole.weights + 2.9 * whole.a_sequence);
  EXPECT_TRUE(holds(some.reason, {"whole text", " of "}));
  std::int64_t last = some.chunk;
  EXPECT_GT(last, 0);
  for (const double share : {0.5, 0.1, 0.02, 0.001}) {
    const auto chunk = choose_chunk(config, 2 * whole.weights + share * whole.a_sequence).chunk;
    EXPECT_EQ(chunk % 3, 0);
    EXPECT_LE(chunk, last);
    last = chunk;
  }
  EXPECT_EQ(choose_chunk(config, 0).chunk, 3);  // the window
  config.train.chunk = 96;
  EXPECT_LT(least_memory(config).a_sequence, whole.a_sequence / 10);
  // What can't be cut is taken whole.
  config.train.checkpoint_activations = true;
  EXPECT_EQ(choose_chunk(config, 0).chunk, 0);
}

TEST(MemoryEstimate, AModelThatDoesNotFitIsNamed) {
  const auto message = message_of([] { check_memory(estimated_config(1), 100e3); });
  EXPECT_TRUE(holds(message, {"there are 100 kB", "weights", "smaller model.width", "model.layers"}));
  EXPECT_EQ(message.find("train.batch below"), std::string::npos);
}

}  // namespace
}  // namespace linformer
