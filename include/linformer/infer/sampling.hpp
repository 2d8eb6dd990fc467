// Logits to the next token. Shape letter: V vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "linformer/config/sampling_config.hpp"

namespace linformer {

struct Candidate {
  std::int64_t id;
  double probability;
  bool operator==(const Candidate&) const = default;
};

/// What one token may be drawn from: the kept candidates in order of their ids; their probabilities add up
/// to 1. Order, as in Hugging Face transformers and llama.cpp's chain: repetition penalty over `seen` (Keskar
/// et al. 2019, arXiv 1909.05858: positive logits divided, negative ones multiplied), temperature, top-k,
/// top-p (Holtzman et al. 2019, arXiv 1904.09751: the fewest of the likeliest that reach the share), min-p
/// (Nguyen et al. 2024, arXiv 2407.01082). Of equally likely tokens the lower id is kept; exactly k remain
/// after top-k. Temperature 0 keeps the likeliest alone. `seen` holds each id once. UserError when a logit is
/// NaN or none is finite.
std::vector<Candidate> candidates(std::span<const double> logits_V, const SamplingConfig& config,
                                  std::span<const std::int64_t> seen = {});

/// One sequence's draws: its own random stream, set by (seed, prompt, sample) alone, so that what a sequence
/// draws does not depend on the sequences beside it; and the ids that it has seen, for the repetition
/// penalty.
class Sampler {
 public:
  struct Stream {
    std::uint64_t seed = 0, prompt = 0, sample = 0;
  };
  Sampler(const SamplingConfig& config, const Stream& stream);
  /// Counts an id of the prompt as seen.
  void observe(std::int64_t id);
  /// Draws an id and counts it as seen.
  std::int64_t draw(std::span<const double> logits_V);
  /// The same; of float32 logits the likeliest is found without a copy.
  std::int64_t draw(std::span<const float> logits_V);

 private:
  bool is_greedy() const;
  std::int64_t choose(std::span<const double> logits_V, double uniform);

  SamplingConfig config_;
  std::uint64_t state_;
  std::vector<std::int64_t> seen_;
  std::vector<bool> is_seen_;
  std::vector<double> logits_V_, weights_V_;  // memory of draw() and choose()
};

}  // namespace linformer
