// Shape letters: B batch, N query length, M key length, H heads, D head width.
#include "ops/fused.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/checks.hpp"

#include "linformer/core/format.hpp"

namespace linformer::ops::fused {

namespace {

// The engine's vectors have 16 numbers at most. With fewer keys than its vectors have, a row whose logits are NaN gives
// zeros.
constexpr std::int64_t fewest_keys = 16;
constexpr std::int64_t most_mask = std::int64_t{1} << 24;  // entries of a mask

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
  const auto count = query.size(2), past = key.size(2) - count;
  const auto attend = [&](const at::Tensor& rows, const std::optional<at::Tensor>& visible, bool causal) {
    return at::scaled_dot_product_attention(rows, key, value, visible, 0.0, causal, scale);
  };
  const bool masked = options.key_padding_mask.has_value();
  if (!masked && (!options.causal || past == 0)) return attend(signed_query, {}, options.causal);
  const auto present_B11M = masked ? options.key_padding_mask->logical_not().unsqueeze(1).unsqueeze(1) : at::Tensor();
  // The engine wants a mask in memory, for each row of queries. Some rows at a time keep it small, however long the
  // text.
  const auto most = std::max<std::int64_t>(most_mask / key.size(2), 1);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < count; first += most) {
    const auto rows = std::min(most, count - first);
    auto visible = present_B11M;
    if (options.causal) {
      visible = at::ones({rows, key.size(2)}, query.options().dtype(at::kBool)).tril(past + first);
      if (masked) visible = visible.logical_and(present_B11M);
    }
    auto part = signed_query.narrow(2, first, rows);
    if (!masked) {
      parts.push_back(attend(part, visible, false));
      continue;
    }
    // A row that sees nothing would be 0/0: let it see all, then set its output to zero.
    const auto blind = visible.any(-1, true).logical_not();
    parts.push_back(attend(part, visible.logical_or(blind), false).masked_fill(blind, 0.0));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 2);
}

}  // namespace linformer::ops::fused
