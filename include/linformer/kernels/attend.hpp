// One softmax over a window and visible slots (maths 4a), forward and backward, on raw memory. Scores live in
// cache: a tile of at most 64 query rows meets tiles of at most 64 keys or slots, with a running maximum and
// sum (Dao et al. 2022, arXiv 2205.14135). Shape letters: B batch, N query length, H heads, D head width, K
// slots, W window, r slots a block.
#pragma once

#include <cstdint>

namespace linformer::kernels {

enum class Element { float32, bfloat16 };

/// Which slots a row of block c sees: all of them; the first r·(c−1) (those of blocks 0..c−2); or the K of
/// its own block, from block 2 on.
enum class SlotKind { whole, block, running };

/// A tensor (B,H,rows,D) whose last dimension is contiguous; strides in elements. `block`: from one block's
/// slots to the next, `running` only.
struct ConstView {
  const void* data;
  std::int64_t batch, head, row, block;
};
struct FloatView {
  float* data;
  std::int64_t batch, head, row, block;
};

struct AttendShape {
  std::int64_t batch, heads, length, width;
  std::int64_t window;  ///< W; 0 = slots only
  std::int64_t slots;   ///< whole, running: K; block: r
  SlotKind kind;
};

/// What forward and backward read. Key and value are not looked at without a window. Softmax and sums are in
/// float32, whatever the element; with avx512_bf16, weights and the gradients of scores of bfloat16 inputs are rounded
/// to bfloat16 before their products.
struct AttendInputs {
  AttendShape shape;
  Element element;
  ConstView query, key, value, slot_key, slot_value;
  const float* slot_bias;  ///< (H), or null: added to the slots' logits
  float scale;
};

/// `output` has the inputs' element and is written whole. `log_sum` (B,H,N): log Σ exp of each row's logits,
/// for backward.
struct AttendOutputs {
  void* output;
  std::int64_t batch, head, row;
  float* log_sum;
};

/// Gradients are float32 and are added to what stands there: the caller fills them with zeros. `slot_bias`
/// (H) may be null.
struct AttendGradients {
  ConstView output, grad_output;  ///< of the inputs' element
  const float* log_sum;
  FloatView query, key, value, slot_key, slot_value;
  float* slot_bias;
};

/// Sequences, heads and runs of blocks are spread over the engine's threads. The result depends on the thread
/// count only in the last bits of gradients, and on nothing else.
void attend_forward(const AttendInputs& inputs, const AttendOutputs& outputs);
void attend_backward(const AttendInputs& inputs, const AttendGradients& gradients);

}  // namespace linformer::kernels
