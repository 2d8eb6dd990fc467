// What a training needs at least, before it takes it.
#pragma once

#include <cstdint>
#include <string>

#include "linformer/train/run_folder.hpp"

namespace linformer {

/// In bytes. Lower bounds: what refuses to start by them could not have run.
struct TrainingMemory {
  double weights = 0;     ///< with gradients and moments
  double a_sequence = 0;  ///< of a batch: its ids, and what the backward pass needs of the forward pass; of one chunk,
                          ///< if the text is read in chunks. `auto` counts as the smallest chunk
};
TrainingMemory least_memory(const RunConfig& config);

/// What `train.chunk` = auto takes: 0, the whole text, where that fits with room to spare; else the largest of W, 2W,
/// 4W, … tokens that fits into half of the memory, at most 16,384. `config` is resolved, and its dtype is settled.
struct ChunkChoice {
  std::int64_t chunk = 0;
  std::string reason;  ///< empty where nothing is cut
};
ChunkChoice choose_chunk(const RunConfig& config, double available);

/// UserError, with what it would take, what there is and what to change, when the training of `config` can't run in
/// `available` bytes.
void check_memory(const RunConfig& config, double available);

}  // namespace linformer
