// The second half of a block. Shape letters: d width, f hidden width.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "linformer/config/model_config.hpp"
#include "linformer/ops/layer_norm.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  /// (B,N,d) → (B,N,d). The bias of the last layer is not added yet.
  virtual ops::Branch forward(const at::Tensor& x_BNd) const = 0;
};

/// model.feed_forward_kind: gelu is down(gelu(up(x))) (Hendrycks and Gimpel 2016, arXiv 1606.08415); swiglu is
/// down(silu(gate(x)) ⊙ up(x)) with silu(u) = u/(1 + e^−u) (Shazeer 2020, arXiv 2002.05202).
std::unique_ptr<FeedForward> make_feed_forward(Parameters& parameters, const std::string& name,
                                               const ModelConfig& config);

}  // namespace linformer::nn
