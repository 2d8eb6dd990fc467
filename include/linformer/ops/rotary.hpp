// Rotary positions (Su et al. 2021, arXiv 2104.09864, equation 34): queries and keys are turned, so that their product
// depends on the distance of their positions alone.
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

/// The turns of positions (…), an int64 tensor: (…,D), in float32 on its device. Pair i turns by position·base^(−2i/D)
/// radians, computed in float64: the cosines of the D/2 angles, then their sines. D is even.
at::Tensor rotary_turns(const at::Tensor& positions, std::int64_t head_width, double base);

/// x (B,H,N,D), of which the numbers i and i + D/2 of each row are a pair, as in Llama's models. turns (N,D), or
/// (B,N,D) where sequences stand at different positions. The result has x's dtype; arithmetic is in float32 at least.
/// On a CPU, float32 and bfloat16 need one pass over memory. UserError for shapes that don't fit together.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& turns);

}  // namespace linformer::ops
