// One softmax over a window and the visible slots (maths 4a), forward and backward, on raw memory. Scores stay in the
// processor's cache: a tile of at most 64 query rows is combined with tiles of at most 64 keys or slots, and each row
// keeps a running maximum and sum (Dao et al. 2022, arXiv 2205.14135). Shape letters: B batch, N query length, H heads,
// D head width, K slots, W window, r slots per block.
#pragma once

#include <cstdint>

namespace linformer::kernels {

enum class Element { float32, bfloat16 };

/// Which slots a row of block c of the text sees. whole: all of them. block: the first r·(c−1), which are the slots of
/// blocks 0..c−2. running: the K slots that belong to block c, from block 2 on.
enum class SlotKind { whole, block, running };

/// A tensor (B,H,rows,D). Its last dimension is contiguous; the other strides are counted in elements. `block` is the
/// distance from one block's slots to the next block's, and is used only for `running`.
struct ConstView {
  const void* data;
  std::int64_t batch, head, row, block;
};
struct FloatView {
  float* data;
  std::int64_t batch, head, row, block;
};

/// Numbers of running slots (B,H,blocks,K). The last dimension is contiguous; the other strides are in numbers.
template <class Number>
struct SlotNumbers {
  Number* data;
  std::int64_t batch, head, block;
  /// Those of one block; null where there are none.
  Number* of(std::int64_t sequence, std::int64_t own_head, std::int64_t own_block) const {
    return data == nullptr ? nullptr : data + sequence * batch + own_head * head + own_block * block;
  }
};

struct AttendShape {
  std::int64_t batch, heads, length, width;
  std::int64_t window;  ///< W; 0 = slots only
  std::int64_t slots;   ///< K for whole and running, r for block
  SlotKind kind;
  /// The block of the text with which the queries begin. From 1 on, keys and values hold the W rows before them too.
  std::int64_t first_block = 0;

  /// Query heads that share a head of keys, values and slots (Ainslie et al. 2023, arXiv 2305.13245). Gradients of
  /// these have a head for each query head; the caller adds them up.
  std::int64_t group = 1;

  /// s: keys that all rows from block 2 of the text on see beside their window.
  std::int64_t sinks = 0;

  std::int64_t past() const { return first_block > 0 ? window : 0; }  ///< rows of keys before the first query
};

/// What forward and backward read. Without a window, key and value are not used. Softmax and sums are in float32 for
/// every element type. With avx512_bf16 and bfloat16 inputs, the weights and the gradients of scores are rounded to
/// bfloat16 before they enter a product.
struct AttendInputs {
  AttendShape shape;
  Element element;
  ConstView query, key, value, slot_key, slot_value;
  const float* slot_bias;  ///< (H), added to the logits of slots; may be null
  float scale;
  ConstView slot_query{};                  ///< by which the slots are read; of no data: by `query`
  ConstView sink_key{}, sink_value{};      ///< of shape.sinks rows
  SlotNumbers<const float> slot_offset{};  ///< added to the logits of running slots; −∞: not seen; of no data: nothing
};

/// `output` has the element type of the inputs; all of it is written. `log_sum` (B,H,N) receives log Σ exp of each
/// row's logits, which backward needs.
struct AttendOutputs {
  void* output;
  std::int64_t batch, head, row;
  float* log_sum;
};

/// Gradients are float32 and are added to the memory they point to, so the caller fills it with zeros first.
/// `slot_bias` (H) may be null.
struct AttendGradients {
  ConstView output, grad_output;  ///< in the element type of the inputs
  const float* log_sum;
  FloatView query, key, value, slot_key, slot_value;
  float* slot_bias;
  FloatView slot_query{};  ///< needed where the inputs have one: that of `query` is the window's alone then
  FloatView sink_key{}, sink_value{};
  SlotNumbers<float> slot_offset{};  ///< needed where the inputs have one
};

/// The work is divided among LibTorch's threads by sequence, head and group of blocks. The number of threads can change
/// only the last bits of gradients.
void attend_forward(const AttendInputs& inputs, const AttendOutputs& outputs);
void attend_backward(const AttendInputs& inputs, const AttendGradients& gradients);

}  // namespace linformer::kernels
