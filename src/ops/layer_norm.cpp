// Shape letters: R rows, d width.
#include "linformer/ops/layer_norm.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "kernels/layer_norm.hpp"
#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
T* data_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}
const void* data_of(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }

at::Tensor composed_norm(const at::Tensor& x, const LayerNorm& norm, at::ScalarType dtype) {
  if (!norm.rms) return at::layer_norm(x, norm.weight.sizes(), norm.weight, norm.bias, kernels::norm_epsilon).to(dtype);
  const auto scale = (wide(x).square().mean(-1, true) + kernels::norm_epsilon).rsqrt();
  const auto normed = wide(x) * scale * norm.weight;
  return (norm.bias.defined() ? normed + norm.bias : normed).to(dtype);
}

/// The kernel on tensors: {sum, normed}, of which only those are defined that are wanted.
class AddLayerNorm : public torch::autograd::Function<AddLayerNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& product,
                               const std::optional<at::Tensor>& branch_bias,
                               const std::optional<at::Tensor>& norm_weight, const std::optional<at::Tensor>& norm_bias,
                               bool rms, at::ScalarType dtype) {
    const auto input = x.contiguous(), branch = product ? product->contiguous() : at::Tensor();
    const auto weight = norm_weight.value_or(at::Tensor());
    const auto width = x.size(-1), rows = rows_of(x);
    const auto sum = branch.defined() ? at::empty_like(input) : input;
    const auto normed = weight.defined() ? at::empty(input.sizes(), input.options().dtype(dtype)) : at::Tensor();
    const auto mean_R = at::empty({rows}, input.options().dtype(at::kFloat)), scale_R = at::empty_like(mean_R);
    kernels::layer_norm_forward({.rows = rows,
                                 .width = width,
                                 .rms = rms,
                                 .stream = element_of(x.scalar_type()),
                                 .element = element_of(dtype),
                                 .x = input.const_data_ptr(),
                                 .branch = data_of(branch),
                                 .branch_bias = data_of<float>(branch_bias.value_or(at::Tensor())),
                                 .weight = data_of<float>(weight),
                                 .bias = data_of<float>(norm_bias.value_or(at::Tensor())),
                                 .sum = branch.defined() ? sum.mutable_data_ptr() : nullptr,
                                 .normed = weight.defined() ? normed.mutable_data_ptr() : nullptr,
                                 .mean = data_of<float>(mean_R),
                                 .scale = data_of<float>(scale_R)});
    context->set_materialize_grads(false);
    // Of a norm alone x itself, not a copy of it: second derivatives find it.
    if (weight.defined()) context->save_for_backward({branch.defined() ? sum : x, mean_R, scale_R, weight});
    context->saved_data["stream"] = x.scalar_type();
    context->saved_data["dtype"] = dtype;
    context->saved_data["rms"] = rms;
    context->saved_data["norm_bias"] = norm_bias.has_value();
    context->saved_data["branch"] = branch.defined();
    context->saved_data["branch_bias"] = branch_bias.has_value();
    variable_list made;
    if (branch.defined()) made.push_back(sum);
    if (weight.defined()) made.push_back(normed);
    return made;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (at::GradMode::is_enabled()) return derivable_backward(context, gradients);
    const auto saved = context->get_saved_variables();
    const auto dtype = context->saved_data["dtype"].toScalarType(),
               stream = context->saved_data["stream"].toScalarType();
    const bool branch = context->saved_data["branch"].toBool(), normed = !saved.empty();
    const auto grad_sum = branch && gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    const auto grad_normed = normed && gradients.back().defined() ? gradients.back().contiguous() : at::Tensor();
    variable_list found(7);
    if (!grad_sum.defined() && !grad_normed.defined()) return found;
    const auto& like = grad_sum.defined() ? grad_sum : grad_normed;
    const auto sum = normed ? saved[0].contiguous() : at::Tensor();
    const auto options = like.options().dtype(at::kFloat);
    const auto width = like.size(-1);
    const auto empty = [&](at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
      return at::empty(sizes, options.dtype(type));
    };
    // Without a norm the sum's gradient is x's; in one dtype x's is the branch's.
    found[0] = normed ? empty(like.sizes(), stream) : grad_sum;
    const bool same = dtype == stream;
    if (branch) found[1] = same ? found[0] : empty(like.sizes(), dtype);
    if (context->saved_data["branch_bias"].toBool()) found[2] = empty({width});
    if (normed) found[3] = empty({width});
    if (normed && context->saved_data["norm_bias"].toBool()) found[4] = empty({width});
    kernels::layer_norm_backward({.rows = rows_of(like),
                                  .width = width,
                                  .rms = context->saved_data["rms"].toBool(),
                                  .stream = element_of(stream),
                                  .element = element_of(dtype),
                                  .sum = data_of(sum),
                                  .mean = normed ? data_of<float>(saved[1]) : nullptr,
                                  .scale = normed ? data_of<float>(saved[2]) : nullptr,
                                  .weight = normed ? data_of<float>(saved[3]) : nullptr,
                                  .grad_normed = data_of(grad_normed),
                                  .grad_sum = data_of(grad_sum),
                                  .x = normed ? found[0].mutable_data_ptr() : nullptr,
                                  .branch = same || !found[1].defined() ? nullptr : found[1].mutable_data_ptr(),
                                  .weight_grad = data_of<float>(found[3]),
                                  .bias_grad = data_of<float>(found[4]),
                                  .branch_bias_grad = data_of<float>(found[2])});
    return found;
  }

 private:
  // From tensor operations of the sum, which leads to x, the product and its bias.
  static variable_list derivable_backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto dtype = context->saved_data["dtype"].toScalarType(),
               stream = context->saved_data["stream"].toScalarType();
    const bool branch = context->saved_data["branch"].toBool(), rms = context->saved_data["rms"].toBool();
    auto grad_sum = branch ? gradients[0] : at::Tensor();
    const auto grad_normed = saved.empty() ? at::Tensor() : gradients.back();
    variable_list found(7);
    if (grad_normed.defined()) {
      const auto of_norm = derivable_gradients(
          [=](const Tensors& x) -> Tensors { return {composed_norm(wide(x[0]), LayerNorm{x[1], {}, rms}, dtype)}; },
          {saved[0], saved[3]}, {grad_normed});
      if (of_norm[0].defined()) grad_sum = grad_sum.defined() ? grad_sum + of_norm[0] : of_norm[0];
      found[3] = of_norm[1];
      if (context->saved_data["norm_bias"].toBool()) found[4] = sum_of_rows(grad_normed);
    }
    if (!grad_sum.defined()) return found;
    found[0] = grad_sum.to(stream);
    if (branch) found[1] = grad_sum.to(dtype);
    if (context->saved_data["branch_bias"].toBool()) found[2] = sum_of_rows(grad_sum);
    return found;
  }

  static at::Tensor sum_of_rows(const at::Tensor& x) { return wide(x).reshape({-1, x.size(-1)}).sum(0); }
};

void check_norm(const LayerNorm& norm) { require(norm.weight.defined(), "a norm needs a weight; it is undefined"); }

void check_branch(const Branch& branch) {
  require(branch.product.defined(), "the branch has no product; expected a tensor like x");
}

void check(const at::Tensor& x, const Branch& branch, const LayerNorm& norm) {
  require(x.dim() >= 1 && at::isFloatingType(x.scalar_type()),
          "x has shape {} and dtype {}; expected (…,d) of a floating-point dtype", shape_text(x),
          c10::toString(x.scalar_type()));
  require(!branch.product.defined() || branch.product.sizes() == x.sizes(),
          "the branch's product has shape {}; expected that of x, {}",
          branch.product.defined() ? shape_text(branch.product) : "", shape_text(x));
  for (const auto& row : {branch.bias, norm.weight, norm.bias}) {
    require(!row.defined() || (row.dim() == 1 && row.size(0) == x.size(-1)),
            "a bias or weight has shape {}; expected (d) as in x, {}", row.defined() ? shape_text(row) : "",
            shape_text(x));
  }
}

std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

/// {sum, normed} without those that nothing is given for.
variable_list run_kernel(const at::Tensor& x, const Branch& branch, const LayerNorm& norm, at::ScalarType dtype) {
  return AddLayerNorm::apply(x, if_defined(branch.product), if_defined(branch.bias), if_defined(norm.weight),
                             if_defined(norm.bias), norm.rms, dtype);
}

bool kernel_serves(const at::Tensor& x, const Branch& branch, const LayerNorm& norm, at::ScalarType dtype) {
  for (const auto& row : {branch.bias, norm.weight, norm.bias}) {
    if (row.defined() && !(row.is_cpu() && row.scalar_type() == at::kFloat && row.is_contiguous())) return false;
  }
  const auto served = [](at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; };
  return x.is_cpu() && (!branch.product.defined() || branch.product.is_cpu()) && served(x.scalar_type()) &&
         served(dtype);
}

at::Tensor composed_sum(const at::Tensor& x, const Branch& branch) {
  const auto sum = x + branch.product.to(x.scalar_type());
  return branch.bias.defined() ? sum + branch.bias.to(x.scalar_type()) : sum;
}

}  // namespace

SumAndNorm add_layer_norm(const at::Tensor& x, const Branch& branch, const LayerNorm& norm) {
  check_branch(branch);
  check_norm(norm);
  check(x, branch, norm);
  const auto dtype = branch.product.scalar_type();
  if (kernel_serves(x, branch, norm, dtype)) {
    auto made = run_kernel(x, branch, norm, dtype);
    return {std::move(made[0]), std::move(made[1])};
  }
  auto sum = composed_sum(x, branch);
  auto normed = composed_norm(sum, norm, dtype);
  return {std::move(sum), std::move(normed)};
}

at::Tensor add_branch(const at::Tensor& x, const Branch& branch) {
  check_branch(branch);
  check(x, branch, {});
  const auto dtype = branch.product.scalar_type();
  if (!kernel_serves(x, branch, {}, dtype)) return composed_sum(x, branch);
  return run_kernel(x, branch, {}, dtype)[0];
}

at::Tensor layer_norm(const at::Tensor& x, const LayerNorm& norm, at::ScalarType dtype) {
  check_norm(norm);
  check(x, {}, norm);
  if (!kernel_serves(x, {}, norm, dtype)) return composed_norm(x, norm, dtype);
  return run_kernel(x, {}, norm, dtype)[0];
}

}  // namespace linformer::ops
