// Reads a published BERT encoder (Devlin et al. 2019, arXiv 1810.04805) from its files and gives its attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "linformer/study/inspect.hpp"

namespace linformer {

/// WordPiece for lower-case models. It separates words and punctuation, then takes the longest known pieces from the
/// left. It removes accents from the letters U+00C0 to U+00FF, and accents that are separate characters. Other scripts
/// are not changed to lower case, so some of their words become [UNK].
class WordPiece {
 public:
  /// Reads vocab.txt: one token per line; the id is the line's number, from 0. UserError when there is no [UNK].
  explicit WordPiece(const std::filesystem::path& vocabulary);
  std::vector<std::int64_t> encode(std::string_view text) const;
  std::int64_t id(const std::string& token) const;  ///< UserError when there is no such token
  std::int64_t size() const { return static_cast<std::int64_t>(ids_.size()); }

 private:
  void encode_word(std::string_view word, std::vector<std::int64_t>& out) const;
  std::unordered_map<std::string, std::int64_t> ids_;
  std::int64_t unknown_ = 0;
};

class BertEncoder {
 public:
  /// True when config.json in `folder` has model_type "bert".
  static bool is_here(const std::filesystem::path& folder);
  /// Reads config.json and model.safetensors in BERT's layout. Names may start with "bert.". UserError for other
  /// activations or position embeddings, missing tensors and wrong shapes.
  explicit BertEncoder(const std::filesystem::path& folder);
  /// Does the same as LanguageModel::attention_weights.
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;
  /// Each window stands between [CLS] and [SEP]. The encoder must outlive the subject that is returned.
  InspectSubject subject(const WordPiece& tokenizer) const;

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
