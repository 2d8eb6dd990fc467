// Shape letters: R rows (tokens), C rows of a chunk, V vocabulary, d width.
#include "linformer/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>

#include "kernels/cross_entropy.hpp"
#include "kernels/layer_norm.hpp"
#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/element.hpp"

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

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden_Rd,
                            const at::Tensor& weight_Vd, const at::Tensor& target_R, std::int64_t ignore_index,
                            std::int64_t chunk, bool hidden_gradient, bool weight_gradient) {
    const auto rows = hidden_Rd.size(0);
    const auto sum_options =
        hidden_Rd.options().dtype(is_short_float(hidden_Rd) ? at::kFloat : hidden_Rd.scalar_type());
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
      add_chunk(sums, hidden_Rd.narrow(0, first, count), weight_Vd, target_R.narrow(0, first, count), first,
                ignore_index, memory_CV);
    }
    if (weight_gradient) sums.grad_weight_Vd = sums.grad_weight_Vd.contiguous();
    context->save_for_backward({sums.grad_hidden_Rd, sums.grad_weight_Vd});
    return sums.loss / valid;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    require(!at::GradMode::is_enabled(),
            "linear_cross_entropy has no second derivative: its gradient is made in the forward pass. Call backward "
            "without create_graph, or take the engine's cross-entropy of hidden·weightᵀ, which has one");
    const auto saved = context->get_saved_variables();
    const auto& scale = gradients[0];
    // Backward usually starts at the loss. Then the gradient is 1, and a copy of V×d numbers is saved.
    const bool one = scale.is_cpu() && scale.item<double>() == 1;
    const auto scaled = [&](const at::Tensor& gradient, std::size_t input) {
      if (!context->needs_input_grad(input) || !gradient.defined()) return at::Tensor();
      return one ? gradient : gradient * scale.to(gradient.scalar_type());
    };
    return {scaled(saved[0], 0), scaled(saved[1], 1), {}, {}, {}, {}, {}};
  }
};

void check(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
           const CrossEntropyOptions& options) {
  require(hidden.dim() >= 1 && at::isFloatingType(hidden.scalar_type()),
          "hidden has shape {} and dtype {}; expected (…,d) of a floating-point dtype", shape_text(hidden),
          c10::toString(hidden.scalar_type()));
  require(weight.dim() == 2 && weight.size(1) == hidden.size(-1) && weight.size(0) > 0,
          "weight has shape {}; expected (V,d) = (V,{}), as hidden is {}", shape_text(weight), hidden.size(-1),
          shape_text(hidden));
  require(weight.scalar_type() == hidden.scalar_type(),
          "weight has dtype {} and hidden {}; expected the same: cast one of them", c10::toString(weight.scalar_type()),
          c10::toString(hidden.scalar_type()));
  require(target.scalar_type() == at::kLong, "target has dtype {}; expected int64",
          c10::toString(target.scalar_type()));
  require(target.sizes() == hidden.sizes().slice(0, hidden.dim() - 1),
          "target has shape {}; expected that of hidden without its last dimension, hidden is {}", shape_text(target),
          shape_text(hidden));
  require(options.chunk >= 0, "chunk is {}; expected 0 (chosen) or more rows", options.chunk);
}

void check_targets(const at::Tensor& target, std::int64_t vocabulary, std::int64_t ignore_index) {
  const auto wrong =
      target.masked_select(target.ne(ignore_index).logical_and(target.lt(0).logical_or(target.ge(vocabulary))));
  if (wrong.numel() == 0) return;
  fail("target holds {} value(s) outside the vocabulary, the first {}; expected 0 to {}, or ignore_index, {}",
       wrong.numel(), wrong[0].item<std::int64_t>(), vocabulary - 1, ignore_index);
}

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
                                const CrossEntropyOptions& options) {
  check(hidden, weight, target, options);
  check_targets(target, weight.size(0), options.ignore_index);
  // Half's range ends at 65,504, which logits may pass.
  if (hidden.scalar_type() == at::kHalf)
    return linear_cross_entropy(hidden.to(at::kFloat), weight.to(at::kFloat), target, options);
  const auto chunk = options.chunk > 0 ? options.chunk : choose_chunk(target.numel(), weight);
  // Inside forward() no tensor requires a gradient any more, so it is checked here.
  const bool graph = at::GradMode::is_enabled();
  return LinearCrossEntropy::apply(hidden.reshape({-1, hidden.size(-1)}), weight, target.reshape({-1}),
                                   options.ignore_index, chunk, graph && hidden.requires_grad(),
                                   graph && weight.requires_grad());
}

}  // namespace linformer::ops
