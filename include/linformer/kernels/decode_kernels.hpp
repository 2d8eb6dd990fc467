// What one decode step is made of, on raw float32 vectors, once per instruction set. Shape letters: D head width, K
// slots, W window. Vectors have room for a multiple of kPadding floats; where a kernel says "padded", what lies past
// the end must be zero.
#pragma once

#include <cstdint>

#include "linformer/kernels/isa.hpp"

namespace linformer::kernels {

constexpr std::int64_t kPadding = 32;
constexpr std::int64_t padded(std::int64_t count) { return (count + kPadding - 1) / kPadding * kPadding; }

enum class WeightFormat { float32, bfloat16, int8 };

/// Weights as PackedLinear lays them out: rows of `stride` bytes, padded with zeros to `columns`, in groups of four
/// rows.
struct PackedWeights {
  WeightFormat format = WeightFormat::float32;
  const void* data = nullptr;
  const float* scales = nullptr;  ///< int8: one a row
  const float* bias = nullptr;    ///< one a row, or null
  std::int64_t columns = 0;       ///< padded
  std::int64_t stride = 0;        ///< bytes
};

/// Vectors as integers of 16 bits: value = integer · scale of its row.
struct QuantisedVectors {
  const std::int16_t* values = nullptr;
  const float* scales = nullptr;
};

/// y = x Wᵀ + b for `batch` vectors x, or y += that.
struct Product {
  PackedWeights weights;
  const float* x = nullptr;    ///< padded; not read by int8
  QuantisedVectors quantised;  ///< int8 only
  std::int64_t x_stride = 0;   ///< from one vector to the next, of x and quantised
  float* y = nullptr;
  std::int64_t y_stride = 0;
  std::int64_t batch = 1;
  bool add = false;
};

/// Keys and values that a query sees under one bias of its logits; rows padded.
struct VisibleKeys {
  const float* key;
  const float* value;
  std::int64_t count;
  float bias;
};

/// One query against all it sees, in one softmax (maths 4a).
struct SingleQuery {
  const float* query = nullptr;  ///< padded, with the scale 1/√D in it
  const VisibleKeys* visible = nullptr;
  int parts = 0;
  std::int64_t width = 0;    ///< padded D
  float* weights = nullptr;  ///< room for every visible key, and kPadding more
  float* out = nullptr;      ///< padded
};

/// slots (K×D) += weights (K×W) · rows (W×D); rows and slots padded.
struct SlotSum {
  const float* weights = nullptr;
  std::int64_t weights_stride = 0;  ///< floats, from one slot to the next
  const float* rows = nullptr;
  float* slots = nullptr;
  std::int64_t slot_count = 0, row_count = 0, width = 0;
};

struct DecodeKernels {
  std::int64_t lanes;  ///< floats a vector register; bfloat16 weights are interleaved to suit
  /// Rows [first, last) of a product; both are multiples of 4, and y has room for them.
  void (*multiply)(const Product& product, std::int64_t first, std::int64_t last);
  /// Converts x (count) to 16-bit integers, padded with zeros. No integer is larger than `limit`. If an x is NaN or
  /// infinite, the scale is NaN.
  void (*quantise)(const float* x, std::int64_t count, float limit, std::int16_t* values, float* scale);
  /// Layer norm with epsilon 1e-5.
  void (*normalise)(const float* x, const float* weight, const float* bias, std::int64_t count, float* out);
  /// eˣ in place, to 2 units in the last place; 0 below −87, e^88 above 88. Writes up to the next multiple of kPadding.
  void (*exponential)(float* x, std::int64_t count);
  /// x/2 · (1 + erf(x/√2)), in place, to within 1.5e-7·|x|. Writes up to the next multiple of kPadding.
  void (*gelu)(float* x, std::int64_t count);
  void (*attend)(const SingleQuery& query);
  void (*add_slots)(const SlotSum& sum);
};
/// Those of one instruction set. UserError where this build or processor lacks it.
const DecodeKernels& decode_kernels(Isa isa = current_isa());

}  // namespace linformer::kernels
