// Shape letters: R rows (tokens), C rows of a chunk, V vocabulary, d width.
#include "linformer/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "kernels/cross_entropy.hpp"
#include "kernels/layer_norm.hpp"
#include "linformer/core/error.hpp"
#include "linformer/ops/autocast.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

/// Logits in memory at once, when the caller doesn't choose the chunk. Fewer rows make the products slow; more rows
/// only need more memory.
constexpr std::int64_t chunk_bytes = std::int64_t{1} << 26;

/// What the pass over all chunks collects: the sum of the losses, and the gradients of their mean.
struct Sums {
  at::Tensor loss;                            // float32, or float64 for such inputs
  at::Tensor grad_hidden_Rd, grad_weight_Vd;  // undefined where not needed; of short floats in float32, (d,V) in memory
  double share = 0;                           // of a row in the mean
};

/// The losses of a chunk's rows (C), float64; unless `gradient_scale` is 0 the logits become that ×
/// (softmax − one-hot of the target) in place, zero where ignored.
at::Tensor losses_of(const at::Tensor& logits_CV, const at::Tensor& target_C, std::int64_t ignore_index,
                     double gradient_scale) {
  if (logits_CV.is_cpu() && (logits_CV.scalar_type() == at::kFloat || logits_CV.scalar_type() == at::kBFloat16)) {
    const auto loss_C = at::empty(target_C.sizes(), logits_CV.options().dtype(at::kDouble));
    const auto target = target_C.contiguous();
    kernels::cross_entropy({.element = element_of(logits_CV.scalar_type()),
                            .logits = logits_CV.mutable_data_ptr(),
                            .target = target.const_data_ptr<std::int64_t>(),
                            .rows = logits_CV.size(0),
                            .vocabulary = logits_CV.size(1),
                            .ignore_index = ignore_index,
                            .gradient_scale = static_cast<float>(gradient_scale)},
                           loss_C.mutable_data_ptr<double>());
    return loss_C;
  }
  const auto ignored_C1 = target_C.eq(ignore_index).unsqueeze(1);
  const auto index_C1 = target_C.unsqueeze(1).masked_fill(ignored_C1, 0);
  const auto log_sum_C1 = logits_CV.logsumexp(1, true);
  const auto loss_C1 = (log_sum_C1 - logits_CV.gather(1, index_C1)).masked_fill_(ignored_C1, 0.0);
  if (gradient_scale != 0) {
    logits_CV.sub_(log_sum_C1)
        .exp_()
        .scatter_add_(1, index_C1, at::full_like(log_sum_C1, -1.0))
        .masked_fill_(ignored_C1, 0.0)
        .mul_(gradient_scale);
  }
  return loss_C1.squeeze(1).to(at::kDouble);
}

/// sum += x, for bfloat16 or float16 x; both contiguous. LibTorch would first make a float32 copy of x.
void add_short(const at::Tensor& sum, const at::Tensor& x) {
  if (!sum.is_cpu() || x.scalar_type() != at::kBFloat16) {
    sum.add_(x);
    return;
  }
  kernels::layer_norm_forward({.rows = sum.size(0),
                               .width = sum.size(1),
                               .stream = kernels::Element::float32,
                               .element = kernels::Element::bfloat16,
                               .x = sum.const_data_ptr(),
                               .branch = x.const_data_ptr(),
                               .sum = sum.mutable_data_ptr()});
}

/// Computes one chunk (maths 6): its loss and, if `sums` holds gradients, its part of them. `logits` is memory for one
/// chunk.
void add_chunk(Sums& sums, const at::Tensor& hidden_Cd, const at::Tensor& weight_Vd, const at::Tensor& target_C,
               std::int64_t first, std::int64_t ignore_index, const at::Tensor& memory_CV) {
  auto logits_CV = memory_CV.narrow(0, 0, hidden_Cd.size(0));
  at::mm_out(logits_CV, hidden_Cd, weight_Vd.t());
  if (!logits_CV.is_cpu() || logits_CV.scalar_type() != at::kBFloat16)
    logits_CV = logits_CV.to(sums.loss.scalar_type());
  const bool gradient = sums.grad_hidden_Rd.defined() || sums.grad_weight_Vd.defined();
  sums.loss.add_(
      losses_of(logits_CV, target_C, ignore_index, gradient ? sums.share : 0.0).sum().to(sums.loss.scalar_type()));
  if (!gradient) return;
  const auto grad_CV = logits_CV.to(hidden_Cd.scalar_type());
  if (sums.grad_hidden_Rd.defined()) {
    auto grad_Cd = sums.grad_hidden_Rd.narrow(0, first, hidden_Cd.size(0));
    at::mm_out(grad_Cd, grad_CV, weight_Vd);
  }
  if (!sums.grad_weight_Vd.defined()) return;
  if (sums.grad_weight_Vd.scalar_type() != grad_CV.scalar_type()) {
    // Computed as hiddenᵀ·grad, because oneDNN reads the large factor twice as fast along its rows.
    add_short(sums.grad_weight_Vd.t(), at::mm(hidden_Cd.t(), grad_CV));
  } else if (first == 0) {
    at::mm_out(sums.grad_weight_Vd, grad_CV.t(), hidden_Cd);
  } else {
    sums.grad_weight_Vd.addmm_(grad_CV.t(), hidden_Cd);
  }
}

/// As many rows as chunk_bytes allow, in chunks of equal size.
std::int64_t choose_chunk(std::int64_t rows, const at::Tensor& weight_Vd) {
  const auto row_bytes = weight_Vd.size(0) * static_cast<std::int64_t>(weight_Vd.element_size());
  const auto most = std::max<std::int64_t>(chunk_bytes / row_bytes, 16);
  return ceil_divide(rows, std::max<std::int64_t>(ceil_divide(rows, most), 1));
}

void check_targets(const at::Tensor& target, std::int64_t vocabulary, std::int64_t ignore_index) {
  const auto wrong =
      target.masked_select(target.ne(ignore_index).logical_and(target.lt(0).logical_or(target.ge(vocabulary))));
  if (wrong.numel() == 0) return;
  fail("target holds {} value(s) outside the vocabulary, the first {}; expected 0 to {}, or ignore_index, {}",
       wrong.numel(), wrong[0].item<std::int64_t>(), vocabulary - 1, ignore_index);
}

/// Loss and gradients of the operator: the latter of the inputs' shapes, empty (0) where not asked.
using LossAndGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using TwoGradients = std::tuple<at::Tensor, at::Tensor>;

at::TensorOptions sum_options_of(const at::Tensor& hidden) { return hidden.options().dtype(wide_type(hidden)); }

LossAndGradients forward_of_loss(const at::Tensor& hidden, const at::Tensor& weight_Vd, const at::Tensor& target,
                                 std::int64_t ignore_index, std::int64_t chosen_chunk, bool hidden_gradient,
                                 bool weight_gradient) {
  check_targets(target, weight_Vd.size(0), ignore_index);
  const auto chunk = chosen_chunk > 0 ? chosen_chunk : choose_chunk(target.numel(), weight_Vd);
  const auto hidden_Rd = hidden.reshape({-1, hidden.size(-1)}), target_R = target.reshape({-1});
  const auto rows = hidden_Rd.size(0);
  const auto sum_options = sum_options_of(hidden);
  // NaN without a valid target: 0/0, as in PyTorch.
  const auto valid = static_cast<double>(target_R.ne(ignore_index).sum().item<std::int64_t>());
  Sums sums{at::zeros({}, sum_options), {}, {}, 1.0 / std::max(valid, 1.0)};
  if (hidden_gradient) sums.grad_hidden_Rd = at::empty_like(hidden_Rd, at::MemoryFormat::Contiguous);
  if (weight_gradient && sum_options.dtype() == hidden_Rd.dtype() && rows > 0) {
    sums.grad_weight_Vd = at::empty(weight_Vd.sizes(), sum_options);  // the first chunk writes it
  } else if (weight_gradient) {
    sums.grad_weight_Vd = at::zeros({weight_Vd.size(1), weight_Vd.size(0)}, sum_options).t();
  }
  // One block of memory for all chunks: new pages would take as long as a pass over them.
  const auto memory_CV = at::empty({std::min(chunk, rows), weight_Vd.size(0)}, hidden_Rd.options());
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const auto count = std::min(chunk, rows - first);
    add_chunk(sums, hidden_Rd.narrow(0, first, count), weight_Vd, target_R.narrow(0, first, count), first, ignore_index,
              memory_CV);
  }
  return {sums.loss / valid, hidden_gradient ? sums.grad_hidden_Rd.view(hidden.sizes()) : nothing_like(hidden),
          weight_gradient ? sums.grad_weight_Vd.contiguous() : nothing_like(hidden)};
}

LossAndGradients shapes_of_loss(const at::Tensor& hidden, const at::Tensor& weight_Vd, const at::Tensor&, std::int64_t,
                                std::int64_t, bool hidden_gradient, bool weight_gradient) {
  const auto sum_options = sum_options_of(hidden);
  return {at::empty({}, sum_options),
          hidden_gradient ? at::empty_symint(hidden.sym_sizes(), hidden.options()) : nothing_like(hidden),
          weight_gradient ? at::empty_symint(weight_Vd.sym_sizes(), sum_options) : nothing_like(hidden)};
}

/// The gradients that forward made, times that of the loss.
TwoGradients backward_of_loss(const at::Tensor& grad_loss, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                              const at::Tensor& grad_hidden, const at::Tensor& grad_weight_Vd, std::int64_t) {
  const auto scaled = [&](const at::Tensor& x) { return x * grad_loss.to(x.scalar_type()); };
  return {scaled(grad_hidden), scaled(grad_weight_Vd)};
}

/// The loss with all its logits, which autograd derives any number of times: of hidden and weight.
Composite whole_loss(const at::Tensor& target, std::int64_t ignore_index) {
  return [target, ignore_index](const Tensors& x) -> Tensors {
    const AutocastOff autocast_off(x[0].device().type());
    const auto logits_RV = at::matmul(wide(x[0]), wide(x[1]).t()).reshape({-1, x[1].size(0)});
    return {at::cross_entropy_loss(logits_RV, target.reshape({-1}), {}, at::Reduction::Mean, ignore_index)};
  };
}

LossAndGradients call_forward_of_loss(const at::Tensor& hidden, const at::Tensor& weight_Vd, const at::Tensor& target,
                                      std::int64_t ignore_index, std::int64_t chunk, bool hidden_gradient,
                                      bool weight_gradient) {
  static const auto handle = operator_named<decltype(forward_of_loss)>("linformer::linear_cross_entropy_forward");
  return handle.call(hidden, weight_Vd, target, ignore_index, chunk, hidden_gradient, weight_gradient);
}

TwoGradients call_backward_of_loss(const at::Tensor& grad_loss, const at::Tensor& hidden, const at::Tensor& weight_Vd,
                                   const at::Tensor& target, const at::Tensor& grad_hidden,
                                   const at::Tensor& grad_weight_Vd, std::int64_t ignore_index) {
  static const auto handle = operator_named<decltype(backward_of_loss)>("linformer::linear_cross_entropy_backward");
  return handle.call(grad_loss, hidden, weight_Vd, target, grad_hidden, grad_weight_Vd, ignore_index);
}

Tensors gradients_of_loss(const SavedCall& call, const at::Tensor& grad_loss, std::int64_t ignore_index) {
  const auto &grad_hidden = call.outputs[1], &grad_weight = call.outputs[2];
  // Backward usually starts at the loss. Then the gradient is 1, and a copy of V×d numbers is saved.
  const bool plain = !at::GradMode::is_enabled() && !is_traced({grad_loss, grad_hidden, grad_weight});
  if (plain && grad_loss.is_cpu() && grad_loss.item<double>() == 1)
    return {unless_nothing(grad_hidden), unless_nothing(grad_weight)};
  const auto [of_hidden, of_weight] = call_backward_of_loss(grad_loss, call.inputs[0], call.inputs[1], call.inputs[2],
                                                            grad_hidden, grad_weight, ignore_index);
  return {call.wanted[0] ? unless_nothing(of_hidden) : at::Tensor(),
          call.wanted[1] ? unless_nothing(of_weight) : at::Tensor(), at::Tensor()};
}

LossAndGradients loss_with_gradient(const at::Tensor& hidden, const at::Tensor& weight_Vd, const at::Tensor& target,
                                    std::int64_t ignore_index, std::int64_t chunk, bool hidden_gradient,
                                    bool weight_gradient) {
  const bool graph = at::GradMode::is_enabled();
  const auto run = [&]() -> Tensors {
    const auto [loss, grad_hidden, grad_weight] = call_forward_of_loss(
        hidden, weight_Vd, target, ignore_index, chunk, hidden_gradient || (graph && hidden.requires_grad()),
        weight_gradient || (graph && weight_Vd.requires_grad()));
    return {loss, grad_hidden, grad_weight};
  };
  const auto gradient = [ignore_index](const SavedCall& call, const Tensors& grads) {
    auto found = gradients_of_loss(call, grads[0], ignore_index);
    found.resize(3);
    return found;
  };
  const auto made = with_gradient("LinearCrossEntropyBackward", {hidden, weight_Vd, target}, 1, run, gradient);
  return {made[0], made[1], made[2]};
}

TwoGradients backward_of_loss_with_gradient(const at::Tensor& grad_loss, const at::Tensor& hidden,
                                            const at::Tensor& weight_Vd, const at::Tensor& target,
                                            const at::Tensor& grad_hidden, const at::Tensor& grad_weight_Vd,
                                            std::int64_t ignore_index) {
  const auto run = [&]() -> Tensors {
    const auto [of_hidden, of_weight] =
        call_backward_of_loss(grad_loss, hidden, weight_Vd, target, grad_hidden, grad_weight_Vd, ignore_index);
    return {of_hidden, of_weight};
  };
  const auto gradient = [target, ignore_index](const SavedCall& call, const Tensors& grads) {
    return second_gradients(whole_loss(target, ignore_index), 1, call, grads);
  };
  const auto made = with_gradient("LinearCrossEntropySecondBackward", {grad_loss, hidden, weight_Vd}, 2, run, gradient);
  return {made[0], made[1]};
}

TORCH_LIBRARY_FRAGMENT(linformer, library) {
  library.def(
      "linear_cross_entropy_forward(Tensor hidden, Tensor weight, Tensor target, int ignore_index, int chunk, "
      "bool hidden_gradient, bool weight_gradient) -> (Tensor, Tensor, Tensor)");
  library.def(
      "linear_cross_entropy_backward(Tensor grad_loss, Tensor hidden, Tensor weight, Tensor target, "
      "Tensor grad_hidden, Tensor grad_weight, int ignore_index) -> (Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(linformer, CompositeExplicitAutograd, library) {
  library.impl("linear_cross_entropy_forward", forward_of_loss);
  library.impl("linear_cross_entropy_backward", backward_of_loss);
}
TORCH_LIBRARY_IMPL(linformer, Meta, library) { library.impl("linear_cross_entropy_forward", shapes_of_loss); }
TORCH_LIBRARY_IMPL(linformer, Autograd, library) {
  library.impl("linear_cross_entropy_forward", loss_with_gradient);
  library.impl("linear_cross_entropy_backward", backward_of_loss_with_gradient);
}

void check(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
           const CrossEntropyOptions& options) {
  require(hidden.dim() >= 1 && at::isFloatingType(hidden.scalar_type()),
          "hidden has {} dimensions and dtype {}; expected (…,d) of a floating-point dtype", hidden.dim(),
          c10::toString(hidden.scalar_type()));
  require(options.chunk >= 0, "chunk is {}; expected 0 (chosen) or more rows", options.chunk);
  require(weight.scalar_type() == hidden.scalar_type(),
          "weight has dtype {} and hidden {}; expected the same: cast one of them", c10::toString(weight.scalar_type()),
          c10::toString(hidden.scalar_type()));
  check_same_device("weight", weight, "hidden", hidden);
  check_same_device("target", target, "hidden", hidden);
  require(target.scalar_type() == at::kLong, "target has dtype {}; expected int64",
          c10::toString(target.scalar_type()));
  if (!sizes_are_known({hidden, weight, target})) return;
  require(weight.dim() == 2 && weight.size(1) == hidden.size(-1) && weight.size(0) > 0,
          "weight has shape {}; expected (V,d) = (V,{}), as hidden is {}", shape_text(weight), hidden.size(-1),
          shape_text(hidden));
  require(target.sizes() == hidden.sizes().slice(0, hidden.dim() - 1),
          "target has shape {}; expected that of hidden without its last dimension, hidden is {}", shape_text(target),
          shape_text(hidden));
}

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
                                const CrossEntropyOptions& options) {
  check(hidden, weight, target, options);
  // Half's range ends at 65,504, which logits may pass.
  const bool half = hidden.scalar_type() == at::kHalf;
  return std::get<0>(call_forward_of_loss(half ? hidden.to(at::kFloat) : hidden, half ? weight.to(at::kFloat) : weight,
                                          target, options.ignore_index, options.chunk, false, false));
}

}  // namespace linformer::ops
