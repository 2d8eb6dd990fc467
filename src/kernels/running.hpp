// Window attention with running slots that are made where they are attended to (maths 4, 4a), forward and backward, on
// raw memory: a sweep over the blocks of a text keeps the sums S and U of one head in cache. So nothing of the size of
// all blocks' slots is ever in memory. Shape letters: B batch, N query length, H heads of queries, G heads of keys, D
// head width, K slots, W window, M rows of keys, J blocks of keys.
//
// Step t of a sweep attends from block t of the queries. Before it, S becomes decay ⊙ S + weights · keys of the block
// that leaves the window: that two blocks before.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

/// A layer norm of rows of D, or with `rms` an RMS norm. weight null: none; bias null: none.
struct RowNorm {
  const float *weight, *bias;
  bool rms;
};

/// Where a tensor (B,H,rows,D) in the element of the inputs is written.
struct ElementView {
  void* data;
  std::int64_t batch, head, row;
};

/// Keys, or values.
struct RunningSide {
  ConstView rows;  ///< (B,G,M,D), of which the sums are made
  ConstView own;   ///< (B,G,M,D) as the window sees them; of no data: `rows` with window_norm
  RowNorm window_norm, slot_norm;
  ConstView weights;  ///< (B,G,K,columns), `row` from slot to slot, 0 from head to head or batch to batch where shared
  const float* before;  ///< (B,G,K,D), the sums of the text before; null: zeros
};

/// What a slot keeps at each block of keys, with the strides of (B,G,K,J), 0 where shared. data null: everything.
struct DecayView {
  const float* data;
  std::int64_t batch, head, slot, block;
};

struct RunningInputs {
  AttendShape shape;  ///< of kind running; slots: K
  Element element;
  ConstView query, slot_query;  ///< slot_query of no data: slots are read by `query`
  RunningSide key, value;
  std::int64_t column, period;  ///< of the weights: that of the first row of keys; 0: they don't repeat
  DecayView decay;
  const float* slot_bias;  ///< (H); may be null
  float scale;

  std::int64_t steps() const { return (shape.length + shape.window - 1) / shape.window; }
  std::int64_t key_heads() const { return shape.heads / shape.group; }
  /// Backward makes the sums again from checkpoints, which stand this many steps apart.
  std::int64_t interval() const;
  std::int64_t checkpoints() const { return (steps() - 1) / interval(); }
};

/// All of it is written. The sums after are those that the last block of queries saw.
struct RunningOutputs {
  ElementView output;
  float* log_sum;                ///< (B,H,N)
  float *key_sums, *value_sums;  ///< (B,G,K,D)
  float* checkpoints;            ///< (B,G,checkpoints,2,K,D); null: not wanted
};

struct RunningSideGradients {
  const float* sums;               ///< (B,G,K,D), of the sums after; null: zeros
  ElementView rows, own;           ///< written; `own` where the inputs have it
  FloatView weights;               ///< with the meaning of the inputs' strides; added to; of no data: not wanted
  std::int64_t weight_count;       ///< floats of all weights
  float* before;                   ///< (B,G,K,D), written; null: not wanted
  float *window_norm, *slot_norm;  ///< (2,D), of weight and of bias, added to; null: no such norm
};

struct RunningGradients {
  ConstView output, grad_output;
  const float *log_sum, *checkpoints;
  ElementView query, slot_query;  ///< written
  RunningSideGradients key, value;
  std::int64_t column;        ///< of the weights' gradients: that of the first row of keys
  float* decay;               ///< (G,K), or (B,G,K,J) where the inputs' decay has blocks; added to; null: none
  std::int64_t decay_blocks;  ///< J; 0: (G,K)
  float* slot_bias;           ///< (H), added to; may be null
};

/// Each head of keys of each sequence is an item; threads take items. What items share is added in their order, or
/// for weights in that of the threads: the same number of threads gives the same bits.
void running_forward(const RunningInputs& inputs, const RunningOutputs& outputs);
void running_backward(const RunningInputs& inputs, const RunningGradients& gradients);

}  // namespace linformer::kernels
