// The tokenizer that belongs to a model folder.
#pragma once

#include <memory>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

/// UserError when the folder has no tokenizer.json, or when that tokenizer has another size or hash than the one the
/// model was trained with.
std::shared_ptr<const Tokenizer> tokenizer_of(const LoadedModel& loaded);

}  // namespace linformer
