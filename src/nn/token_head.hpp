// The heads that give each position a distribution over tokens.
#pragma once

#include <memory>

#include "linformer/config/model_config.hpp"
#include "linformer/nn/head.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

/// The head of a model: the one place that decides. `token_embedding` (V,d) is the output weight too where the model is
/// tied.
std::unique_ptr<Head> make_head(const ModelConfig& config, Parameters& parameters, const at::Tensor& token_embedding);

}  // namespace linformer::nn
