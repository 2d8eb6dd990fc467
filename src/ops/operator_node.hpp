// What every operator of PyTorch's dispatcher here shares: its place on autograd's graph, and the derivatives of
// derivatives.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <functional>
#include <initializer_list>
#include <vector>

namespace linformer::ops {

using Tensors = std::vector<at::Tensor>;

/// Whether a call is traced (torch.compile, torch.export, fake tensors) or transformed (torch.func). Then it has to be
/// made of registered operators, whose implementations run later, with numbers.
bool is_traced(std::initializer_list<at::Tensor> tensors);

/// False where a size is a symbol, as in a graph that serves every length: it can't be checked before the graph runs.
bool sizes_are_known(std::initializer_list<at::Tensor> tensors);

/// In the dtype that autocast has for products, where it is on; not for float64, as PyTorch does it.
at::Tensor as_autocast(const at::Tensor& x);

/// A call that ran: its differentiable inputs, then its outputs. The gradient has one entry for each input, undefined
/// where none is `wanted` or there is none. `grad_outputs` may be undefined, but not all.
struct SavedCall {
  Tensors inputs, outputs;
  std::vector<bool> wanted;
};
using Gradient = std::function<Tensors(const SavedCall& call, const Tensors& grad_outputs)>;

/// Runs `forward` below autograd, and puts its first `differentiable` outputs on the graph where an input requires it.
/// `name` is what PyTorch shows as grad_fn. Inputs may be undefined. Differentiable outputs from `saved` on are not
/// kept for the gradient, to which they are undefined.
Tensors with_gradient(const char* name, const Tensors& inputs, std::size_t differentiable,
                      const std::function<Tensors()>& forward, Gradient gradient,
                      std::size_t saved = static_cast<std::size_t>(-1));

/// The same function from operations that autograd knows. Inputs may be undefined.
using Composite = std::function<Tensors(const Tensors& inputs)>;

/// While this lives, operations are put on autograd's graph, in an implementation that runs below it too.
class AutogradOn {
 public:
  AutogradOn();

 private:
  c10::impl::ForceDispatchKeyGuard keys_;
  at::AutoGradMode mode_{true};
};

/// Gradients of a composite's inputs, of their sizes and contiguous; empty (0) of inputs that are undefined or not
/// floating-point. For implementations of operators, where autograd is off.
Tensors gradients_of(const Composite& composite, const Tensors& inputs, const Tensors& grad_outputs);

/// Gradients of a composite's inputs that can be derived again: for the backward pass of a node while grad mode is on.
/// Undefined of inputs that require none.
Tensors derivable_gradients(const Composite& composite, const Tensors& inputs, const Tensors& grad_outputs);

/// The call of a gradient: inputs are the output gradients (`grad_count` of them), then the composite's inputs; its own
/// outputs are the gradients of the latter. Differentiable again where grad mode is on.
Tensors second_gradients(const Composite& composite, std::size_t grad_count, const SavedCall& call,
                         const Tensors& grad_gradients);

/// A registered operator by its name, to be called without a search.
template <class Signature>
c10::TypedOperatorHandle<Signature> operator_named(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

/// What stands for an optional tensor, in both directions.
inline at::Tensor or_undefined(const std::optional<at::Tensor>& x) { return x.value_or(at::Tensor()); }
inline std::optional<at::Tensor> or_none(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

/// What an operator returns where there is nothing: schemas have no optional results.
at::Tensor nothing_like(const at::Tensor& x);
/// Undefined instead of that.
inline at::Tensor unless_nothing(const at::Tensor& x) { return x.dim() == 1 && x.sym_size(0) == 0 ? at::Tensor() : x; }

}  // namespace linformer::ops
