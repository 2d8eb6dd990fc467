#include "nn/slots/projected.hpp"

#include <cmath>

namespace linformer::nn {

std::pair<at::Tensor, at::Tensor> ProjectedSlots::projections(at::ScalarType dtype) const {
  if (!key_.is_same(value_)) return {key_.to(dtype), value_.to(dtype)};
  // A view collects the gradient of this layer before it is added to those of other layers. So the order of the sum,
  // and every bit of it, is the same when a layer is computed again (checkpoint.hpp).
  const auto both = key_.view_as(key_).to(dtype);
  return {both, both};
}

double ProjectedSlots::noise_of_means(std::int64_t weights) { return 0.02 / std::sqrt(static_cast<double>(weights)); }

}  // namespace linformer::nn
