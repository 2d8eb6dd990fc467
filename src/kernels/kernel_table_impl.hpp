// Every kernel for one instruction set, that of the including file, and their table. The scores of a tile of attention
// are stored transposed, S (X, M): X keys or slots, M queries. So maximum, sum and exponential work on whole vectors of
// queries, and only data of queries must be transposed.
#include "kernels/attend_backward.hpp"
#include "kernels/attend_forward.hpp"
#include "kernels/cross_entropy_rows.hpp"
#include "kernels/decode_attend.hpp"
#include "kernels/decode_product.hpp"
#include "kernels/decode_rows.hpp"
#include "kernels/decode_slots.hpp"
#include "kernels/dropout_rows.hpp"
#include "kernels/gelu_rows.hpp"
#include "kernels/layer_norm_rows.hpp"
#include "kernels/rotary_rows.hpp"

namespace linformer::kernels {

namespace {

Index scratch_floats(Index width) { return backward_scratch_floats(width); }

void forward(const AttendInputs& inputs, const AttendOutputs& outputs, const AttendRange& range, float* scratch) {
  if (inputs.element == Element::float32) {
    forward_range<float>(inputs, outputs, range, scratch);
  } else {
    forward_range<std::uint16_t>(inputs, outputs, range, scratch);
  }
}

void backward(const AttendInputs& inputs, const AttendGradients& gradients, const AttendRange& range,
              const AttendShares& shares, float* scratch) {
  if (inputs.element == Element::float32) {
    backward_range<float>(inputs, gradients, range, shares, scratch);
  } else {
    backward_range<std::uint16_t>(inputs, gradients, range, shares, scratch);
  }
}

void exponential_row(float* x, std::int64_t count) {
  for (Index i = 0; i < count; i += vector_width) store(x + i, exponential(load(x + i)));
}

}  // namespace

extern const KernelTable LINFORMER_TABLE;
const KernelTable LINFORMER_TABLE{.scratch_floats = scratch_floats,
                                  .forward = forward,
                                  .backward = backward,
                                  .cross_entropy_row = cross_entropy_row,
                                  .layer_norm = layer_norm_rows,
                                  .layer_norm_backward = layer_norm_backward_rows,
                                  .gelu = gelu_rows,
                                  .gelu_backward = gelu_backward_rows,
                                  .rotary = rotary_rows,
                                  .dropout = dropout_rows,
                                  .philox = philox,
                                  .exponential = exponential_row,
                                  .decode = {.lanes = vector_width,
                                             .multiply = multiply,
                                             .quantise = quantise,
                                             .normalise = normalise,
                                             .rms_normalise = rms_normalise,
                                             .gelu = gelu,
                                             .swiglu = swiglu,
                                             .attend = attend,
                                             .add_slots = add_slots}};

}  // namespace linformer::kernels
