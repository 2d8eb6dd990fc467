#include "nn/linear_product.hpp"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>

namespace linformer::nn {

namespace {

using Bias = std::optional<at::Tensor>;
using OneDnnLinear = at::Tensor(const at::Tensor&, const at::Tensor&, const Bias&, std::string_view,
                                c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

// PyTorch's own operator for compiled models, which reaches oneDNN with float32. Where it is missing, or of another
// version's signature, MKL serves.
std::optional<c10::TypedOperatorHandle<OneDnnLinear>> find_onednn() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  try {
    return found->typed<OneDnnLinear>();
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

const std::optional<c10::TypedOperatorHandle<OneDnnLinear>>& onednn() {
  static const auto found = find_onednn();
  return found;
}

at::Tensor onednn_linear(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  return onednn()->call(x, weight, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

template <class Product>
double best_seconds(const Product& product) {
  double best = 1e9;
  for (int repeat = 0; repeat < 4; ++repeat) {  // the first one pays for set-up
    const auto start = std::chrono::steady_clock::now();
    product();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

bool onednn_is_faster() {
  static const bool faster = [] {
    if (!onednn()) return false;
    const c10::InferenceMode guard;
    const auto x = at::ones({512, 384}, at::kFloat), weight = at::ones({384, 384}, at::kFloat);
    return 1.3 * best_seconds([&] { onednn_linear(x, weight, std::nullopt); }) <
           best_seconds([&] { at::linear(x, weight); });
  }();
  return faster;
}

thread_local ProductLibrary forced = ProductLibrary::measured;

constexpr std::int64_t few_rows = 32;  // below, the weights are what is read, and the libraries are level

bool takes_onednn(const at::Tensor& x, const at::Tensor& weight) {
  const bool possible = !c10::GradMode::is_enabled() && x.is_cpu() && x.scalar_type() == at::kFloat &&
                        weight.scalar_type() == at::kFloat && x.dim() >= 2 &&
                        !at::autocast::is_autocast_enabled(at::kCPU);
  if (!possible || forced != ProductLibrary::measured) return possible && forced == ProductLibrary::onednn;
  return x.numel() >= few_rows * x.size(-1) && onednn_is_faster();
}

}  // namespace

bool onednn_available() { return onednn().has_value(); }

ForcedProduct::ForcedProduct(ProductLibrary library) : before_(forced) { forced = library; }
ForcedProduct::~ForcedProduct() { forced = before_; }

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  if (takes_onednn(x, weight)) return onednn_linear(x.contiguous(), weight, bias);
  return at::linear(x, weight, bias);
}

}  // namespace linformer::nn
