// What a training needs at least, before it takes it.
#pragma once

#include "linformer/train/run_folder.hpp"

namespace linformer {

/// In bytes. Lower bounds: what refuses to start by them could not have run.
struct TrainingMemory {
  double weights = 0;     ///< with gradients and moments
  double a_sequence = 0;  ///< of a batch: its ids, and what the backward pass needs of the forward pass
};
TrainingMemory least_memory(const RunConfig& config);

/// UserError, with what it would take, what there is and what to change, when the training of `config` can't run in
/// `available` bytes.
void check_memory(const RunConfig& config, double available);

}  // namespace linformer
