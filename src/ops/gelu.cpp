// Shape letters: R rows, h width.
#include "linformer/ops/gelu.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/gelu.hpp"
#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

at::Tensor composed_gelu(const at::Tensor& x, const at::Tensor& bias) { return at::gelu(x + bias.to(x.scalar_type())); }

class BiasGelu : public torch::autograd::Function<BiasGelu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& bias) {
    const auto input = x.contiguous(), bias_row = bias.contiguous(), out = at::empty_like(input);
    kernels::gelu_forward({.rows = rows_of(x),
                           .width = x.size(-1),
                           .element = element_of(x.scalar_type()),
                           .x = input.const_data_ptr(),
                           .bias = bias_row.const_data_ptr<float>(),
                           .out = out.mutable_data_ptr()});
    context->save_for_backward({x, bias});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    if (at::GradMode::is_enabled()) {
      return derivable_gradients([](const Tensors& of) -> Tensors { return {composed_gelu(of[0], of[1])}; }, saved,
                                 gradients);
    }
    const auto x = saved[0].contiguous(), bias = saved[1].contiguous();
    const auto grad_out = gradients[0].contiguous(), grad_x = at::empty_like(x);
    const auto grad_bias = context->needs_input_grad(1) ? at::empty_like(bias) : at::Tensor();
    kernels::gelu_backward({.rows = rows_of(x),
                            .width = x.size(-1),
                            .element = element_of(x.scalar_type()),
                            .x = x.const_data_ptr(),
                            .bias = bias.const_data_ptr<float>(),
                            .grad_out = grad_out.const_data_ptr(),
                            .grad_x = grad_x.mutable_data_ptr(),
                            .grad_bias = grad_bias.defined() ? grad_bias.mutable_data_ptr<float>() : nullptr});
    return {grad_x, grad_bias};
  }
};

}  // namespace

at::Tensor bias_gelu(const at::Tensor& x, const at::Tensor& given_bias) {
  require(x.dim() >= 1 && at::isFloatingType(x.scalar_type()),
          "x has shape {} and dtype {}; expected (…,h) of a floating-point dtype", shape_text(x),
          c10::toString(x.scalar_type()));
  const auto no_bias = [&] { return at::zeros({x.size(-1)}, x.options().dtype(wide(x).scalar_type())); };
  const auto bias = given_bias.defined() ? given_bias : no_bias();
  require(bias.dim() == 1 && bias.size(0) == x.size(-1), "bias has shape {}; expected (h) as in x, {}",
          shape_text(bias), shape_text(x));
  const bool short_or_single = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  if (x.is_cpu() && bias.is_cpu() && short_or_single && bias.scalar_type() == at::kFloat)
    return BiasGelu::apply(x, bias);
  return composed_gelu(x, bias);
}

}  // namespace linformer::ops
