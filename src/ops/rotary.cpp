// Shape letters: B batch, H heads, N length, D head width.
#include "linformer/ops/rotary.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/rotary.hpp"
#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

namespace linformer::ops {

namespace {

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& turns,
                            bool back) {
    context->save_for_backward({turns});
    context->saved_data["back"] = back;
    const auto rows = x.stride(-1) == 1 ? x : x.contiguous();
    const auto out = at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options());
    kernels::rotate({.batch = x.size(0),
                     .heads = x.size(1),
                     .length = x.size(2),
                     .width = x.size(3),
                     .element = element_of(x.scalar_type()),
                     .x = {rows.const_data_ptr(), rows.stride(0), rows.stride(1), rows.stride(2), 0},
                     .turns = turns.const_data_ptr<float>(),
                     .turns_batch = turns.dim() == 3 ? turns.stride(0) : 0,
                     .back = back,
                     .out = out.mutable_data_ptr()});
    return out.transpose(1, 2);
  }

  // The gradient of a turn is the turn back, which has a gradient again.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {apply(gradients[0], context->get_saved_variables()[0], !context->saved_data["back"].toBool()), {}, {}};
  }
};

}  // namespace

at::Tensor rotary_turns(const at::Tensor& positions, std::int64_t head_width, double base) {
  const auto pairs = at::arange(0, head_width, 2, positions.options().dtype(at::kDouble));
  const auto angles = positions.to(at::kDouble).unsqueeze(-1) * at::pow(base, -pairs / static_cast<double>(head_width));
  return at::cat({angles.cos(), angles.sin()}, -1).to(at::kFloat);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& turns) {
  require(x.dim() == 4 && x.size(3) % 2 == 0 && at::isFloatingType(x.scalar_type()),
          "x has shape {} and dtype {}; expected (B,H,N,D) of a floating-point dtype with an even D", shape_text(x),
          c10::toString(x.scalar_type()));
  const bool fits = (turns.dim() == 2 || (turns.dim() == 3 && turns.size(0) == x.size(0))) &&
                    turns.size(-2) == x.size(2) && turns.size(-1) == x.size(3);
  require(fits, "turns has shape {}; expected (N,D) or (B,N,D) as in x, {}", shape_text(turns), shape_text(x));
  const bool short_or_single = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  if (x.is_cpu() && short_or_single && turns.scalar_type() == at::kFloat)
    return Rotate::apply(x, turns.contiguous(), false);
  const auto wide_x = wide(x);
  const auto turns_BHND = (turns.dim() == 3 ? turns.unsqueeze(1) : turns).to(wide_x.options());
  const auto parts = wide_x.chunk(2, -1), turn = turns_BHND.chunk(2, -1);
  return at::cat({parts[0] * turn[0] - parts[1] * turn[1], parts[1] * turn[0] + parts[0] * turn[1]}, -1)
      .to(x.scalar_type());
}

}  // namespace linformer::ops
