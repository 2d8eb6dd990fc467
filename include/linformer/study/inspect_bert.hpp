// The attention of a BERT encoder that others trained (Devlin et al. 2019, arXiv 1810.04805), read from the files it is
// published as.
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

/// Lower-cased WordPiece: words and punctuation apart, then the longest known pieces from the left. Accents go from
/// U+00C0 to U+00FF and where they are characters of their own; other scripts are not lower-cased, so that some of
/// their words become [UNK].
class WordPiece {
 public:
  /// vocab.txt: a token a line, its id the line's number from 0. UserError without [UNK].
  explicit WordPiece(const std::filesystem::path& vocabulary);
  std::vector<std::int64_t> encode(std::string_view text) const;
  std::int64_t id(const std::string& token) const;  ///< UserError when it isn't there
  std::int64_t size() const { return static_cast<std::int64_t>(ids_.size()); }

 private:
  void encode_word(std::string_view word, std::vector<std::int64_t>& out) const;
  std::unordered_map<std::string, std::int64_t> ids_;
  std::int64_t unknown_ = 0;
};

class BertEncoder {
 public:
  /// Whether config.json of `folder` says model_type "bert".
  static bool is_here(const std::filesystem::path& folder);
  /// config.json and model.safetensors in BERT layout, names with or without "bert." before them. UserError on other
  /// activations or positions, missing tensors and wrong shapes.
  explicit BertEncoder(const std::filesystem::path& folder);
  /// As LanguageModel::attention_weights.
  void attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const;
  /// Windows stand between [CLS] and [SEP]. The encoder must outlive the subject.
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
