// Tensors as the numbers of inspect.jsonl.
#pragma once

#include <ATen/core/Tensor.h>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// Six significant digits: a map of thousands of numbers is for looking at.
double rounded(double value);
/// Nested lists, as many deep as the tensor has dimensions.
json to_json(const at::Tensor& values);
/// "rows", "columns" and "values" of a matrix.
void put_matrix(json& object, const at::Tensor& values_RC);
/// |E| of (…,K,N) with means of bins of positions as columns, and of slots as rows where there are more than 128.
at::Tensor projection_map(const at::Tensor& projection);

}  // namespace linformer
