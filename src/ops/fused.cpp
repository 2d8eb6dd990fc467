// Shape letters: B batch, N query length, M key length, H heads, D head width.
#include "ops/fused.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "ops/checks.hpp"

#include "linformer/core/format.hpp"

namespace linformer::ops::fused {

namespace {

// The engine's vectors have 16 numbers at most. With fewer keys than its vectors have, a row whose logits are NaN gives
// zeros.
constexpr std::int64_t fewest_keys = 16;

}  // namespace

std::string unserved(const at::Tensor& key) {
  if (key.size(2) >= fewest_keys) return {};
  return formatted("{} keys; expected {} or more", key.size(2), fewest_keys);
}

at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options) {
  // The engine multiplies its −∞ of hidden keys by the scale too: one below or at 0 would make them +∞ or NaN.
  const auto given = scale_or_default(options.scale, query), scale = given == 0 ? 1.0 : std::abs(given);
  const auto signed_query = given > 0 ? query : given < 0 ? query.neg() : query * 0.0;
  const auto attend = [&](const std::optional<at::Tensor>& visible, bool causal) {
    return at::scaled_dot_product_attention(signed_query, key, value, visible, 0.0, causal, scale);
  };
  if (!options.key_padding_mask) return attend({}, options.causal);
  auto visible = options.key_padding_mask->logical_not().unsqueeze(1).unsqueeze(1);  // (B,1,1,M)
  if (options.causal) visible = visible.logical_and(at::ones({query.size(2), key.size(2)}, visible.options()).tril());
  // A row that sees nothing would be 0/0: let it see all, then set its output to zero.
  const auto blind = visible.any(-1, true).logical_not();
  return attend(visible.logical_or(blind), false).masked_fill(blind, 0.0);
}

}  // namespace linformer::ops::fused
