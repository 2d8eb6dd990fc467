// Chooses the next token from logits. Shape letter: V vocabulary.
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

/// The tokens that may be drawn, in the order of their ids; their probabilities sum to 1. The steps come in the same
/// order as in Hugging Face transformers and llama.cpp:
/// 1. repetition penalty for the ids in `seen` (Keskar et al. 2019, arXiv 1909.05858): positive logits are divided by
/// it, negative ones multiplied;
/// 2. temperature; 0 keeps only the likeliest token;
/// 3. top-k: exactly k tokens stay;
/// 4. top-p (Holtzman et al. 2019, arXiv 1904.09751): the smallest number of likeliest tokens whose probabilities reach
/// p;
/// 5. min-p (Nguyen et al. 2024, arXiv 2407.01082).
/// Of two equally likely tokens the lower id is kept. `seen` holds each id once. UserError when a logit is NaN or when
/// no logit is finite.
std::vector<Candidate> candidates(std::span<const double> logits_V, const SamplingConfig& config,
                                  std::span<const std::int64_t> seen = {});

/// Draws the tokens of one sequence. Its random numbers depend only on (seed, prompt, sample), so the other sequences
/// in the batch don't change them. It also remembers the ids that the sequence has seen, for the repetition penalty.
class Sampler {
 public:
  struct Stream {
    std::uint64_t seed = 0, prompt = 0, sample = 0;
  };
  Sampler(const SamplingConfig& config, const Stream& stream);
  /// What it depends on beside its config, for a text that goes on later.
  struct State {
    std::uint64_t random = 0;
    std::vector<std::int64_t> seen;  ///< ids, each once
  };
  State state() const { return {state_, seen_}; }
  static Sampler resumed(const SamplingConfig& config, const State& state);
  /// Counts an id of the prompt as seen.
  void observe(std::int64_t id);
  /// Draws an id, and counts it as seen.
  std::int64_t draw(std::span<const double> logits_V);
  /// The same for float32 logits. With temperature 0 it needs no copy of the logits.
  std::int64_t draw(std::span<const float> logits_V);

 private:
  bool is_greedy() const;
  std::int64_t choose(std::span<const double> logits_V, double uniform);

  SamplingConfig config_;
  std::uint64_t state_;
  std::vector<std::int64_t> seen_;
  std::vector<bool> is_seen_;
  std::vector<double> logits_V_, weights_V_;  // buffers that draw() and choose() use again
};

}  // namespace linformer
