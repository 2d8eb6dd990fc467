// The functions that each instruction set's build of the kernels provides, those of training and those of the decoder.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"
#include "kernels/decode_kernels.hpp"
#include "kernels/dropout.hpp"
#include "kernels/gelu.hpp"
#include "kernels/layer_norm.hpp"
#include "kernels/rotary.hpp"
#include "kernels/running.hpp"

namespace linformer::kernels {

/// Rows of a tile: queries, and keys or slots. The scores of a tile then fill half of a first-level cache.
constexpr std::int64_t tile_rows = 64;

/// Blocks [first, last) of one head of one sequence; a block is W rows, or `tile_rows` without a window.
struct AttendRange {
  std::int64_t batch, head, first, last;
};

/// Where a range stores gradients that other ranges also add to. Rows of D floats, one after the other.
struct AttendShares {
  float *slot_key, *slot_value;      ///< whole and block slots; null: straight to the gradients
  float *border_key, *border_value;  ///< the block before the first one; null: straight to the gradients
  float* slot_bias;                  ///< one number
  float *sink_key, *sink_value;      ///< null: straight to the gradients
};

/// Where one head of one sequence stores gradients that others also add to.
struct RunningShares {
  FloatView key_weights, value_weights;                                          ///< of no data: not wanted
  float *key_window_norm, *key_slot_norm, *value_window_norm, *value_slot_norm;  ///< (2,D), of weight and of bias
  float* decay;       ///< (K), or (K,J) with a decay for each block; null: not wanted
  double* slot_bias;  ///< one for each head of queries
};

struct KernelTable {
  std::int64_t (*scratch_floats)(std::int64_t width);  ///< working memory of one thread
  void (*forward)(const AttendInputs&, const AttendOutputs&, const AttendRange&, float* scratch);
  void (*backward)(const AttendInputs&, const AttendGradients&, const AttendRange&, const AttendShares&,
                   float* scratch);
  std::int64_t (*running_scratch_floats)(const RunningInputs&, bool backward);
  void (*running_forward)(const RunningInputs&, const RunningOutputs&, std::int64_t batch, std::int64_t key_head,
                          float* scratch);
  void (*running_backward)(const RunningInputs&, const RunningGradients&, std::int64_t batch, std::int64_t key_head,
                           const RunningShares& shares, float* scratch);
  /// `row` in one of the elements, `scratch` as many floats.
  double (*cross_entropy_row)(Element element, void* row, float* scratch, std::int64_t count, std::int64_t target,
                              float gradient_scale);
  // Of rows [first, last); what all rows add to is added to `sums`.
  void (*layer_norm)(const LayerNormRows&, std::int64_t first, std::int64_t last);
  void (*layer_norm_backward)(const LayerNormGradients&, std::int64_t first, std::int64_t last, float* sums);
  void (*gelu)(const GeluRows&, std::int64_t first, std::int64_t last);
  void (*gelu_backward)(const GeluGradients&, std::int64_t first, std::int64_t last, float* sums);
  void (*rotary)(const RotaryRows&, std::int64_t first, std::int64_t last);
  void (*dropout)(const DropoutRows&, std::int64_t first, std::int64_t last);
  /// Philox4x32-10 as dropout takes it, for the test of its known answers: 16 counters (first + i, b, c, d) → (4,16).
  void (*philox)(std::uint32_t first, std::uint32_t b, std::uint32_t c, std::uint32_t d, std::uint64_t key,
                 std::uint32_t* numbers);
  /// eˣ in place as all of these take it, for the test of its bound. `count`: a multiple of 16.
  void (*exponential)(float* x, std::int64_t count);
  DecodeKernels decode;
};

const KernelTable& table_of(Isa isa);
inline const KernelTable& current_table() { return table_of(current_isa()); }

extern const KernelTable kernels_portable;
#if defined(__x86_64__)
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;
extern const KernelTable kernels_avx512_bf16;
#endif

}  // namespace linformer::kernels
