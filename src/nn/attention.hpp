// The attention of one layer: one interface, one factory. Shape letters: docs/maths.md; d model width, L cached
// positions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "linformer/config/model_config.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"
#include "linformer/ops/attention.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

/// What a layer remembers while decoding: tensors (B,H,L,·), which grow in dimension 2 if the form needs it.
struct LayerState final : DecodeState::Layer {
  std::vector<at::Tensor> tensors;
  explicit LayerState(std::vector<at::Tensor> values) : tensors(std::move(values)) {}
  std::int64_t bytes() const override;
  std::unique_ptr<DecodeState::Layer> select(const std::vector<std::int64_t>& rows) const override;
};
using StatePointer = std::unique_ptr<LayerState>;

/// Joins several states into one, in order. Shorter tensors are padded with zeros.
StatePointer join(const std::vector<StatePointer>& states);

/// Values with which the output of an attention equals its weights: the unit matrix (count,count) as (1,1,count,count).
at::Tensor identity_values(std::int64_t count, const at::Tensor& like);

/// Makes room for `length` entries in dimension 2. If there is too little, the room at least doubles.
void reserve(at::Tensor& tensor, std::int64_t length);

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

struct Heads {
  at::Tensor query, key, value;
};  ///< (B,H,N,D) each

class Attention {
 public:
  explicit Attention(const LayerContext& context);
  virtual ~Attention() = default;
  /// x (B,N,d) → (B,N,d). The bias of the output layer is not added yet.
  virtual ops::Branch forward(const at::Tensor& x_BNd, const std::optional<at::Tensor>& padding_mask) const;
  /// The weights with which forward() mixes the values.
  virtual AttentionWeights weights(const at::Tensor& x_BNd) const = 0;
  /// The result of forward(), and the state after the last position.
  std::pair<ops::Branch, StatePointer> prefill(const at::Tensor& x_BNd) const;
  /// One position of each sequence: x (B,1,d). `positions` are the positions of these tokens.
  ops::Branch step(const at::Tensor& x_B1d, const std::vector<std::int64_t>& positions, LayerState& state) const;

 protected:
  virtual at::Tensor attend(const at::Tensor& x, const Heads& heads,
                            const std::optional<at::Tensor>& padding_mask) const = 0;
  virtual StatePointer state_after(const at::Tensor& x, const Heads& heads) const = 0;
  virtual at::Tensor attend_step(const at::Tensor& x, const Heads& heads, const std::vector<std::int64_t>& positions,
                                 LayerState& state) const = 0;
  Heads heads_of(const at::Tensor& x) const;
  at::Tensor split(const at::Tensor& x_BNd) const;
  /// Joins the heads and applies the output layer.
  ops::Branch merge(const at::Tensor& x_BHND) const;

  std::int64_t heads_, head_width_;
  Linear query_, key_, value_, output_;
};

std::unique_ptr<Attention> make_softmax(const LayerContext& context);
std::unique_ptr<Attention> make_bidirectional(const LayerContext& context);
std::unique_ptr<Attention> make_prefix(const LayerContext& context);
std::unique_ptr<Attention> make_window(const LayerContext& context);
/// The only place that decides which attention a model has.
std::unique_ptr<Attention> make_attention(const LayerContext& context);

}  // namespace linformer::nn
