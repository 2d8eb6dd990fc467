// The learning rate at each step.
#pragma once

#include "linformer/config/train_config.hpp"

namespace linformer {

/// The learning rate of step `step` (1 … config.steps). It rises linearly from learning_rate_start (at step 1) to
/// learning_rate, during the first warmup_fraction of the steps. After that it follows a half cosine that reaches
/// learning_rate_end at the last step (Loshchilov & Hutter 2017, arXiv 1608.03983), or stays constant.
double learning_rate_at(const TrainConfig& config, std::int64_t step);

}  // namespace linformer
