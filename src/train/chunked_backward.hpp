// The exact gradient of a long text, in the memory of a part of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct ChunkOptions {
  std::int64_t chunk = 0;                     ///< C tokens
  double all_targets = 0;                     ///< the loss is a sum over targets, divided by this
  at::ScalarType dtype = at::kFloat;          ///< of products
  ForwardOptions forward = {};                ///< without checkpoint and padding_mask
  std::filesystem::path folder = {};          ///< where states go that don't fit into memory
  std::function<void(double)> progress = {};  ///< hears which share is done
};
struct ChunkedLoss {
  at::Tensor loss;    ///< a float64 number
  DecodeState after;  ///< the state at the end of the text, without a graph
};

/// Adds the gradients of the loss to those of the parameters. The text (B,N) goes on after `before`, which is taken as
/// it is: no gradient flows into it. First it is read without a graph, and the states at the borders of chunks are
/// kept. Then the chunks are read again, the last one first, each with a graph: its backward pass begins with its loss
/// and with the gradient of its state, which the chunk after it gave. So nothing is cut off. The result is that of
/// reading the whole at once, but for rounding.
ChunkedLoss backward_in_chunks(const LanguageModel& model, const at::Tensor& ids_BN, const Targets& targets,
                               const DecodeState& before, const ChunkOptions& options);

/// The number of backward passes of that.
std::int64_t chunks_of(std::int64_t length, std::int64_t chunk);

}  // namespace linformer
