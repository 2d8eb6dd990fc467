// What a file of a saved text holds beside its tensors (docs/formats.md), read without a model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/kernels/weight_format.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

struct ConversationFile {
  static constexpr std::string_view kFormat = "linformer-state", kVersion = "1";
  json model;                        ///< the fields of the model that made it
  std::string model_weights_sha256;  ///< of its weights
  std::int64_t position = 0;         ///< tokens that the state has read
  std::vector<std::int64_t> unread, seen;
  std::uint64_t random = 0;
  kernels::WeightFormat weights = kernels::WeightFormat::float32;
};

/// Of everything in the file but this hash itself, which stands under "sha256" of its metadata.
std::string content_hash(const TensorFile& file);

/// Whether a file of tensors says that it is a saved text.
bool is_conversation(const TensorFile& file);

/// UserError names the file and what is wrong: another kind of file or version, another hash, or a value that is
/// missing, of another type, or out of range.
ConversationFile parse_conversation(const TensorFile& file, const std::string& name);

}  // namespace linformer
