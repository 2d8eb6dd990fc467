// Shape letters: B batch, N query length, M key length, H heads, D head width, K slots, W window, C chunk, r
// slots a block, G = r·ceil(N/W); here also T blocks or chunks, X columns of one softmax.
#include "ops/composed.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "linformer/ops/autocast.hpp"
#include "ops/checks.hpp"

namespace linformer::ops::composed {

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

/// query·keyᵀ in float32 at least: rounded to eight bits, logits of some ten units would be off by hundredths.
at::Tensor logits_of(const at::Tensor& query, const at::Tensor& key) { return at::matmul(wide(query), wide(key).mT()); }

/// Softmax over the last dimension; the result has the dtype of the values that it will mix.
at::Tensor softmax_for(const at::Tensor& logits, const at::Tensor& values) {
  return at::softmax(logits, -1).to(values.scalar_type());
}

/// `x` with one zero more along `dim`, the inner one of a product, where that makes it even. The engine reads short
/// floats in pairs; of an odd row the last pair reaches into the next row, and a NaN there survives the zero it meets.
at::Tensor in_pairs(const at::Tensor& x, std::int64_t dim) {
  if (x.scalar_type() != at::kBFloat16 || x.size(dim) % 2 == 0) return x;
  return at::cat({x, at::zeros_like(x.narrow(dim, 0, 1))}, dim);
}

/// What rows of weights (…,M,X) mix from the values (…,X,D).
at::Tensor mix(const at::Tensor& weights, const at::Tensor& values) {
  return at::matmul(in_pairs(weights, -1), in_pairs(values, -2));
}

/// A zero on whose graph the tensors are, so that what a call doesn't read has the gradient 0 and not none.
/// Reads no element: they may be NaN.
at::Tensor unread_zero(const at::Tensor& like, std::initializer_list<at::Tensor> unread) {
  auto zero = at::zeros({}, like.options());
  for (const auto& tensor : unread) {
    if (tensor.defined() && tensor.requires_grad()) zero = zero + tensor.narrow(0, 0, 0).sum().to(like.scalar_type());
  }
  return zero;
}

/// The bias of each head (H) as what logits (B,H,…) take: (H,1,…,1).
at::Tensor bias_like(const at::Tensor& slot_bias, const at::Tensor& logits) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(logits.dim()) - 1, 1);
  sizes[0] = -1;
  return slot_bias.to(logits.options()).view(sizes);
}

at::Tensor attend_slots(const at::Tensor& query_BHND, const at::Tensor& key, const at::Tensor& value,
                        const Slots& slots, const AttendOptions& options) {
  const auto slot_key_BHKD = slots.key.to(query_BHND.scalar_type()) + unread_zero(query_BHND, {key, value});
  const auto slot_value_BHKD = slots.value.to(query_BHND.scalar_type());
  auto logits_BHNK = logits_of(wide(query_BHND) * scale_or_default(options.scale, query_BHND), slot_key_BHKD);
  if (options.slot_bias) logits_BHNK = logits_BHNK + bias_like(*options.slot_bias, logits_BHNK);
  return mix(softmax_for(logits_BHNK, slot_value_BHKD), slot_value_BHKD);
}

/// True where a row of a block doesn't see a column of [previous block, its own block]: (W,2W).
at::Tensor hidden_in_window(std::int64_t window, const at::Tensor& like) {
  return at::ones({window, 2 * window}, like.options().dtype(at::kBool)).triu(window + 1);
}

/// The rows of blocks 2… against their slots, all of which they see, and their window, with sinks before it.
struct Tail {
  at::Tensor query_BHTWD, slot_query_BHTWD;  // wide and scaled; the second undefined where slots are read by the first
  at::Tensor key_BHTXD, value_BHTXD;         // X = s + 2W

  /// Columns that all rows see, before the 2W of the window, and those with slots before.
  std::int64_t sinks() const { return key_BHTXD.size(3) - 2 * query_BHTWD.size(3); }
};

/// `slots` (B,H,T,K,D): those of each block. One product makes all logits of a block, since slots and window
/// stand side by side; two where each has a query of its own.
at::Tensor attend_running(const Tail& tail, const at::Tensor& slot_key, const at::Tensor& slot_value,
                          const std::optional<at::Tensor>& slot_bias, const at::Tensor& slot_offset_BHTK) {
  const auto window = tail.query_BHTWD.size(3), slots = slot_key.size(3);
  const auto value_BHTXD = at::cat({slot_value, tail.value_BHTXD}, 3);
  auto logits_BHTWX =
      tail.slot_query_BHTWD.defined()
          ? at::cat({logits_of(tail.slot_query_BHTWD, slot_key), logits_of(tail.query_BHTWD, tail.key_BHTXD)}, -1)
          : logits_of(tail.query_BHTWD, at::cat({slot_key, tail.key_BHTXD}, 3));
  if (slot_bias) {
    const auto bias_H11K = bias_like(*slot_bias, logits_BHTWX).expand({-1, 1, 1, slots});
    logits_BHTWX.add_(at::constant_pad_nd(bias_H11K, {0, tail.key_BHTXD.size(3)}));
  }
  if (slot_offset_BHTK.defined()) {
    const auto offset_BHT1K = slot_offset_BHTK.to(logits_BHTWX.scalar_type()).unsqueeze(3);
    logits_BHTWX.add_(at::constant_pad_nd(offset_BHT1K, {0, tail.key_BHTXD.size(3)}));
  }
  logits_BHTWX.masked_fill_(at::constant_pad_nd(hidden_in_window(window, logits_BHTWX), {slots + tail.sinks(), 0}),
                            minus_infinity);
  return mix(softmax_for(logits_BHTWX, value_BHTXD), value_BHTXD);
}

/// `slots` (B,H,G,D), r a block; row block t sees those of blocks 0..earlier+t.
at::Tensor attend_block(const Tail& tail, std::int64_t earlier, const at::Tensor& slot_key,
                        const at::Tensor& slot_value, const std::optional<at::Tensor>& slot_bias) {
  const auto& query = tail.query_BHTWD;
  const auto blocks = query.size(2), window = query.size(3), slots = slot_key.size(2);
  const auto& slot_query = tail.slot_query_BHTWD.defined() ? tail.slot_query_BHTWD : query;
  auto slot_logits =
      logits_of(slot_query.flatten(2, 3), slot_key).view({query.size(0), query.size(1), blocks, window, slots});
  if (slot_bias) slot_logits.add_(bias_like(*slot_bias, slot_logits));
  const auto later = at::ones({blocks, earlier + blocks}, slot_logits.options().dtype(at::kBool)).triu(earlier + 1);
  slot_logits.masked_fill_(later.repeat_interleave(slots / (earlier + blocks), 1).unsqueeze(1), minus_infinity);
  auto window_logits = logits_of(query, tail.key_BHTXD);
  window_logits.masked_fill_(at::constant_pad_nd(hidden_in_window(window, window_logits), {tail.sinks(), 0}),
                             minus_infinity);
  const auto weights = softmax_for(at::cat({slot_logits, window_logits}, -1), slot_value);
  const auto from_slots = mix(weights.narrow(-1, 0, slots).flatten(2, 3), slot_value).unflatten(2, {blocks, window});
  return from_slots + mix(weights.narrow(-1, slots, tail.key_BHTXD.size(3)), tail.value_BHTXD);
}

/// The rows of blocks 0 and 1 of the text, which see everything before them exactly and no slot: those of the last of
/// these keys. The engine's fused attention has no second derivative. `query` wide and scaled.
at::Tensor attend_head(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  auto logits = logits_of(query, key);
  const auto past = key.size(2) - query.size(2);
  const auto later = at::ones({query.size(2), key.size(2)}, logits.options().dtype(at::kBool)).triu(past + 1);
  logits.masked_fill_(later, minus_infinity);
  return mix(softmax_for(logits, value), value);
}

/// The block that begins at `start` and those after it, each beside the next: what the tail's blocks see exactly.
at::Tensor previous_and_own(const at::Tensor& x, std::int64_t start, std::int64_t blocks, std::int64_t window) {
  const auto all = to_blocks(x, start, blocks + 1, window);
  return at::cat({all.narrow(2, 0, blocks), all.narrow(2, 1, blocks)}, 3);
}

/// Each block's keys with the sinks (B,H,s,D) before them.
at::Tensor behind_sinks(const at::Tensor& sink, const at::Tensor& x_BHTXD) {
  const auto each = sink.to(x_BHTXD.scalar_type()).unsqueeze(2).expand({-1, -1, x_BHTXD.size(2), -1, -1});
  return at::cat({each, x_BHTXD}, 3);
}

at::Tensor attend_window(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                         const AttendOptions& options) {
  const auto window = options.window, length = query.size(2), past = key.size(2) - length;
  // The head is what is here of the text's blocks 0 and 1; the tail is the rest.
  const auto head = std::min(length, std::max<std::int64_t>(2 * window - options.first, 0));
  const auto tail_blocks = ceil_divide(length - head, window);
  const auto scale = scale_or_default(options.scale, query);
  const auto scaled = wide(query) * scale;
  const auto bias = options.slot_bias.value_or(at::Tensor()), slot_query = options.slot_query.value_or(at::Tensor()),
             offset = options.slot_offset.value_or(at::Tensor());
  const auto sinks = options.sinks.value_or(Slots{});
  const auto out_head =
      head > 0 ? attend_head(scaled.narrow(2, 0, head), key.narrow(2, 0, past + head), value.narrow(2, 0, past + head))
               : at::Tensor();
  if (tail_blocks == 0)
    return out_head + unread_zero(out_head, {slots.key, slots.value, bias, slot_query, sinks.key, sinks.value, offset});

  const auto before_tail = past + head - window;
  Tail tail{to_blocks(scaled, head, tail_blocks, window),
            slot_query.defined() ? to_blocks(wide(slot_query) * scale, head, tail_blocks, window) : at::Tensor(),
            previous_and_own(key, before_tail, tail_blocks, window),
            previous_and_own(value, before_tail, tail_blocks, window)};
  if (options.sinks) {
    tail.key_BHTXD = behind_sinks(sinks.key, tail.key_BHTXD);
    tail.value_BHTXD = behind_sinks(sinks.value, tail.value_BHTXD);
  }
  const bool running = slots.key.dim() == 5;
  // Only what some block sees: the tail's entries of running slots, all but the last two blocks' slots otherwise.
  const auto seen_blocks = (options.first + head) / window - 2 + tail_blocks;
  const auto visible = running ? tail_blocks : slots.key.size(2) / (seen_blocks + 2) * seen_blocks;
  const auto slot_key = slots.key.narrow(2, running ? head / window : 0, visible).to(query.scalar_type());
  const auto slot_value = slots.value.narrow(2, running ? head / window : 0, visible).to(query.scalar_type());
  const auto out_tail = running
                            ? attend_running(tail, slot_key, slot_value, options.slot_bias,
                                             offset.defined() ? offset.narrow(2, head / window, visible) : offset)
                            : attend_block(tail, seen_blocks - tail_blocks, slot_key, slot_value, options.slot_bias);
  const auto rows = out_tail.flatten(2, 3).narrow(2, 0, length - head);
  return head > 0 ? at::cat({out_head, rows}, 2) : rows;
}

/// Sums of what is before each chunk: x (B,H,T,C,D) → (B,H,T,K,D); the first entry is `start`, or zero without one.
at::Tensor sums_before(const at::Tensor& projection, const at::Tensor& x, const at::Tensor& start) {
  const auto before = x.size(2) - 1;
  const auto sums = project_blocks(projection.narrow(-2, 0, before), x.narrow(2, 0, before));
  const auto all = at::constant_pad_nd(exact_cumsum(sums, 2), {0, 0, 0, 0, 1, 0});
  return start.defined() ? all + start.unsqueeze(2).to(all.scalar_type()) : all;
}

/// The columns of E (K,P) or (H,K,P) that `length` positions use, zero-padded and cut into chunks: (K,T,C) or
/// (H,K,T,C).
at::Tensor chunked_projection(const at::Tensor& projection, std::int64_t length, std::int64_t chunks,
                              std::int64_t chunk) {
  auto used = projection.narrow(-1, 0, length);
  if (chunks * chunk > length) used = at::constant_pad_nd(used, {0, chunks * chunk - length});
  return used.unflatten(-1, {chunks, chunk});
}

/// tril(x) Eᵀ of each chunk: x (B,H,T,C,C) → (B,H,T,C,K).
at::Tensor times_projection_transposed(const at::Tensor& x, const at::Tensor& projection) {
  return at::einsum(projection.dim() == 3 ? "bhtcs,kts->bhtck" : "bhtcs,hkts->bhtck", {x, projection});
}

/// x E of each chunk: x (B,H,T,C,K) → (B,H,T,C,C).
at::Tensor times_projection(const at::Tensor& x, const at::Tensor& projection) {
  return at::einsum(projection.dim() == 3 ? "bhtck,kts->bhtcs" : "bhtck,hkts->bhtcs",
                    {in_pairs(x, -1), in_pairs(projection, -3)});
}

}  // namespace

at::Tensor to_blocks(const at::Tensor& x, std::int64_t start, std::int64_t blocks, std::int64_t size) {
  const auto rows = std::min(x.size(2) - start, blocks * size);
  auto part = x.narrow(2, start, rows);
  if (rows < blocks * size) part = at::constant_pad_nd(part, {0, 0, 0, blocks * size - rows});
  return part.unflatten(2, {blocks, size});
}

at::Tensor project_blocks(const at::Tensor& projection, const at::Tensor& x) {
  return at::einsum(projection.dim() == 3 ? "ktc,bhtcd->bhtkd" : "hktc,bhtcd->bhtkd", {projection, x});
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options) {
  const AutocastOff autocast_off(query.device().type());
  if (options.window == 0) return attend_slots(query, key, value, slots, options);
  return attend_window(query, key.to(query.scalar_type()), value.to(query.scalar_type()), slots, options);
}

at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options) {
  const AutocastOff autocast_off(query.device().type());
  const auto dtype = query.scalar_type();
  const auto length = query.size(2);
  const auto chunk = std::min(options.chunk > 0 ? options.chunk : std::int64_t{64}, length),
             chunks = ceil_divide(length, chunk);
  const auto query_BHTCD = to_blocks(wide(query) * scale_or_default(options.scale, query), 0, chunks, chunk);
  const auto key_BHTCD = to_blocks(key.to(dtype), 0, chunks, chunk);
  const auto value_BHTCD = to_blocks(value.to(dtype), 0, chunks, chunk);
  const auto e = chunked_projection(projection_key.to(dtype), length, chunks, chunk);
  const auto f = chunked_projection(projection_value.to(dtype), length, chunks, chunk);

  const auto before = options.before.value_or(Slots{});
  const auto own_BHTCC = logits_of(query_BHTCD, key_BHTCD).tril();
  const auto logits_BHTCK =
      logits_of(query_BHTCD, sums_before(e, key_BHTCD, before.key)) + times_projection_transposed(own_BHTCC, wide(e));
  const auto weights_BHTCK = softmax_for(logits_BHTCK, value_BHTCD);
  const auto out_BHTCD = mix(weights_BHTCK, sums_before(f, value_BHTCD, before.value)) +
                         mix(times_projection(weights_BHTCK, f).tril(), value_BHTCD);
  return out_BHTCD.flatten(2, 3).narrow(2, 0, length);
}

}  // namespace linformer::ops::composed
