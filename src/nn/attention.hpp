// The attention of one layer: one interface, one factory. Shape letters: docs/maths.md; d model width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "linformer/config/model_config.hpp"
#include "linformer/nn/language_model.hpp"
#include "linformer/ops/attention.hpp"
#include "nn/layer_context.hpp"
#include "nn/parameters.hpp"
#include "nn/state.hpp"

namespace linformer::nn {

/// Values with which the output of an attention equals its weights: the unit matrix (count,count) as (1,1,count,count).
at::Tensor identity_values(std::int64_t count, const at::Tensor& like);

struct Heads {
  at::Tensor query, key, value;
};  ///< query (B,H,N,D); key and value (B,G,N,D), G of model.key_value_heads

/// Some tokens of a text, and what was read before them.
struct Chunk {
  at::Tensor x_BNd;
  Heads heads;
  std::int64_t position = 0;           ///< of its first token; the same in every sequence
  const LayerState* before = nullptr;  ///< none at position 0
};

class Attention {
 public:
  explicit Attention(const LayerContext& context);
  virtual ~Attention() = default;
  /// A whole text: x (B,N,d) → (B,N,d). The bias of the output layer is not added yet.
  virtual ops::Branch forward(const at::Tensor& x_BNd, const std::optional<at::Tensor>& padding_mask) const;
  /// The weights with which forward() mixes the values.
  virtual AttentionWeights weights(const at::Tensor& x_BNd) const = 0;
  /// A chunk of a text, with the state before it → the branch, and the state after it. Both depend on x and on the
  /// state before, and gradients flow to both. Reading a text in chunks gives what forward() gives for the whole.
  /// The state after may share tensors with the one before: join() or select() copy it.
  std::pair<ops::Branch, StatePointer> read(const at::Tensor& x_BNd, std::int64_t position,
                                            const LayerState* before) const;
  /// One position of each sequence: x (B,1,d). `positions` are those of these tokens, and may differ. Changes the state
  /// in place, without gradients.
  ops::Branch step(const at::Tensor& x_B1d, const std::vector<std::int64_t>& positions, LayerState& state) const;

 protected:
  virtual at::Tensor attend(const at::Tensor& x, const Heads& heads,
                            const std::optional<at::Tensor>& padding_mask) const = 0;
  virtual std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk& chunk) const = 0;
  virtual at::Tensor attend_step(const at::Tensor& x, const Heads& heads, const std::vector<std::int64_t>& positions,
                                 LayerState& state) const = 0;
  Heads heads_of(const at::Tensor& x) const;
  /// Where positions are rotary, with queries and keys turned by those from `first` on.
  Heads turned(const Heads& heads, std::int64_t first) const;
  /// (B,N,·) into heads of D.
  at::Tensor split(const at::Tensor& x_BNd) const;
  /// Joins the heads and applies the output layer.
  ops::Branch merge(const at::Tensor& x_BHND) const;
  /// In the dtype of the weights, in which states are summed and kept.
  at::Tensor wide(const at::Tensor& x) const { return x.to(output_.weight.scalar_type()); }

  std::int64_t heads_, state_heads_, head_width_;  // state_heads_: G
  std::shared_ptr<const Rotation> rotation_;
  Linear query_, key_, value_, output_;
};

std::unique_ptr<Attention> make_softmax(const LayerContext& context);
std::unique_ptr<Attention> make_plain(const LayerContext& context);
std::unique_ptr<Attention> make_bidirectional(const LayerContext& context);
std::unique_ptr<Attention> make_prefix(const LayerContext& context);
std::unique_ptr<Attention> make_window(const LayerContext& context);
/// The only place that decides which attention a layer has.
std::unique_ptr<Attention> make_attention(const LayerContext& context);

}  // namespace linformer::nn
