#include "linformer/config/train_config.hpp"

#include <algorithm>
#include <cmath>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

void check_at_least(std::string_view name, std::int64_t value, std::int64_t smallest) {
  require(value >= smallest, "{} is {}, expected a whole number of at least {}", name, value, smallest);
}

void check_rate(std::string_view name, double rate, double peak) {
  require(rate >= 0 && rate <= peak,
          "{} is {}, expected from 0 to train.learning_rate = {}; lower it or raise the peak", name, rate, peak);
}

}  // namespace

void check(const TrainConfig& config) {
  check_at_least("train.steps", config.steps, 1);
  check_at_least("train.batch", config.batch, 1);
  check_at_least("train.accumulate", config.accumulate, 1);
  check_at_least("train.evaluate_every", config.evaluate_every, 0);
  check_at_least("train.save_every", config.save_every, 0);
  check_at_least("train.keep", config.keep, 1);
  check_at_least("train.chunk", config.chunk.value_or(0), 0);
  require(
      config.chunk.value_or(0) == 0 || !config.checkpoint_activations,
      "train.checkpoint_activations does nothing where train.chunk = {} already computes each chunk again; set it to "
      "false, and use a smaller train.chunk if memory is short",
      config.chunk.value_or(0));
  require(!config.carry_state || !config.checkpoint_activations,
          "train.checkpoint_activations can't go with train.carry_state; set it to false, and train.chunk to a number "
          "of tokens if memory is short");
  require(std::isfinite(config.learning_rate) && config.learning_rate > 0,
          "train.learning_rate is {}, expected a positive number, such as 5e-4", config.learning_rate);
  check_rate("train.learning_rate_start", config.learning_rate_start, config.learning_rate);
  if (config.schedule == Schedule::cosine)
    check_rate("train.learning_rate_end", config.learning_rate_end, config.learning_rate);
  require(config.warmup_fraction >= 0 && config.warmup_fraction <= 1,
          "train.warmup_fraction is {}, expected a share of the steps from 0 to 1, such as 0.05",
          config.warmup_fraction);
  require(std::isfinite(config.weight_decay) && config.weight_decay >= 0,
          "train.weight_decay is {}, expected a number of at least 0, such as 0.01", config.weight_decay);
  require(std::isfinite(config.slot_bias_rate) && config.slot_bias_rate >= 0,
          "train.slot_bias_rate is {}, expected a number of at least 0: 1 is the rate of the other parameters, 0 keeps "
          "the biases where they start",
          config.slot_bias_rate);
  require(config.beta1 >= 0 && config.beta1 < 1, "train.beta1 is {}, expected at least 0 and below 1, such as 0.9",
          config.beta1);
  require(config.beta2 >= 0 && config.beta2 < 1, "train.beta2 is {}, expected at least 0 and below 1, such as 0.95",
          config.beta2);
  require(std::isfinite(config.clip) && config.clip >= 0,
          "train.clip is {}, expected a gradient norm such as 1, or 0 for no clipping", config.clip);
}

void check_chunk(const TrainConfig& config, const ModelConfig& model) {
  const auto chunk = config.chunk.value_or(0), window = model.window();
  if (chunk == 0) return;
  require(model.causal,
          "train.chunk is {}, but a bidirectional model (model.causal = false) sees the whole text at once; set "
          "train.chunk to 0, and train.checkpoint_activations to true if memory is short",
          chunk);
  require(window == 0 || chunk % window == 0,
          "train.chunk is {}, expected a multiple of attention.window = {}, such as {}", chunk, window,
          std::max<std::int64_t>(chunk / std::max<std::int64_t>(window, 1), 1) * window);
}

}  // namespace linformer
