#include "linformer/train/schedule.hpp"

#include <cmath>
#include <numbers>

namespace linformer {

double learning_rate_at(const TrainConfig& config, std::int64_t step) {
  const auto index = static_cast<double>(step - 1);
  const auto last = static_cast<double>(config.steps - 1);
  const double warmup = std::round(config.warmup_fraction * static_cast<double>(config.steps));
  if (index < warmup) {
    return config.learning_rate_start + (config.learning_rate - config.learning_rate_start) * index / warmup;
  }
  if (config.schedule == Schedule::constant || last <= warmup) return config.learning_rate;
  const double done = (index - warmup) / (last - warmup);
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return config.learning_rate_end + (config.learning_rate - config.learning_rate_end) * share;
}

}  // namespace linformer
