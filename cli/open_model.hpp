// What verbs that use a trained model open first.
#pragma once

#include <memory>
#include <string>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/model_file.hpp"
#include "verbs.hpp"

namespace linformer::cli {

struct OpenedModel {
  LanguageModel model;  ///< on --device, in float32
  std::shared_ptr<const Tokenizer> tokenizer;
  /// number format of the arithmetic; `auto` means float32, so that results don't differ between machines
  at::ScalarType dtype;
};
/// Loads a run or checkpoint folder with its tokenizer.
OpenedModel open_model(const std::string& folder, const Common& common);

}  // namespace linformer::cli
