// The attend kernel on tensors, with its gradient. Arguments are checked by the callers.
#pragma once

#include <string>

#include "linformer/ops/attention.hpp"

namespace linformer::ops::kernel {

/// Why the kernel can't serve a case ("dtype Double; expected Float or BFloat16"), or nothing where it can.
std::string unserved(const at::Tensor& query, const Slots& slots, const AttendOptions& options);

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options);

}  // namespace linformer::ops::kernel
