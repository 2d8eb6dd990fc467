// What a part of a layer is built from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "linformer/config/model_config.hpp"
#include "nn/parameters.hpp"
#include "nn/position.hpp"

namespace linformer::nn {

/// What the layers of a model may share: the rotation, and with layerwise sharing the first layer's projection.
struct SharedParts {
  explicit SharedParts(const ModelConfig& config) : rotation(std::make_shared<const Rotation>(config)) {}
  std::shared_ptr<const Rotation> rotation;
  at::Tensor key, value;
  Linear scores;
};

struct LayerContext {
  Parameters& parameters;
  const ModelConfig& config;
  std::int64_t layer;
  std::string name;  ///< "blocks.0.attention"
  SharedParts& shared;
};

}  // namespace linformer::nn
