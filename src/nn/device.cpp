#include "linformer/nn/device.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"

namespace linformer {

namespace {

// The CUDA wheel's library registers its kernels when it is loaded. It must come before LibTorch is first asked about
// CUDA, because LibTorch remembers that answer.
void load_cuda(const std::string& name) {
  static const bool loaded = [] {
    Dl_info info{};
    std::filesystem::path folder;
    if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &info) != 0 && info.dli_fname != nullptr) {
      folder = std::filesystem::path(info.dli_fname).parent_path();
    }
    return dlopen((folder / "libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr ||
           dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
  }();
  require(loaded,
          "device '{}': this LibTorch has no CUDA library (libtorch_cuda.so). Use --device cpu, or build with "
          "TORCH_DIR= naming a "
          "CUDA build of PyTorch.",
          name);
  require(at::globalContext().hasCUDA(),
          "device '{}': LibTorch finds no CUDA device. Check the driver (nvidia-smi), or use --device cpu.", name);
}

// The best of a few products of two n×n matrices, in multiply-adds a second.
double product_rate(std::int64_t n, at::ScalarType dtype, at::Device device) {
  const auto a = at::ones({n, n}, at::TensorOptions().dtype(dtype).device(device));
  auto out = at::empty_like(a);
  double best = 0;
  for (int repeat = 0; repeat < 4; ++repeat) {  // the first one pays for set-up
    const auto start = std::chrono::steady_clock::now();
    at::mm_out(out, a, a);
    if (!device.is_cpu()) out.select(0, 0).select(0, 0).item();  // waits for the device
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds.count());
    if (seconds.count() > 2e-3 && repeat > 0) break;
  }
  return best;
}

}  // namespace

at::Device parse_device(const std::string& name) {
  const bool cuda =
      name == "cuda" || (name.starts_with("cuda:") && name.size() > 5 && name.size() < 8 &&
                         std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; }));
  require(name == "cpu" || cuda, "device '{}': expected cpu, cuda or cuda:NUMBER.", excerpt(name));
  if (!cuda) return at::kCPU;
  load_cuda(name);
  const at::Device device(name);
  const auto count = at::detail::getCUDAHooks().deviceCount();
  require(device.index() < count, "device '{}': there are {} CUDA devices, numbered from 0.", name, count);
  return device;
}

ProductRates measure_products(at::Device device) {
  const c10::InferenceMode guard;
  ProductRates rates;
  // Where nothing multiplies bfloat16 in hardware, a product of 256 takes seconds. The small one is no measure of a
  // good one either: setting it up takes longer than it does.
  for (const std::int64_t n : {128, 256, 1024}) {
    rates.bfloat16 = product_rate(n, at::kBFloat16, device);
    rates.float32 = product_rate(n, at::kFloat, device);
    if (rates.bfloat16 * 8 < rates.float32) break;
  }
  return rates;
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(dtype);
  }
}

AutocastGuard::AutocastGuard(at::ScalarType dtype, at::DeviceType device)
    : device_(device), active_(dtype == at::kBFloat16) {
  if (!active_) return;
  was_enabled_ = at::autocast::is_autocast_enabled(device_);
  was_dtype_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, dtype);
  at::autocast::increment_nesting();
}

AutocastGuard::~AutocastGuard() {
  if (!active_) return;
  // The cache of converted weights must not outlive the guard: the optimiser changes the weights.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_enabled_);
  at::autocast::set_autocast_dtype(device_, was_dtype_);
}

}  // namespace linformer
