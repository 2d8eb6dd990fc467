// What turns token ids into hidden states: embedding, blocks, final norm. A head (linformer/nn/head.hpp) makes of them
// what the model is for. Shape letters: B sequences, N tokens, d width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"
#include "nn/attention.hpp"
#include "nn/feed_forward.hpp"
#include "nn/parameters.hpp"
#include "nn/position.hpp"

namespace linformer::nn {

/// A pre-norm block: x + attention(norm(x)), then x + feed_forward(norm(x)).
struct Block {
  Norm attention_norm;
  std::unique_ptr<Attention> attention;
  Norm feed_forward_norm;
  std::unique_ptr<FeedForward> feed_forward;
  std::vector<at::Tensor> parameters;  // all that it uses, shared ones included
};

/// The methods are those of LanguageModel, with hidden states in place of logits.
class Trunk {
 public:
  Trunk(const ModelConfig& config, Parameters& parameters);
  const ModelConfig& config() const { return config_; }
  const at::Tensor& token_embedding() const { return token_embedding_; }  ///< (V,d)
  /// Moves what is no parameter.
  void to(at::Device device, at::ScalarType dtype) { position_.to(device, dtype); }

  at::Tensor hidden(const at::Tensor& ids_BN, const ForwardOptions& options) const;
  std::pair<at::Tensor, DecodeState> read(const at::Tensor& ids_BN, const DecodeState& before,
                                          const ForwardOptions& options) const;
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;
  /// Of each prompt the hidden state of its last token (1,d), and the states after them.
  std::pair<std::vector<at::Tensor>, DecodeState> prefill(const std::vector<std::vector<std::int64_t>>& prompts,
                                                          std::int64_t chunk) const;
  at::Tensor step(const at::Tensor& ids_B, DecodeState& state) const;  ///< (B,d)

 private:
  void add_block(std::int64_t layer, Parameters& parameters, SharedParts& shared);
  at::Tensor embed(const at::Tensor& ids_BN, const at::Tensor& positions) const;
  void check_ids(const at::Tensor& ids) const;
  void check_text(const at::Tensor& ids_BN) const;
  /// The next tokens of texts, which begin at `position`: what the blocks make of them (B,N,d). `states`: of the texts
  /// before, one a block, null at their start; afterwards those of the texts with these tokens.
  at::Tensor read(const at::Tensor& ids_BN, std::int64_t position, std::vector<StatePointer>& states,
                  const ForwardOptions& options) const;

  ModelConfig config_;
  at::Tensor token_embedding_;
  PositionEmbedding position_;
  std::vector<Block> blocks_;
  Norm final_norm_;
};

}  // namespace linformer::nn
