// linformer::attend_forward and attend_backward, the operators that attend() is made of where the kernel runs, and
// where a call is traced. Arguments are checked by the callers where their sizes are known.
#pragma once

#include "linformer/ops/attention.hpp"

namespace linformer::ops {

/// attend() as an operator on a path that serves it: kernel, composed or reference.
at::Tensor attend_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                              const Slots& slots, const AttendOptions& options, Path path);

/// attend() from tensor operations, composed or as the reference; heads of keys are repeated.
at::Tensor attend_from_operations(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                  const Slots& slots, const AttendOptions& options, bool reference);

}  // namespace linformer::ops
