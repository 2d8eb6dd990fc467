// The tokenizer that a model folder brings along.
#pragma once

#include <memory>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

/// UserError when the folder had no tokenizer.json, or one of another size or hash than the model was trained
/// with.
std::shared_ptr<const Tokenizer> tokenizer_of(const LoadedModel& loaded);

}  // namespace linformer
