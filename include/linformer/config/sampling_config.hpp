// How tokens are drawn when a model generates text.
#pragma once

#include "linformer/config/field.hpp"
#include "linformer/core/json_fwd.hpp"

namespace linformer {

struct SamplingConfig {
  std::int64_t max_tokens = 200;
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  /// Texts that end a sample. TOML writes them as a list ["…", "…"]; on the command line the flag is repeated.
  std::vector<std::string> stop = {};

  /// Each flag has a second, short name: the part after the dot, written with dashes (--max-tokens).
  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("generate.max_tokens", self.max_tokens, "tokens to make, at most");
    visitor("generate.temperature", self.temperature, "divides the logits; 0: greedy, always the likeliest token");
    visitor("generate.top_k", self.top_k, "draw from the k likeliest tokens only; 0: all");
    visitor("generate.top_p", self.top_p,
            "draw from the smallest set of likely tokens with this share of the probability; 1: all");
    visitor("generate.min_p", self.min_p, "draw from tokens at least this share as likely as the likeliest; 0: all");
    visitor("generate.repetition_penalty", self.repetition_penalty,
            "above 1: makes tokens that were already used less likely; 1: off");
    visitor("generate.stop", self.stop, "text that ends a sample and is not printed; may be given several times");
  }
  bool operator==(const SamplingConfig&) const = default;
};

/// Checks every value. A UserError names the field, its value and what to change.
void check(const SamplingConfig& config);

/// Sets the fields that the section "generate" of `object` (a config file) holds. UserError for an unknown key or a
/// value of the wrong type; `source` names the file in the message.
void from_json(SamplingConfig& config, const json& object, std::string_view source);

}  // namespace linformer
