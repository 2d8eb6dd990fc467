// Gives the logits of the next token: from the fast Decoder when it can run the model, else from LanguageModel::step.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "linformer/infer/sampling.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"

namespace linformer {

class TokenSteps {
 public:
  using Ids = std::vector<std::int64_t>;
  /// `storable`: state() will be asked for.
  TokenSteps(const LanguageModel& model, WeightFormat format, bool storable = false);

  /// Reads the prompts and repeats each `times` times in a row.
  void prefill(const std::vector<Ids>& prompts, std::int64_t times);
  /// Goes on with the text of a state: reads `ids`, at least one.
  void resume(const DecodeState& state, const Ids& ids);
  /// Replaces the sequences by those of a state, without reading anything.
  void load(DecodeState state);
  DecodeState state() const;
  void step(const Ids& ids);
  void keep(const Ids& rows);
  /// The logits of the token after a sequence.
  std::int64_t draw(std::size_t row, Sampler& sampler);
  const Ids& positions() const { return decoder_ ? decoder_->positions() : state_.positions(); }
  std::int64_t state_bytes() const { return decoder_ ? decoder_->state_bytes() : state_.bytes(); }
  const std::string& path() const { return path_; }

 private:
  const LanguageModel& model_;
  std::unique_ptr<Decoder> decoder_;
  DecodeState state_;
  std::optional<at::Tensor> logits_BV_;  // none where the decoder holds them
  std::string path_;
};

}  // namespace linformer
