#include "nn/slots/mass.hpp"

#include <ATen/ATen.h>

#include <limits>

namespace linformer::nn {

ops::Slots means_of(const ops::Slots& sums) {
  if (!sums.mass.defined()) return sums;
  const auto divisor = sums.mass.clamp_min(kLeastMass);  // NaN stays NaN
  return {sums.key / divisor, sums.value / divisor, sums.mass};
}

at::Tensor log_mass(const at::Tensor& mass) {
  if (!mass.defined()) return mass;
  // By selection: so the gradient of a slot that is not seen is zero.
  const auto unseen = mass.lt(kLeastMass);
  return mass.masked_fill(unseen, 1.0).log().masked_fill(unseen, -std::numeric_limits<double>::infinity()).squeeze(-1);
}

}  // namespace linformer::nn
