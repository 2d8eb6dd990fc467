// How close a fast path must come to the reference: one table, and the comparison of outputs and gradients
// that reads it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace linformer::test {

/// Relative root mean square errors against the reference in float64.
struct Tolerance {
  double output, gradient;
};

inline Tolerance tolerance_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return {1e-10, 1e-10};  // sums in another order, 1e-16 a step
    case at::kFloat:
      return {2e-6, 5e-6};  // rounding 6e-8 a step; logits of some ten units lose four bits in the exponential
    default:
      throw std::invalid_argument("no tolerance for this dtype: short floats have expect_as_close_as()");
  }
}

/// ‖got − want‖ / ‖want‖; the plain norm of `got` where `want` is zero. NaN compares as an error of its own:
/// it never passes a bound.
inline double relative_error(const at::Tensor& got, const at::Tensor& want) {
  const auto wide = want.to(at::kDouble);
  const auto norm = wide.norm().item<double>(), error = (got.to(at::kDouble) - wide).norm().item<double>();
  return norm > 0 ? error / norm : error;
}

using Tensors = std::vector<at::Tensor>;
using Operation = std::function<at::Tensor(const Tensors&)>;

/// An operation's output, and the gradients of Σ output·grad_output with respect to its inputs (zero where
/// the output doesn't depend on one).
struct OutputAndGradients {
  at::Tensor output;
  Tensors gradients;
};

inline OutputAndGradients run_with_gradients(const Operation& operation, const Tensors& inputs,
                                             const at::Tensor& grad_output, at::ScalarType dtype) {
  Tensors leaves;
  for (const auto& input : inputs) leaves.push_back(input.detach().to(dtype).clone().requires_grad_());
  const auto output = operation(leaves);
  auto gradients =
      torch::autograd::grad({output}, leaves, {grad_output.to(output.scalar_type())}, std::nullopt, false, true);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!gradients[i].defined()) gradients[i] = at::zeros_like(leaves[i]);
  }
  return {output.detach(), gradients};
}

/// What a gradient is measured by beside its own size. A bias' gradient is a sum over rows that cancels, in the form
/// without a window to zero, and with one column all are zero: such are measured by what is summed.
inline double gradient_floor(const at::Tensor& input, const at::Tensor& grad_output) {
  return (input.dim() == 1 ? 1.0 : 0.1) * grad_output.to(at::kDouble).norm().item<double>();
}

/// Both operations on the same numbers: `fast` as they are, `reference` in float64.
inline void expect_same(const Operation& fast, const Operation& reference, const Tensors& inputs, Tolerance tolerance) {
  const auto grad_output = at::randn_like(fast(inputs));
  const auto got = run_with_gradients(fast, inputs, grad_output, inputs[0].scalar_type());
  const auto want = run_with_gradients(reference, inputs, grad_output, at::kDouble);
  EXPECT_EQ(got.output.scalar_type(), inputs[0].scalar_type());
  EXPECT_LT(relative_error(got.output, want.output), tolerance.output);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(got.gradients[i].scalar_type(), inputs[i].scalar_type());
    const auto floor = gradient_floor(inputs[i], grad_output);
    const auto error = (got.gradients[i].to(at::kDouble) - want.gradients[i]).norm().item<double>();
    EXPECT_LE(error, tolerance.gradient * (want.gradients[i].norm().item<double>() + floor))
        << "gradient of input " << i;
  }
}

/// Short floats: `fast` errs at most twice as much as `composed`, the same from the engine's operations in the same
/// dtypes; both against `reference` in float64. Less than one rounding of a result to bfloat16 is not asked.
inline void expect_as_close_as(const Operation& composed, const Operation& fast, const Operation& reference,
                               const Tensors& inputs) {
  const auto grad_output = at::randn_like(fast(inputs));
  const auto dtype = inputs[0].scalar_type();
  const auto got = run_with_gradients(fast, inputs, grad_output, dtype),
             plain = run_with_gradients(composed, inputs, grad_output, dtype),
             want = run_with_gradients(reference, inputs, grad_output, at::kDouble);
  const auto check = [](const at::Tensor& fast_x, const at::Tensor& plain_x, const at::Tensor& want_x, double floor) {
    const auto error = [&](const at::Tensor& x) { return (x.to(at::kDouble) - want_x).norm().item<double>(); };
    // One number may by chance be one that bfloat16 holds; of many that evens out.
    const double luck = want_x.numel() == 1 ? want_x.to(at::kDouble).norm().item<double>() / 512 : 0;
    const double rounding = std::max({error(want_x.to(at::kBFloat16)), floor / 512, luck});
    EXPECT_LE(error(fast_x), 2 * std::max(error(plain_x), rounding))
        << "the composed error is " << error(plain_x) << ", a rounding " << rounding;
  };
  check(got.output, plain.output, want.output, 0);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "gradient of input " << i);
    EXPECT_EQ(got.gradients[i].scalar_type(), dtype);
    check(got.gradients[i], plain.gradients[i], want.gradients[i], gradient_floor(inputs[i], grad_output));
  }
}

/// All gradients of Σ output² in one row, on a graph, so that they can be derived again: an operation themselves.
inline at::Tensor gradients_of(const Operation& operation, const Tensors& inputs) {
  Tensors leaves, flat;
  for (const auto& input : inputs) leaves.push_back(input.requires_grad() ? input : input.clone().requires_grad_());
  const auto found = torch::autograd::grad({operation(leaves).square().sum()}, leaves, {}, true, true, true);
  for (std::size_t i = 0; i < leaves.size(); ++i)
    flat.push_back((found[i].defined() ? found[i] : at::zeros_like(leaves[i])).flatten());
  return at::cat(flat);
}

/// Autograd's gradients against central differences, in float64: the largest relative error over the inputs.
/// Expected ≤ 1e-6.
inline double gradient_check(const Operation& operation, const Tensors& inputs) {
  const auto grad_output = at::randn_like(operation(inputs));
  const auto automatic = run_with_gradients(operation, inputs, grad_output, at::kDouble).gradients;
  const auto value_at = [&](const Tensors& point) { return (operation(point) * grad_output).sum().item<double>(); };
  double worst = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    auto point = inputs;
    point[i] = inputs[i].clone();
    auto* numbers = point[i].mutable_data_ptr<double>();
    const auto numeric = at::empty_like(inputs[i]);
    for (std::int64_t j = 0; j < numeric.numel(); ++j) {
      const double was = numbers[j], step = 1e-5;
      numbers[j] = was + step;
      const double above = value_at(point);
      numbers[j] = was - step;
      numeric.mutable_data_ptr<double>()[j] = (above - value_at(point)) / (2 * step);
      numbers[j] = was;
    }
    worst = std::max(worst, relative_error(automatic[i], numeric));
  }
  return worst;
}

}  // namespace linformer::test
