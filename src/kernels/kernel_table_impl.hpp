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
#include "kernels/running_backward.hpp"

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

void running_forward_of_head(const RunningInputs& inputs, const RunningOutputs& outputs, Index batch, Index key_head,
                             float* scratch) {
  if (inputs.element == Element::float32) {
    running_forward_head<float>(inputs, outputs, batch, key_head, scratch);
  } else {
    running_forward_head<std::uint16_t>(inputs, outputs, batch, key_head, scratch);
  }
}

void running_backward_of_head(const RunningInputs& inputs, const RunningGradients& gradients, Index batch,
                              Index key_head, const RunningShares& shares, float* scratch) {
  if (inputs.element == Element::float32) {
    running_backward_head<float>(inputs, gradients, batch, key_head, shares, scratch);
  } else {
    running_backward_head<std::uint16_t>(inputs, gradients, batch, key_head, shares, scratch);
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
                                  .running_scratch_floats = running_scratch_floats,
                                  .running_forward = running_forward_of_head,
                                  .running_backward = running_backward_of_head,
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
