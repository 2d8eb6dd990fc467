// One generated token at a time, fast: weights packed once, no graph and no allocation in a step.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "linformer/kernels/packed_linear.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

using kernels::WeightFormat;

struct DecoderOptions {
  WeightFormat format = WeightFormat::float32;  ///< of the products' weights; everything else is float32
  int threads = 0;                              ///< 0 = as many as LibTorch uses
};

/// The fast path of LanguageModel::step for causal models on the CPU. Prompts are read by LanguageModel::prefill, whose
/// state load() takes over.
class Decoder {
 public:
  /// Why this model needs LanguageModel::step; empty when a Decoder serves it.
  static std::string obstacle(const LanguageModel& model);
  /// Packs the weights as they are now. UserError where there is an obstacle.
  explicit Decoder(const LanguageModel& model, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// Replaces the sequences at work by those of `state`, which must come from the same model.
  void load(DecodeState state);
  /// One more token for each sequence at work; then logits() are those of what comes next. UserError past model.length
  /// or outside the vocabulary.
  void step(std::span<const std::int64_t> ids);
  /// (V) of one sequence, valid until the next step.
  std::span<const float> logits(std::size_t row) const;
  /// Goes on with these sequences alone, in this order; each at most once.
  void keep(std::span<const std::int64_t> rows);

  const std::vector<std::int64_t>& positions() const;  ///< tokens read so far, a sequence
  std::int64_t state_bytes() const;                    ///< held for the sequences at work
  std::int64_t weight_bytes() const;                   ///< read by the products of a step
  /// Bytes a second of one pass over the output layer's weights: a step can't take less than weight_bytes() over this.
  /// For benchmarks; spoils logits().
  double read_speed();
  std::string description() const;  ///< such as "int8 weights, avx2, 2 threads"

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace linformer
