#include "ops/operator_node.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "linformer/core/error.hpp"

namespace linformer::ops {

namespace {

/// A node of autograd's graph. Written out, since torch::autograd::Function refuses to work under torch.func.
class OperatorNode final : public torch::autograd::Node {
 public:
  OperatorNode(const char* name, const Tensors& inputs, Gradient gradient)
      : Node(torch::autograd::collect_next_edges(at::TensorList(inputs))),
        name_(name),
        gradient_(std::move(gradient)),
        inputs_(save(inputs, false)) {}

  void save_outputs(const Tensors& outputs, std::size_t differentiable, std::size_t saved) {
    Tensors kept(outputs.begin(), outputs.begin() + static_cast<std::ptrdiff_t>(differentiable));
    for (auto i = saved; i < differentiable; ++i) kept[i] = at::Tensor();
    outputs_ = save(kept, true);
    for (auto i = differentiable; i < outputs.size(); ++i) outputs_.emplace_back(outputs[i], false);
  }

  std::string name() const override { return name_; }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (auto* all : {&inputs_, &outputs_}) {
      for (auto& saved : *all) saved.reset_data();
    }
    gradient_ = nullptr;  // with what it holds; without the saved inputs it is not called again
  }

  Tensors apply(Tensors&& grad_outputs) override {
    const std::lock_guard lock(mutex_);
    if (std::none_of(grad_outputs.begin(), grad_outputs.end(), [](const auto& x) { return x.defined(); }))
      return Tensors(inputs_.size());
    SavedCall call;
    for (const auto& saved : inputs_) call.inputs.push_back(saved.unpack());
    for (const auto& saved : outputs_) call.outputs.push_back(saved.unpack(getptr()));
    for (std::size_t i = 0; i < inputs_.size(); ++i) call.wanted.push_back(task_should_compute_output(i));
    return gradient_(call, grad_outputs);
  }

 private:
  static std::vector<torch::autograd::SavedVariable> save(const Tensors& tensors, bool outputs) {
    std::vector<torch::autograd::SavedVariable> saved;
    saved.reserve(tensors.size());
    for (const auto& tensor : tensors) saved.emplace_back(tensor, outputs);
    return saved;
  }

  const char* name_;
  Gradient gradient_;
  std::vector<torch::autograd::SavedVariable> inputs_, outputs_;
};

bool is_real(const at::Tensor& x) { return x.defined() && at::isFloatingType(x.scalar_type()); }

/// The inputs as variables of a graph of their own, whose edges lead to the inputs. So none is found through another
/// one that was made of it.
Tensors aliases(const Tensors& tensors) {
  Tensors made;
  for (const auto& x : tensors) {
    if (!is_real(x)) {
      made.push_back(x);
    } else {
      made.push_back(x.requires_grad() ? x.view_as(x) : x.detach().requires_grad_());
    }
  }
  return made;
}

Tensors those_of(const Tensors& all, const std::vector<std::size_t>& which) {
  Tensors chosen;
  for (const auto i : which) chosen.push_back(all[i]);
  return chosen;
}

/// Drops outputs that don't depend on a variable, with their gradients.
std::pair<Tensors, Tensors> with_graph(const Tensors& outputs, const Tensors& gradients) {
  std::pair<Tensors, Tensors> kept;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined() || !outputs[i].requires_grad() || !gradients[i].defined()) continue;
    kept.first.push_back(outputs[i]);
    kept.second.push_back(gradients[i]);
  }
  return kept;
}

}  // namespace

AutogradOn::AutogradOn()
    : keys_(c10::impl::tls_local_dispatch_key_set().included_,
            c10::impl::tls_local_dispatch_key_set().excluded_ - c10::autograd_dispatch_keyset_with_ADInplaceOrView) {}

bool is_traced(std::initializer_list<at::Tensor> tensors) {
  using c10::DispatchKey;
  if (c10::impl::TorchDispatchModeTLS::any_modes_set()) return true;
  const auto included = c10::impl::tls_local_dispatch_key_set().included_;
  if (included.has_any(c10::DispatchKeySet(
          {DispatchKey::FuncTorchDynamicLayerFrontMode, DispatchKey::FuncTorchDynamicLayerBackMode})))
    return true;
  constexpr c10::DispatchKeySet wrapped({DispatchKey::Python, DispatchKey::Functionalize, DispatchKey::FuncTorchBatched,
                                         DispatchKey::FuncTorchGradWrapper});
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const at::Tensor& x) { return x.defined() && x.key_set().has_any(wrapped); });
}

bool sizes_are_known(std::initializer_list<at::Tensor> tensors) {
  return std::none_of(tensors.begin(), tensors.end(), [](const at::Tensor& x) {
    return x.defined() && x.unsafeGetTensorImpl()->has_symbolic_sizes_strides();
  });
}

at::Tensor as_autocast(const at::Tensor& x) {
  if (!x.defined()) return x;
  const auto device = x.device().type();
  if (!at::autocast::is_autocast_available(device) || !at::autocast::is_autocast_enabled(device)) return x;
  return is_real(x) && x.scalar_type() != at::kDouble ? x.to(at::autocast::get_autocast_dtype(device)) : x;
}

Tensors with_gradient(const char* name, const Tensors& inputs, std::size_t differentiable,
                      const std::function<Tensors()>& forward, Gradient gradient, std::size_t saved) {
  require(!torch::autograd::isFwGradDefinedTensorList(at::ITensorListRef(inputs)),
          "{} has no forward-mode derivative (torch.func.jvp, jacfwd); take reverse mode, or path = composed", name);
  c10::intrusive_ptr<OperatorNode> node;
  if (torch::autograd::compute_requires_grad(at::TensorList(inputs)))
    node = c10::make_intrusive<OperatorNode>(name, inputs, std::move(gradient));
  Tensors outputs;
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    outputs = forward();
  }
  if (!node) return outputs;
  for (std::size_t i = 0; i < differentiable; ++i) torch::autograd::set_history(outputs[i], node);
  node->save_outputs(outputs, differentiable, saved);
  return outputs;
}

Tensors gradients_of(const Composite& composite, const Tensors& inputs, const Tensors& grad_outputs) {
  const AutogradOn autograd_on;
  Tensors leaves, wanted;
  for (const auto& x : inputs) {
    leaves.push_back(is_real(x) ? x.detach().requires_grad_() : x);
    if (is_real(x)) wanted.push_back(leaves.back());
  }
  const auto [outputs, gradients] = with_graph(composite(leaves), grad_outputs);
  auto found = torch::autograd::grad(outputs, wanted, gradients, std::nullopt, false, true);
  Tensors results;
  std::size_t next = 0;
  for (const auto& x : inputs) {
    if (!is_real(x)) {
      results.push_back(nothing_like(grad_outputs.front()));
      continue;
    }
    const auto& gradient = found[next++];
    // A result of its own: an operator may not return what it was given.
    results.push_back(gradient.defined() ? gradient.clone(at::MemoryFormat::Contiguous)
                                         : at::zeros(x.sizes(), x.options()));
  }
  return results;
}

Tensors derivable_gradients(const Composite& composite, const Tensors& inputs, const Tensors& grad_outputs) {
  Tensors own, wanted;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool real = inputs[i].defined() && inputs[i].requires_grad();
    own.push_back(real ? inputs[i].view_as(inputs[i]) : inputs[i]);
    if (real) wanted.push_back(own.back()), places.push_back(i);
  }
  Tensors results(inputs.size());
  const auto [outputs, gradients] = with_graph(composite(own), grad_outputs);
  const auto found = torch::autograd::grad(outputs, wanted, gradients, true, true, true);
  for (std::size_t i = 0; i < places.size(); ++i) results[places[i]] = found[i];
  return results;
}

Tensors second_gradients(const Composite& composite, std::size_t grad_count, const SavedCall& call,
                         const Tensors& grad_gradients) {
  const bool again = at::GradMode::is_enabled();
  const at::AutoGradMode graph(true);
  const auto all = aliases(call.inputs);
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(grad_count);
  const Tensors grad_outputs(all.begin(), middle), inputs(middle, all.end());
  std::vector<std::size_t> asked, wanted;  // of inputs; of all
  Tensors grads_of_asked;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!is_real(inputs[i]) || !grad_gradients[i].defined()) continue;
    asked.push_back(i);
    grads_of_asked.push_back(grad_gradients[i]);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (call.wanted[i] && is_real(all[i])) wanted.push_back(i);
  }
  Tensors results(all.size());
  const auto [outputs, gradients] = with_graph(composite(inputs), grad_outputs);
  const auto firsts = torch::autograd::grad(outputs, those_of(inputs, asked), gradients, std::nullopt, true, true);
  const auto [first, second] = with_graph(firsts, grads_of_asked);
  if (first.empty()) return results;
  const auto found = torch::autograd::grad(first, those_of(all, wanted), second, again, again, true);
  for (std::size_t i = 0; i < wanted.size(); ++i) results[wanted[i]] = found[i];
  return results;
}

at::Tensor nothing_like(const at::Tensor& x) { return at::empty({0}, x.options()); }

}  // namespace linformer::ops
