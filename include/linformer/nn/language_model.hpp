// The language model: a trunk (embeddings, pre-norm blocks) and a head. A Transformer and a Linformer differ in one
// config field.
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
#include "linformer/nn/head.hpp"

namespace linformer {

class DecodeState;

struct ForwardOptions {
  bool training = false;  ///< dropout is on
  /// Which numbers dropout takes: those of this seed, at the positions of the text.
  std::uint64_t dropout_seed = 0;
  bool checkpoint = false;  ///< backward computes each block again instead of storing it
  /// (B,N) bool, true = padding; only for bidirectional models
  std::optional<at::Tensor> padding_mask = std::nullopt;
};

/// Returns the parameter of this name. Throws when there is none, or when it has another shape.
using ParameterSource = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;

/// The weights that one layer's softmax gives over a text, one row per query (maths 1, 3, 4, 5). In each row,
/// `positions` and `slots` together sum to 1. G is the number of slots: K, or r·ceil(N/W) for `block`.
struct AttentionWeights {
  at::Tensor positions = {};  ///< (B,H,N,N) weights on positions; undefined when the layer attends only to slots
  at::Tensor slots = {};      ///< (B,H,N,G) weights on slots; undefined in standard attention
  /// (B,H,G,N) how much each slot took from each position; only for dynamic, gated and cluster projection, whose
  /// weights depend on the text. The latter two: the slots that the last block of queries sees
  at::Tensor reads = {};
};
/// Receives the weights of each layer, in order.
using WeightsVisitor = std::function<void(std::int64_t layer, const AttentionWeights& weights)>;

/// A model with its parameters. Shape letters: B sequences, N tokens, V vocabulary, d width, H heads. hidden() and
/// logits() throw UserError for ids that are not (B,N) int64, are outside the vocabulary, or are longer than
/// config().longest_text().
class LanguageModel {
 public:
  /// Draws the parameters from `seed`; they require gradients. `config` goes through resolved() first.
  explicit LanguageModel(const ModelConfig& config, std::uint64_t seed = 0, at::TensorOptions options = {});
  /// For loading: takes every parameter from `source`, and draws or allocates none itself.
  LanguageModel(const ModelConfig& config, const ParameterSource& source);
  ~LanguageModel();
  LanguageModel(LanguageModel&&) noexcept;
  LanguageModel& operator=(LanguageModel&&) noexcept;

  const ModelConfig& config() const;
  /// Each parameter once, in a fixed order, with its name in model.safetensors (docs/model_format.md).
  std::vector<std::pair<std::string, at::Tensor>> parameters() const;
  std::int64_t parameter_count() const;
  /// Moves the parameters to `device` and converts them to `dtype`.
  void to(at::Device device, at::ScalarType dtype);

  /// (B,N,d) after the final norm, in the number format of the matrix products.
  at::Tensor hidden(const at::Tensor& ids_BN, const ForwardOptions& options = {}) const;
  at::Tensor logits(const at::Tensor& ids_BN, const ForwardOptions& options = {}) const;  ///< (B,N,V)
  at::Tensor output_weight() const;                                                       ///< (V,d), the head's
  /// What the model is trained by: the mean loss over all targets, in nats. Products are computed in `dtype`, float32
  /// or bfloat16; ids and targets may be on another device than the model.
  at::Tensor loss(const at::Tensor& ids_BN, const Targets& targets, const ForwardOptions& options = {},
                  at::ScalarType dtype = at::kFloat) const;
  const Head& head() const;
  /// The next tokens (B,N) of texts that are equally long so far, and the state after those → their hidden states, and
  /// the state after them. An empty state stands for the start. Both results depend on the state before, and gradients
  /// flow through it. Reading a text in chunks gives what hidden() gives for the whole, with dropout too. UserError as
  /// hidden(), and for a bidirectional model or a state of other texts.
  std::pair<at::Tensor, DecodeState> read(const at::Tensor& ids_BN, const DecodeState& before,
                                          const ForwardOptions& options = {}) const;

  /// Reads a text and calls `visit` with the attention weights of each layer. It follows the equations directly, so it
  /// needs N×N memory per head; no gradients. UserError as hidden().
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;

  /// Tokens of a prompt that are read in parallel. A longer prompt is read one chunk after the other, so that it takes
  /// the memory of a chunk and of the state.
  static constexpr std::int64_t kPromptChunk = 4096;
  /// Reads prompts of different lengths. Returns the logits (B,V) after each prompt's last token, and the state there.
  /// UserError when the model is bidirectional, a prompt is empty or longer than config().longest_text(), or chunk < 1.
  std::pair<at::Tensor, DecodeState> prefill(const std::vector<std::vector<std::int64_t>>& prompts,
                                             std::int64_t chunk = kPromptChunk) const;
  /// Reads one more token per sequence: ids (B) → logits (B,V). UserError when a position is beyond
  /// config().longest_text().
  at::Tensor step(const at::Tensor& ids_B, DecodeState& state) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace linformer
