// The kernels of linformer/kernels/{attend,cross_entropy,gelu,layer_norm}.hpp for one instruction set. The scores of a
// tile are stored transposed, S (X, M): X keys or slots, M queries. So maximum, sum and exponential work on whole
// vectors of queries, and only data of queries must be transposed.
#include "kernels/attend_backward.hpp"
#include "kernels/attend_forward.hpp"
#include "kernels/cross_entropy_rows.hpp"
#include "kernels/gelu_rows.hpp"
#include "kernels/layer_norm_rows.hpp"

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
const KernelTable LINFORMER_TABLE{
    scratch_floats,           forward,   backward,           cross_entropy_row, layer_norm_rows,
    layer_norm_backward_rows, gelu_rows, gelu_backward_rows, exponential_row};

}  // namespace linformer::kernels
