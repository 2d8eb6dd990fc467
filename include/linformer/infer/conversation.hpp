// A generation that can go on later: what a model remembers of a text, and where its random numbers stand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "linformer/infer/sampling.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"

namespace linformer {

/// One text. What is made after loading equals what would have been made without a pause, bit for bit.
struct Conversation {
  DecodeState state;
  std::vector<std::int64_t> unread;              ///< ids that were drawn, and that the state doesn't hold yet
  Sampler::State sampler;                        ///< random numbers, and the ids of the text so far
  WeightFormat weights = WeightFormat::float32;  ///< with which it was made
};

/// UserError unless a state can be written there without loss: the file is new, empty, or holds a state.
void check_state_file(const std::filesystem::path& file);
/// Writes a safetensors file (docs/formats.md), atomically. UserError when it can't be written.
void save_conversation(const std::filesystem::path& file, const LanguageModel& model, const Conversation& conversation);
/// UserError when the file is cut, edited, or no such file, and when it was made by another model: the message names
/// the first field of the two configs that differs, or says that the weights do.
Conversation load_conversation(const std::filesystem::path& file, const LanguageModel& model);

}  // namespace linformer
