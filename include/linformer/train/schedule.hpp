// The learning rate of each step.
#pragma once

#include "linformer/config/train_config.hpp"

namespace linformer {

/// Learning rate of step `step` (1 … config.steps): linear from learning_rate_start (step 1) to learning_rate over the
/// first warmup_fraction of the steps; then a half cosine that reaches learning_rate_end at the last step (Loshchilov &
/// Hutter 2017), or constant.
double learning_rate_at(const TrainConfig& config, std::int64_t step);

}  // namespace linformer
