// The states of texts as named tensors, for files.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

/// The tensors of a state, under the names "LAYER.TENSOR", such as "0.slot_key" (docs/formats.md). On the CPU.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const DecodeState& state);

/// The state of `batch` texts of `position` tokens each, of nothing but zeros.
DecodeState blank_state(const LanguageModel& model, std::int64_t batch, std::int64_t position);

/// The state of `batch` texts of `position` tokens each, with these tensors. UserError names a tensor that is missing
/// or unknown, or whose shape or dtype is not that of such a state of this model.
DecodeState state_of(const LanguageModel& model, std::int64_t batch, std::int64_t position, const TensorFile& file);

}  // namespace linformer
