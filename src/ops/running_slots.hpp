// Sums of projected blocks for running slots (maths 4), laid out as keys and values are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace linformer::ops {

/// Slots (B,H,T,K,D) of x (B,H,M,D), T = ceil(M/W). Entry t holds the sum of E x over blocks 0..t−2; entries 0 and 1
/// are zero. The projection E is (K,P) or (H,K,P), with P ≥ (T−2)W. In memory the result is in the order (B,T,K,H,D),
/// and x is read without a copy if it has the layout of a linear layer's result, (B,M,H,D).
/// With `before` (B,H,K,D), the sum of a text before, x begins with the block before the first query's: there are T−1
/// entries, and entry t holds before + the sum over blocks 0..t−1.
/// With `decay` λ (H,K), the sum of entry t is λ ⊙ that of entry t−1, plus the block that comes to it.
at::Tensor running_slots(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t window,
                         const at::Tensor& before = {}, const at::Tensor& decay = {});

}  // namespace linformer::ops
