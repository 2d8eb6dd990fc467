// What the verbs that use a trained model open first.
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
  at::ScalarType dtype;  ///< of the arithmetic: `auto` is float32, so that results do not differ between machines
};
/// Loads a run or checkpoint folder with its tokenizer.
OpenedModel open_model(const std::string& folder, const Common& common);

}  // namespace linformer::cli
