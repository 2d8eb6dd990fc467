// Fast generation, one token at a time: weights are arranged once; a step builds no graph, and
// allocates memory only where a cache grows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "linformer/kernels/weight_format.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

using kernels::WeightFormat;

struct DecoderOptions {
  /// format of the weights in matrix products; everything else is float32
  WeightFormat format = WeightFormat::float32;
  int threads = 0;  ///< 0 = as many as LibTorch uses
  /// Decoder::state() will be asked for; with block slots the state then takes more memory
  bool storable = false;
};

/// Does the same as LanguageModel::step, but faster, for causal models on the CPU. LanguageModel::prefill reads the
/// prompts; load() takes the state that it returns.
class Decoder {
 public:
  /// The reason why this model needs LanguageModel::step. Empty when a Decoder can run it.
  static std::string obstacle(const LanguageModel& model);
  /// Copies and arranges the current weights. UserError when there is an obstacle().
  explicit Decoder(const LanguageModel& model, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// Replaces the current sequences by those of `state`, which must come from the same model.
  void load(DecodeState state);
  /// The state of the current sequences, as load() takes it; without rounding. Needs DecoderOptions::storable.
  DecodeState state() const;
  /// Reads one more token of each current sequence. After that, logits() are those of the next token. UserError when a
  /// position is beyond config().longest_text() or an id is outside the vocabulary.
  void step(std::span<const std::int64_t> ids);
  /// The logits (V) of one sequence. They are valid until the next step.
  std::span<const float> logits(std::size_t row) const;
  /// Continues with only these sequences, in this order. Each may be named at most once.
  void keep(std::span<const std::int64_t> rows);

  const std::vector<std::int64_t>& positions() const;  ///< number of tokens read so far, for each sequence
  std::int64_t state_bytes() const;                    ///< memory held for the current sequences
  std::int64_t weight_bytes() const;                   ///< bytes of weights that one step reads
  /// Measures how fast the output layer's weights are read, in bytes per second. A step can't take less time than
  /// weight_bytes() divided by this speed. For benchmarks only: it overwrites logits().
  double read_speed();
  std::string description() const;  ///< such as "int8 weights, avx2, 2 threads"

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace linformer
