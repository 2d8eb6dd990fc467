// What the tests of the train layer share.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/support.hpp"
#include "linformer/data/prepare.hpp"
#include "linformer/train/run.hpp"

namespace linformer::test {

inline ModelConfig tiny_model(AttentionKind kind, double dropout = 0) {
  ModelConfig config;
  config.length = 13, config.width = 12, config.layers = 2, config.heads = 2, config.vocabulary = 256;
  config.dropout = dropout;
  config.attention.kind = kind;
  config.attention.slots = 5, config.attention.window = 3;
  return config;
}

inline TrainConfig tiny_train(std::int64_t steps) {
  TrainConfig config;
  config.steps = steps;
  config.batch = 3;
  config.learning_rate = 0.01;
  config.dtype = DType::float32;
  return config;
}

}  // namespace linformer::test
