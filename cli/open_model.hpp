// What verbs that use a trained model open first.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"
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

/// --products, for verbs that run a model. They hold a ProductGuard of products_of() while they work.
void add_products(CLI::App& verb, Common& common);
ProductLibrary products_of(const Common& common);
/// Says on standard error, before the work, what `auto` took and how to pin it: `choices` and, where products are made
/// in float32 on the CPU, their library.
void announce(const Common& common, at::ScalarType dtype, std::vector<Announcement> choices = {});

}  // namespace linformer::cli
