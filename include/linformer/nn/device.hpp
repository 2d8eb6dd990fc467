// Devices, number formats and mixed precision.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

#include "linformer/config/train_config.hpp"

namespace linformer {

/// "cpu", "cuda" or "cuda:1". A CUDA device loads libtorch_cuda, which the program isn't linked with, from the folder
/// LibTorch is in. UserError: another name, no CUDA library, no such device.
at::Device parse_device(const std::string& name);

/// Multiply-adds a second of a small matrix product, as measured in a few milliseconds; for people to read, and for
/// estimates of time. `bfloat16` is measured on a tiny product only where it is far behind: some processors emulate it
/// at a five-hundredth of the speed.
struct ProductRates {
  double float32 = 0;
  double bfloat16 = 0;
};
ProductRates measure_products(at::Device device = at::kCPU);

std::string dtype_name(at::ScalarType dtype);

/// While it lives, matrix products of this thread run in `dtype` where that is bfloat16 (at::autocast); any other dtype
/// changes nothing.
class AutocastGuard {
 public:
  explicit AutocastGuard(at::ScalarType dtype, at::DeviceType device = at::kCPU);
  ~AutocastGuard();
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  at::DeviceType device_;
  bool active_;
  bool was_enabled_ = false;
  at::ScalarType was_dtype_ = at::kFloat;
};

/// While it lives, float32 products of this thread that need no gradients are made by this library; `automatic` is what
/// choose_products() takes (nn/automatic.hpp). UserError: `onednn` where LibTorch can't reach it.
class ProductGuard {
 public:
  explicit ProductGuard(ProductLibrary library);
  ~ProductGuard();
  ProductGuard(const ProductGuard&) = delete;
  ProductGuard& operator=(const ProductGuard&) = delete;

 private:
  ProductLibrary before_;
};

}  // namespace linformer
