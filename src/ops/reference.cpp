// Shape letters: B batch, N query length, M key length, H heads, D head width, K slots, P projection length,
// W window, r slots a block, G = r·ceil(N/W).
#include "linformer/ops/reference.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/ops/autocast.hpp"
#include "ops/checks.hpp"

namespace linformer::ops::reference {

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

/// Softmax over the columns that `visible` selects; a row that sees nothing is zero.
at::Tensor masked_softmax(const at::Tensor& logits, const at::Tensor& visible) {
  const auto blind = visible.any(-1, true).logical_not();
  return at::softmax(logits.masked_fill(visible.logical_or(blind).logical_not(), minus_infinity), -1)
      .masked_fill(blind, 0.0);
}

at::Tensor add_slot_bias(const at::Tensor& logits_BHNK, const std::optional<at::Tensor>& slot_bias) {
  return slot_bias ? logits_BHNK + slot_bias->to(logits_BHNK.scalar_type()).view({-1, 1, 1}) : logits_BHNK;
}

/// The last `count` positions before `end`.
at::Tensor last_positions(std::int64_t count, std::int64_t end, const at::Tensor& like) {
  return at::arange(end - count, end, like.options().dtype(at::kLong));
}

/// True where row i sees key j exactly: j ≤ i, in i's block or the one before (N×M).
at::Tensor visible_in_window(const at::Tensor& position_N, const at::Tensor& position_M, std::int64_t window) {
  const auto row = position_N.unsqueeze(1), column = position_M.unsqueeze(0);
  return row.floor_divide(window).sub(column.floor_divide(window)).le(1).logical_and(column.le(row));
}

/// Slots where blocks that `read` selects stand, zero elsewhere; by selection, for the others may be NaN.
/// read: (blocks) bool.
at::Tensor keep_read(const at::Tensor& slots, const at::Tensor& read) {
  if (slots.dim() == 5) return slots.masked_fill(read.logical_not().view({-1, 1, 1}), 0.0);
  const auto each = slots.size(2) / read.size(0);
  return slots.masked_fill(read.logical_not().repeat_interleave(each).unsqueeze(1), 0.0);
}

at::Tensor attend_window(const at::Tensor& query, const at::Tensor& near_key, const at::Tensor& near_value,
                         const Slots& slots, const AttendOptions& options) {
  // Sinks are columns before the window's.
  const auto sinks = options.sinks ? options.sinks->key.size(2) : 0;
  const auto behind_sinks = [&](const at::Tensor& sink, const at::Tensor& rows) {
    return at::cat({sink.to(rows.scalar_type()), rows}, 2);
  };
  const auto key = options.sinks ? behind_sinks(options.sinks->key, near_key) : near_key,
             value = options.sinks ? behind_sinks(options.sinks->value, near_value) : near_value;
  const auto slot_query = options.slot_query ? wide(*options.slot_query) : query;
  const auto length = query.size(2), window = options.window, first_block = options.first / window;
  const auto end = options.first + length, blocks = ceil_divide(end, window);
  const auto scale = scale_or_default(options.scale, query);
  const auto position_N = last_positions(length, end, query), block_N = position_N.floor_divide(window);
  const bool running = slots.key.dim() == 5;
  const auto block_numbers = at::arange(running ? first_block : 0, blocks, block_N.options());

  const auto read = running ? block_numbers.ge(2) : block_numbers.lt(blocks - 2);
  const auto slot_key = keep_read(slots.key, read), slot_value = keep_read(slots.value, read);
  at::Tensor slot_logits, slot_visible, slot_value_of_row;
  if (running) {
    // Row i has the K slots of its own block: (B,H,N,K,D).
    slot_logits = at::einsum("bhnd,bhnkd->bhnk", {slot_query, slot_key.index_select(2, block_N - first_block)}) * scale;
    if (options.slot_offset)
      slot_logits =
          slot_logits + options.slot_offset->to(slot_logits.scalar_type()).index_select(2, block_N - first_block);
    slot_visible = block_N.ge(2).unsqueeze(1).expand({length, slot_key.size(3)});
  } else {
    const auto block_of_slot = block_numbers.repeat_interleave(slot_key.size(2) / blocks);
    slot_logits = at::matmul(slot_query, slot_key.mT()) * scale;
    slot_visible = block_of_slot.unsqueeze(0).le(block_N.unsqueeze(1).sub(2));
  }
  const auto count = slot_logits.size(-1);
  const auto logits = at::cat({add_slot_bias(slot_logits, options.slot_bias), at::matmul(query, key.mT()) * scale}, -1);
  auto near = visible_in_window(position_N, last_positions(near_key.size(2), end, query), window);
  if (sinks > 0) near = at::cat({block_N.ge(2).unsqueeze(1).expand({length, sinks}), near}, 1);
  const auto weights = masked_softmax(logits, at::cat({slot_visible, near}, -1));
  const auto slot_weights = weights.narrow(-1, 0, count);
  const auto from_slots =
      running ? at::einsum("bhnk,bhnkd->bhnd", {slot_weights, slot_value.index_select(2, block_N - first_block)})
              : at::matmul(slot_weights, slot_value);
  return from_slots + at::matmul(weights.narrow(-1, count, key.size(2)), value);
}

/// E[:, first:first+count] x[first:first+count] of maths 1 and 4: (B,H,K,D). `column` is where E starts.
at::Tensor project_range(const at::Tensor& projection, const at::Tensor& x, std::int64_t first, std::int64_t count,
                         std::int64_t column) {
  return at::matmul(projection.narrow(-1, column, count), x.narrow(2, first, count));
}

/// Σ_b λ^{count−1−b} ⊙ E_b x_b over the first blocks, and λ^count ⊙ what was before.
at::Tensor decayed_sum(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t count,
                       const SummariseOptions& options, const at::Tensor& before) {
  const auto decay_HK1 = wide(*options.decay).unsqueeze(-1);
  auto sum = before.defined() ? before * decay_HK1.pow(count) : project_range(projection, x_BHMD, 0, 0, 0);
  for (std::int64_t block = 0; block < count; ++block) {
    const auto first = block * options.window;
    sum = sum + decay_HK1.pow(count - 1 - block) * project_range(projection, x_BHMD, first, options.window, first);
  }
  return sum;
}

at::Tensor project(const at::Tensor& projection, const at::Tensor& x_BHMD, const SummariseOptions& options,
                   const at::Tensor& before) {
  const auto length = x_BHMD.size(2), window = options.window;
  if (window == 0) {
    const auto x = options.key_padding_mask
                       ? x_BHMD.masked_fill(options.key_padding_mask->unsqueeze(1).unsqueeze(-1), 0.0)
                       : x_BHMD;
    return project_range(projection, x, 0, length, 0);
  }
  const auto blocks = ceil_divide(length, window);
  std::vector<at::Tensor> entries;
  if (options.block) {
    for (std::int64_t block = 0; block < blocks; ++block) {
      const auto first = block * window;
      entries.push_back(project_range(projection, x_BHMD, first, std::min(window, length - first), 0));
    }
    return at::cat(entries, 2);
  }
  // The block of a query sees the blocks up to the one before the one before. x begins one block earlier when there is
  // text before it.
  for (std::int64_t block = options.before ? 1 : 0; block < blocks; ++block) {
    const auto seen = std::max<std::int64_t>(block - 1, 0);
    entries.push_back(options.decay ? decayed_sum(projection, x_BHMD, seen, options, before)
                                    : project_range(projection, x_BHMD, 0, seen * window, 0));
    if (options.before && !options.decay) entries.back() = entries.back() + before;
  }
  return at::stack(entries, 2);
}

/// Σ_{s≤t} E[:, s] x_sᵀ for every t: (B,H,N,K,D). `before`: the sum before the first.
at::Tensor running_sums(const at::Tensor& projection, const at::Tensor& x_BHND, const at::Tensor& before) {
  const auto used = projection.narrow(-1, 0, x_BHND.size(2));
  const auto sums = at::einsum(used.dim() == 2 ? "kn,bhnd->bhnkd" : "hkn,bhnd->bhnkd", {used, x_BHND}).cumsum(2);
  return before.defined() ? sums + before.unsqueeze(2) : sums;
}

}  // namespace

at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options) {
  const AutocastOff autocast_off(query.device().type());
  const auto logits_BHNM = at::matmul(wide(query), wide(key).mT()) * scale_or_default(options.scale, query);
  auto visible = at::ones({query.size(2), key.size(2)}, query.options().dtype(at::kBool));
  if (options.causal) visible = visible.tril(key.size(2) - query.size(2));
  if (options.key_padding_mask)
    visible = visible.logical_and(options.key_padding_mask->logical_not().unsqueeze(1).unsqueeze(1));
  return at::matmul(masked_softmax(logits_BHNM, visible), wide(value)).to(query.scalar_type());
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options) {
  const AutocastOff autocast_off(query.device().type());
  const auto wide_query = wide(query);
  const auto as_query = [&](const at::Tensor& x) { return x.to(wide_query.scalar_type()); };
  const Slots wide_slots{as_query(slots.key), as_query(slots.value)};
  if (options.window > 0)
    return attend_window(wide_query, as_query(key), as_query(value), wide_slots, options).to(query.scalar_type());
  const auto logits_BHNK = at::matmul(wide_query, wide_slots.key.mT()) * scale_or_default(options.scale, query);
  return at::matmul(at::softmax(add_slot_bias(logits_BHNK, options.slot_bias), -1), wide_slots.value)
      .to(query.scalar_type());
}

at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options) {
  const AutocastOff autocast_off(query.device().type());
  const auto before = options.before.value_or(Slots{});
  const auto s_BHNKD = running_sums(wide(projection_key), wide(key), before.key),
             u_BHNKD = running_sums(wide(projection_value), wide(value), before.value);
  const auto logits_BHNK =
      at::einsum("bhnd,bhnkd->bhnk", {wide(query), s_BHNKD}) * scale_or_default(options.scale, query);
  return at::einsum("bhnk,bhnkd->bhnd", {at::softmax(logits_BHNK, -1), u_BHNKD}).to(query.scalar_type());
}

Slots summarise_linear(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                       const at::Tensor& projection_value, const SummariseOptions& options) {
  check_linear_summary(key, value, projection_key, projection_value, options);
  const AutocastOff autocast_off(key.device().type());
  const auto before = options.before.value_or(Slots{});
  return {project(wide(projection_key), wide(key), options, before.key),
          project(wide(projection_value), wide(value), options, before.value)};
}

}  // namespace linformer::ops::reference
