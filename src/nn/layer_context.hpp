// What a part of a layer is built from.
#pragma once

#include <cstdint>
#include <string>

#include "linformer/config/model_config.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

/// A projection that several layers may share.
struct SharedProjection {
  at::Tensor key, value;
  Linear scores;
};

struct LayerContext {
  Parameters& parameters;
  const ModelConfig& config;
  std::int64_t layer;
  std::string name;          ///< "blocks.0.attention"
  SharedProjection& shared;  ///< filled by the first layer where sharing is layerwise
};

}  // namespace linformer::nn
