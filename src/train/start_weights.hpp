// A run that begins with the weights of another model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/model_file.hpp"
#include "linformer/train/run_folder.hpp"

namespace linformer {

/// Names the weights of the model in `folder`, for the config of the run in `run`. UserError: no model there; a path
/// that config.json can't hold; a folder that the run would replace.
StartWeights name_start_weights(const std::filesystem::path& folder, const std::filesystem::path& run);

/// Loads the model with these weights: from the folder that they name or, where it is gone or holds others by now, from
/// `run`, which begins with a copy of them. UserError when neither has them.
LoadedModel load_start_weights(const StartWeights& weights, const std::filesystem::path& run);

/// UserError unless the model knows its tokens by the numbers that the data has for them.
void check_vocabulary(const LoadedModel& model, const Tokenizer& data, const StartWeights& weights);

/// A model of `config` with the weights of `model`. Attention may be of another kind, form and size, and the length
/// another one: what `model` has no tensor of this name and shape for begins as a new model of this seed does, which
/// `remark` is told. UserError names the first other field that differs, but for dropout.
LanguageModel with_config(const LanguageModel& model, const ModelConfig& config, const StartWeights& weights,
                          std::uint64_t seed, const std::function<void(const std::string&)>& remark);

}  // namespace linformer
