// The language model: embeddings, pre-norm blocks, head. Transformer and Linformer differ in one config field.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "linformer/config/model_config.hpp"

namespace linformer {

class DecodeState;

struct ForwardOptions {
  bool training = false;                                  ///< dropout on (drawn from the default generator)
  bool checkpoint = false;                                ///< recompute each block in backward
  std::optional<at::Tensor> padding_mask = std::nullopt;  ///< (B,N) bool, true = padding; bidirectional only
};

/// Gives the parameter of this name, or throws where it has none of this shape.
using ParameterSource = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;

/// What one layer's softmax came to over a text, row by row (maths 1, 3, 4, 5). Rows of `positions` and `slots`
/// together sum to 1. G: slots there are, K, or r·ceil(N/W) of `block`.
struct AttentionWeights {
  at::Tensor positions = {};  ///< (B,H,N,N) on the positions themselves; undefined where a layer attends to slots alone
  at::Tensor slots = {};      ///< (B,H,N,G); undefined in standard attention
  at::Tensor reads = {};  ///< (B,H,G,N) what each slot took of each position; only of dynamic projection, whose weights
                          ///< come from the text
};
/// Gets each layer's weights, in order.
using WeightsVisitor = std::function<void(std::int64_t layer, const AttentionWeights& weights)>;

class LanguageModel {
 public:
  /// Parameters drawn from `seed`; `config` is resolved() first. Parameters require gradients.
  explicit LanguageModel(const ModelConfig& config, std::uint64_t seed = 0, at::TensorOptions options = {});
  /// Nothing is drawn or allocated but what `source` gives: for loading.
  LanguageModel(const ModelConfig& config, const ParameterSource& source);
  ~LanguageModel();
  LanguageModel(LanguageModel&&) noexcept;
  LanguageModel& operator=(LanguageModel&&) noexcept;

  const ModelConfig& config() const;
  /// Named as in model.safetensors (docs/model_format.md), each once, in a fixed order.
  std::vector<std::pair<std::string, at::Tensor>> parameters() const;
  std::int64_t parameter_count() const;
  void to(at::Device device, at::ScalarType dtype);

  at::Tensor hidden(const at::Tensor& ids_BN, const ForwardOptions& options = {})
      const;  ///< (B,N,d) after the final norm, in the dtype of products
  at::Tensor logits(const at::Tensor& ids_BN, const ForwardOptions& options = {}) const;  ///< (B,N,V)
  at::Tensor output_weight() const;  ///< (V,d), for linear_cross_entropy

  /// Reads a text for what its attention weighs, by the equations as they stand: N×N memory a head, no gradients.
  /// UserError as of hidden().
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;

  /// Reads prompts of different lengths in parallel over tokens; logits_BV of each prompt's last token and the state
  /// after it. UserError: a bidirectional model, an empty prompt, a prompt longer than model.length.
  std::pair<at::Tensor, DecodeState> prefill(const std::vector<std::vector<std::int64_t>>& prompts) const;
  /// One more token a sequence: ids (B) → logits (B,V). UserError past the position table.
  at::Tensor step(const at::Tensor& ids_B, DecodeState& state) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace linformer
