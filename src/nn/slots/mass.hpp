// Running slots that are means: sums of keys and values, and the mass by which they are divided. Shape letters:
// docs/maths.md.
#pragma once

#include <ATen/core/Tensor.h>

#include "linformer/ops/attention.hpp"

namespace linformer::nn {

/// A slot of less mass has taken in next to nothing, and is not seen.
constexpr double kLeastMass = 1e-6;

/// Sums (…,K,D) with a mass (…,K,1) as the softmax reads them: their means, with the mass as it is. Sums without one
/// stay as they are.
ops::Slots means_of(const ops::Slots& sums);

/// What the mass (…,K,1) adds to the logits of slots: log n (…,K); −∞ for a slot that is not seen. Undefined without a
/// mass.
at::Tensor log_mass(const at::Tensor& mass);

}  // namespace linformer::nn
