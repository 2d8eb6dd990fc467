// Window attention with running slots (maths 4) in one operator, which makes the slots where it attends. So a text's
// training needs no memory of all its blocks' slots. Shape letters: see ops/attention.hpp; here M rows of keys, G heads
// of keys, J blocks of keys.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "linformer/ops/attention.hpp"
#include "linformer/ops/layer_norm.hpp"

namespace linformer::ops {

/// What each block of keys does to the sums S and U when it leaves the window: S becomes decay ⊙ S + weights · keys,
/// and U the same with values.
struct SlotWrites {
  /// By position (K,P) or (G,K,P), where `first` says which column is that of the first row of keys; or of the text
  /// (B,G,K,M), where column m is that of row m.
  at::Tensor key_weights, value_weights;
  at::Tensor decay = {};    ///< (G,K) for every block, or (B,G,K,J) for each; undefined: 1
  std::int64_t first = 0;   ///< a multiple of W
  std::int64_t period = 0;  ///< by position: columns repeat after so many, a multiple of W; 0: they don't
};

/// A norm without a weight is none.
struct RunningNorms {
  LayerNorm slot_key = {}, slot_value = {};  ///< of sums, before the softmax sees them
  LayerNorm window_key = {}, window_value = {};
};

struct RunningOptions {
  std::int64_t window = 0;  ///< W
  /// Where in the text the first query stands, a multiple of W. From W on, key and value begin one block earlier, so
  /// M = N + W.
  std::int64_t first = 0;
  std::optional<Slots> before = std::nullopt;  ///< the sums (B,G,K,D) of what is before `key`; default: zeros
  RunningNorms norms = {};
  /// (B,G,M,D), the keys as the window sees them, for rotary positions; default: `key` with its norm
  std::optional<at::Tensor> window_key = std::nullopt;
  std::optional<at::Tensor> slot_bias = std::nullopt;   ///< as in AttendOptions
  std::optional<at::Tensor> slot_query = std::nullopt;  ///< as in AttendOptions
  std::optional<double> scale = std::nullopt;           ///< default 1/√D
  Path path = Path::automatic;
};

struct RunningResult {
  at::Tensor out;  ///< (B,H,N,D)
  Slots sums;      ///< (B,G,K,D) in float32 at least: those that the last block of queries saw
};

/// query (B,H,N,D), key and value (B,G,M,D), neither normed. Differentiable in all tensors, and in both results: a
/// text may be read in chunks, each with the sums of the one before, to which the block is added that the last block
/// of queries still saw in its window and the next one won't, where a new block begins. The kernel serves float32 and
/// bfloat16 on a CPU (parameters in float32 or the same dtype), with sums in float32; else tensor operations do, with
/// slots of all blocks in memory. UserError as attend().
RunningResult attend_running(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SlotWrites& writes, const RunningOptions& options);

/// The slots themselves, from tensor operations, which can be derived any number of times: (B,G,T,K,D) in float32 at
/// least, for each of T blocks of queries the sums that it sees. Without `before` the text begins with `key`, and the
/// first two entries are zero; with it `key` begins with the block before the first query's, which comes to `before`
/// in the second entry.
Slots running_sums(const at::Tensor& key, const at::Tensor& value, const SlotWrites& writes, std::int64_t window,
                   const std::optional<Slots>& before = std::nullopt);

/// Whether the kernel serves tensors like `query`, where none of them is traced.
bool running_kernel_serves(const at::Tensor& query);

}  // namespace linformer::ops
