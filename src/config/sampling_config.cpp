#include "linformer/config/sampling_config.hpp"

#include <cmath>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

void from_json(SamplingConfig& config, const json& object, std::string_view source) {
  const auto fields = fields_of(config);
  from_json(fields, object, source, sections_without(fields));
}

void check(const SamplingConfig& config) {
  require(config.max_tokens >= 1, "generate.max_tokens is {}, but must be at least 1", config.max_tokens);
  require(std::isfinite(config.temperature) && config.temperature >= 0,
          "generate.temperature is {}, but must be 0 (greedy) or a positive number such as 0.8", config.temperature);
  require(config.top_k >= 0, "generate.top_k is {}, but must be 0 (off) or a positive number of tokens", config.top_k);
  require(config.top_p > 0 && config.top_p <= 1,
          "generate.top_p is {}, but must be above 0 and at most 1 (off), such as 0.95", config.top_p);
  require(config.min_p >= 0 && config.min_p <= 1, "generate.min_p is {}, but must be from 0 (off) to 1, such as 0.05",
          config.min_p);
  require(std::isfinite(config.repetition_penalty) && config.repetition_penalty > 0,
          "generate.repetition_penalty is {}, but must be a positive number: 1 is off, 1.1 a usual value",
          config.repetition_penalty);
  for (const auto& stop : config.stop)
    require(!stop.empty(), "generate.stop holds an empty text, which would end every sample at once: leave it out");
}

}  // namespace linformer
