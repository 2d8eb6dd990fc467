// Sums of projected blocks for running slots (maths 4), laid out as keys and values are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace linformer::ops {

/// Slots (B,H,T,K,D) of x (B,H,M,D), T = ceil(M/W): entry t holds the sum of E x over blocks 0..t−2, entries 0 and 1
/// are zero. Projection E (K,P) or (H,K,P), P ≥ (T−2)W. Memory is in the order (B,T,K,H,D), so that x as a linear layer
/// leaves it, (B,M,H,D), is read where it lies.
at::Tensor running_slots(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t window);

}  // namespace linformer::ops
