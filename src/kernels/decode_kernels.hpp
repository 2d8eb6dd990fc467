// The steps that make up the decoding of one token, on raw float32 vectors, with one version for each instruction set.
// Shape letters: D head width, K slots, W window. The memory of a vector is a multiple of kPadding floats long. Where a
// comment says "padded", the floats after the vector's end must be zero.
#pragma once

#include <cstdint>

#include "linformer/kernels/isa.hpp"
#include "linformer/kernels/weight_format.hpp"

namespace linformer::kernels {

constexpr std::int64_t kPadding = 32;
constexpr std::int64_t padded(std::int64_t count) { return (count + kPadding - 1) / kPadding * kPadding; }

/// Weights in the layout of PackedLinear: rows of `stride` bytes, filled with zeros up to `columns`, in groups of four
/// rows.
struct PackedWeights {
  WeightFormat format = WeightFormat::float32;
  const void* data = nullptr;
  const float* scales = nullptr;  ///< int8 only: one scale per row
  const float* bias = nullptr;    ///< one number per row, or null
  std::int64_t columns = 0;       ///< padded
  std::int64_t stride = 0;        ///< in bytes
};

/// Vectors of 16-bit integers: value = integer · scale of its row.
struct QuantisedVectors {
  const std::int16_t* values = nullptr;
  const float* scales = nullptr;
};

/// y = x Wᵀ + b for `batch` vectors x. With `add`: y += x Wᵀ + b.
struct Product {
  PackedWeights weights;
  const float* x = nullptr;    ///< padded; int8 doesn't read it
  QuantisedVectors quantised;  ///< int8 only
  std::int64_t x_stride = 0;   ///< distance from one vector to the next, in x and in quantised
  float* y = nullptr;
  std::int64_t y_stride = 0;
  std::int64_t batch = 1;
  bool add = false;
};

/// Keys and values that a query sees with the same bias on their logits. Rows are padded.
struct VisibleKeys {
  const float* key;
  const float* value;
  std::int64_t count;
  float bias;
  const float* query = nullptr;   ///< as SingleQuery::query, for these keys alone; null: that one
  const float* biases = nullptr;  ///< one more for each key; −∞ hides it; null: none
};

/// One query and everything that it sees, in one softmax (maths 4a).
struct SingleQuery {
  const float* query = nullptr;  ///< padded, already multiplied by 1/√D
  const VisibleKeys* visible = nullptr;
  int parts = 0;
  std::int64_t width = 0;    ///< padded D
  float* weights = nullptr;  ///< memory for one number per visible key, plus kPadding
  float* out = nullptr;      ///< padded
};

/// slots (K×D) += weights (K×W) · rows (W×D); rows and slots padded.
struct SlotSum {
  const float* weights = nullptr;
  std::int64_t weights_stride = 0;  ///< distance from one slot to the next, in floats
  const float* rows = nullptr;
  float* slots = nullptr;
  std::int64_t slot_count = 0, row_count = 0, width = 0;
};

struct DecodeKernels {
  std::int64_t lanes;  ///< floats in one vector register; bfloat16 weights are interleaved to match it
  /// Computes the rows [first, last) of a product. Both must be multiples of 4, and y must have room for them.
  void (*multiply)(const Product& product, std::int64_t first, std::int64_t last);
  /// Converts x (count) to 16-bit integers, padded with zeros. No integer is larger than `limit`. If an x is NaN or
  /// infinite, the scale is NaN.
  void (*quantise)(const float* x, std::int64_t count, float limit, std::int16_t* values, float* scale);
  /// Layer norm with epsilon 1e-5.
  void (*normalise)(const float* x, const float* weight, const float* bias, std::int64_t count, float* out);
  /// RMS norm with epsilon 1e-5.
  void (*rms_normalise)(const float* x, const float* weight, std::int64_t count, float* out);
  /// x/2 · (1 + erf(x/√2)), in place, to within 3.5e-7·|x|. Writes up to the next multiple of kPadding.
  void (*gelu)(float* x, std::int64_t count);
  /// out = gate/(1 + e^−gate) · up, each (count).
  void (*swiglu)(const float* gate, const float* up, std::int64_t count, float* out);
  void (*attend)(const SingleQuery& query);
  void (*add_slots)(const SlotSum& sum);
};
/// The kernels of one instruction set. UserError when this build or this processor doesn't have it.
const DecodeKernels& decode_kernels(Isa isa = current_isa());

}  // namespace linformer::kernels
