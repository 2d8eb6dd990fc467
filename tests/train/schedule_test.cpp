#include "linformer/train/schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace linformer {
namespace {

TrainConfig config_of(std::int64_t steps) {
  TrainConfig config;
  config.steps = steps;
  config.learning_rate_start = 1e-5, config.learning_rate = 5e-4, config.learning_rate_end = 2e-5;
  return config;
}

TEST(Schedule, FivePercentWarmUpThenCosineToTheFloor) {
  const auto config = config_of(201);  // 10 steps of warm-up, 190 of cosine
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1), 1e-5);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 6), (1e-5 + 5e-4) / 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 11), 5e-4);
  EXPECT_NEAR(learning_rate_at(config, 106), (5e-4 + 2e-5) / 2, 1e-12);         // half of the cosine
  EXPECT_NEAR(learning_rate_at(config, 11 + 63), 2e-5 + 0.755 * 4.8e-4, 2e-6);  // 0.5 + 0.5·cos(π·63/190)
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 201), 2e-5);
  for (std::int64_t step = 2; step <= 201; ++step) {
    const bool rises = learning_rate_at(config, step) > learning_rate_at(config, step - 1);
    EXPECT_EQ(rises, step <= 11) << step;
  }
}

TEST(Schedule, ConstantStaysAtThePeak) {
  auto config = config_of(100);
  config.schedule = Schedule::constant;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1), 1e-5);
  for (const std::int64_t step : {6, 7, 50, 100}) EXPECT_DOUBLE_EQ(learning_rate_at(config, step), 5e-4);
}

TEST(Schedule, ShortRunsAndExtremeWarmUps) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config_of(1), 1), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate_at(config_of(3), 1), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate_at(config_of(3), 3), 2e-5);
  auto config = config_of(10);
  config.warmup_fraction = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1), 5e-4);
  config.warmup_fraction = 1;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1), 1e-5);
  EXPECT_LT(learning_rate_at(config, 10), 5e-4);
  EXPECT_GT(learning_rate_at(config, 10), learning_rate_at(config, 9));
}

}  // namespace
}  // namespace linformer
