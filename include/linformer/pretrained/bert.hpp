// Reads a published BERT encoder (Devlin et al. 2019, arXiv 1810.04805) from its files and gives its attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "linformer/nn/language_model.hpp"

namespace linformer {

class BertEncoder {
 public:
  /// True when config.json in `folder` has model_type "bert".
  static bool is_here(const std::filesystem::path& folder);
  /// Reads config.json and model.safetensors in BERT's layout. Names may start with "bert.". UserError for other
  /// activations or position embeddings.
  explicit BertEncoder(const std::filesystem::path& folder);
  std::int64_t layers() const { return layers_; }
  std::int64_t heads() const { return heads_; }
  std::int64_t length() const { return length_; }  ///< the longest text that it can read
  std::int64_t vocabulary() const { return vocabulary_; }
  const std::string& file() const { return file_; }  ///< of its weights, for messages
  /// Does the same as LanguageModel::attention_weights. UserError also for missing tensors and wrong shapes.
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;

 private:
  at::Tensor get(const std::string& name, at::IntArrayRef shape) const;
  at::Tensor linear(const std::string& name, const at::Tensor& x, std::int64_t out) const;
  at::Tensor norm(const std::string& name, const at::Tensor& x) const;
  at::Tensor block(std::int64_t layer, const at::Tensor& x, const WeightsVisitor& visit) const;

  std::string file_;
  std::map<std::string, at::Tensor> tensors_;
  std::int64_t layers_, heads_, width_, feed_forward_, length_, vocabulary_, types_;
  double epsilon_;
};

}  // namespace linformer
