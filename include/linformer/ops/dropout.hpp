// Dropout (Srivastava et al. 2014) whose mask depends on where a number stands, and on nothing else.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace linformer::ops {

/// Which mask. Two calls with equal places drop the same numbers, whatever was drawn before, on every processor and at
/// every number of threads. So a text that is read in chunks loses the same numbers as one that is read at once.
struct DropoutPlace {
  std::uint64_t seed = 0;
  std::int64_t site = 0;      ///< where in the model; below 65,536
  std::int64_t position = 0;  ///< of the first row of x in its text
};

/// x (B,N,h) → each number is zero with probability `share`, else x / (1 − share). Sequence b, position n and channel c
/// are the counter of Philox4x32-10 (Salmon et al. 2011), `seed` its key. The mask isn't kept for the backward pass,
/// but made again. NaN stays NaN. UserError unless x has three dimensions and 0 ≤ share < 1.
at::Tensor dropout(const at::Tensor& x_BNh, double share, const DropoutPlace& place);

}  // namespace linformer::ops
