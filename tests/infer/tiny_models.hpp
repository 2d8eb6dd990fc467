// Untrained models of a few thousand parameters over the `bytes` vocabulary, in float64 so that rounding
// decides nothing.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>
#include <vector>

#include "linformer/nn/language_model.hpp"

namespace linformer::test {

/// Names of the causal forms that tiny_config() knows.
inline const std::vector<std::string> kForms{"softmax", "prefix", "running", "block"};

inline ModelConfig tiny_config(const std::string& form, std::int64_t length = 24) {
  ModelConfig config;
  config.length = length;
  config.width = 12;
  config.layers = 2;
  config.heads = 2;
  config.vocabulary = 256;
  if (form == "softmax") {
    config.attention.kind = AttentionKind::softmax;
  } else {
    config.attention.window = form == "prefix" ? 0 : 4;
    config.attention.summary = form == "block" ? Summary::block : Summary::running;
    config.attention.slots = form == "block" ? length / 4 : 5;
  }
  return config;
}

/// Weights four times as large as at the start of training, so that what the model says depends on what it
/// reads.
inline LanguageModel tiny_model(const ModelConfig& config, std::uint64_t seed = 1) {
  LanguageModel model(config, seed);
  model.to(at::kCPU, at::kDouble);
  const c10::NoGradGuard no_grad;
  for (auto& [name, parameter] : model.parameters()) {
    if (name.ends_with("weight") && parameter.dim() == 2) parameter.mul_(4);
  }
  return model;
}

}  // namespace linformer::test
