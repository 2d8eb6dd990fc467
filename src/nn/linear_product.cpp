#include "nn/linear_product.hpp"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <c10/core/GradMode.h>

#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"

namespace linformer {

namespace nn {

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

thread_local ProductLibrary current_library = ProductLibrary::automatic;

ProductLibrary library_in_force() {
  if (current_library != ProductLibrary::automatic) return current_library;
  return automatic_products(this_processor(), onednn_available());
}

constexpr std::int64_t few_rows = 32;  // below, the weights are what is read, and the libraries are level

bool takes_onednn(const at::Tensor& x, const at::Tensor& weight) {
  const bool possible = !c10::GradMode::is_enabled() && x.is_cpu() && x.scalar_type() == at::kFloat &&
                        weight.scalar_type() == at::kFloat && x.dim() >= 2 && x.numel() >= few_rows * x.size(-1) &&
                        !at::autocast::is_autocast_enabled(at::kCPU);
  return possible && library_in_force() == ProductLibrary::onednn;
}

}  // namespace

bool onednn_available() { return onednn().has_value(); }

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  if (takes_onednn(x, weight)) return onednn_linear(x.contiguous(), weight, bias);
  return at::linear(x, weight, bias);
}

}  // namespace nn

ProductGuard::ProductGuard(ProductLibrary library) : before_(nn::current_library) {
  choose_products(library);
  nn::current_library = library;
}
ProductGuard::~ProductGuard() { nn::current_library = before_; }

}  // namespace linformer
