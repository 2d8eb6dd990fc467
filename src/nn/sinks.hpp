// The first positions of a text, which a causal window keeps exact and in sight (Xiao et al. 2023, arXiv 2309.17453;
// maths 4). Shape letters: docs/maths.md; s sinks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "linformer/ops/attention.hpp"
#include "nn/attention.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

/// The first s keys and values of a text from its beginning, with zeros where it is shorter.
ops::Slots first_rows(std::int64_t sinks, const at::Tensor& key_BHMD, const at::Tensor& value_BHMD);

/// Writes keys and values of one token a sequence, (B,H,1,D) at `positions`, to (B,H,s,D) where they are sinks.
void keep_sinks(const Heads& heads, const std::vector<std::int64_t>& positions, const ops::Slots& sinks);

/// What slots are made of: zero rows in place of sinks, and their number.
SlotText without_sinks(std::int64_t sinks, SlotText text);

}  // namespace linformer::nn
