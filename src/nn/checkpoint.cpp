#include "nn/checkpoint.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "linformer/nn/device.hpp"

namespace linformer::nn {

namespace {

using Body = std::function<at::Tensor(const at::Tensor&)>;

// What must be the same when `body` runs again: the state of the generator and the autocast mode.
struct Circumstances {
  at::Tensor random_state;
  bool autocast;
  at::ScalarType autocast_dtype;
};

at::Generator generator_of(const at::Tensor& x) { return at::globalContext().defaultGenerator(x.device()); }

Circumstances circumstances_of(const at::Tensor& x) {
  const auto device = x.device().type();
  return {generator_of(x).get_state(), at::autocast::is_autocast_enabled(device),
          at::autocast::get_autocast_dtype(device)};
}

// While an object of this class exists, that state is restored. It is put back even when `body` throws.
class Reinstated {
 public:
  Reinstated(const at::Tensor& x, const Circumstances& then)
      : generator_(generator_of(x)), device_(x.device().type()), now_(circumstances_of(x)) {
    set(then);
  }
  ~Reinstated() { set(now_); }
  Reinstated(const Reinstated&) = delete;
  Reinstated& operator=(const Reinstated&) = delete;

 private:
  void set(const Circumstances& circumstances) {
    generator_.set_state(circumstances.random_state);
    at::autocast::set_autocast_enabled(device_, circumstances.autocast);
    at::autocast::set_autocast_dtype(device_, circumstances.autocast_dtype);
  }
  at::Generator generator_;
  at::DeviceType device_;
  Circumstances now_;
};

// Without a graph, a converted weight must not enter the autocast cache: a later use would find it there, without its
// gradient.
class CacheOff {
 public:
  CacheOff() : was_(at::autocast::is_autocast_cache_enabled()) { at::autocast::set_autocast_cache_enabled(false); }
  ~CacheOff() { at::autocast::set_autocast_cache_enabled(was_); }
  CacheOff(const CacheOff&) = delete;
  CacheOff& operator=(const CacheOff&) = delete;

 private:
  bool was_;
};

struct Saved : torch::CustomClassHolder {
  Body body;
  Circumstances circumstances;
};

at::Tensor rerun(const Saved& saved, const at::Tensor& x) {
  const Reinstated as_then(x, saved.circumstances);
  const CacheOff cache_off;
  const at::AutoGradMode with_graph(true);
  return saved.body(x);
}

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const c10::intrusive_ptr<Saved>& saved,
                            at::TensorList inputs) {
    saved->circumstances = circumstances_of(inputs[0]);
    context->saved_data["body"] = c10::IValue::make_capsule(saved);
    context->save_for_backward(inputs.vec());
    const CacheOff cache_off;
    const ProductGuard same_bits(ProductLibrary::libtorch);
    return saved->body(inputs[0]);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = c10::static_intrusive_pointer_cast<Saved>(context->saved_data["body"].toCapsule());
    const auto held = context->get_saved_variables();
    const auto x = held[0].detach().requires_grad_(held[0].requires_grad());
    torch::autograd::variable_list wanted;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (!held[i].requires_grad()) continue;
      wanted.push_back(i == 0 ? x : held[i]);
      places.push_back(i + 1);
    }
    const auto y = rerun(*saved, x);
    const auto found = torch::autograd::grad({y}, wanted, {gradients[0]}, std::nullopt, false, true);
    torch::autograd::variable_list results(held.size() + 1);  // the first belongs to `saved`
    for (std::size_t i = 0; i < places.size(); ++i) results[places[i]] = found[i];
    return results;
  }
};

}  // namespace

at::Tensor checkpointed(Body body, const at::Tensor& x, const std::vector<at::Tensor>& parameters) {
  auto saved = c10::make_intrusive<Saved>();
  saved->body = std::move(body);
  std::vector<at::Tensor> inputs{x};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  return Checkpoint::apply(saved, at::TensorList(inputs));
}

}  // namespace linformer::nn
