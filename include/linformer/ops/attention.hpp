// Differentiable attention. Shape letters: B batch, N query length, M key length, H heads, D head width, K slots, P
// projection length, W window, C chunk, r slots per block, G = r·ceil(N/W). The forms are defined in docs/maths.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace linformer::ops {

/// Which implementation runs. `automatic` takes the fastest one that can compute the case. UserError when a chosen path
/// can't compute it. `composed` and `reference` compute every case. All have second derivatives. `fused` is the
/// engine's own attention, which only softmax_attention has. On every path NaN stays NaN, and logits and their softmax
/// are in float32 at least. Float16 ends at 65,504: every path but `fused` computes it in float32.
enum class Path { automatic, reference, composed, kernel, fused };
/// "auto", "reference", "composed", "kernel" or "fused".
std::string_view path_name(Path path);
/// The path with this name, as PyTorch's operators take it: every path but `fused`. Anything else is a UserError.
Path parse_path(std::string_view name);
/// The path that this thread's last operator call took. For `--verbose`, tests and benchmarks.
Path last_path();

/// (B,G,…) → (B,H,…): each head H/G times in a row. Operators take keys, values and slots of G heads with queries of H
/// heads where G divides H (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245): query head h sees head
/// h·G/H. UserError when G doesn't divide H.
at::Tensor repeat_heads(const at::Tensor& x, std::int64_t heads);

struct SoftmaxOptions {
  bool causal = false;                                        ///< needs N ≤ M: the queries are those of the last N keys
  std::optional<at::Tensor> key_padding_mask = std::nullopt;  ///< (B,M) bool, true = padding
  std::optional<double> scale = std::nullopt;                 ///< default 1/√D
  Path path = Path::automatic;
};
/// softmax(QKᵀ·scale)V (maths 5). query (B,H,N,D), key and value (B,H,M,D). A row that sees nothing is zero.
at::Tensor softmax_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const SoftmaxOptions& options);

/// Keys and values of slots (maths 4a): (B,H,K,D) bidirectional, (B,H,G,D) block, (B,H,ceil(N/W),K,D) running. With a
/// window there may be no slots: (B,H,0,D). The sums of a state (PrefixOptions, SummariseOptions) are (B,H,K,D).
struct Slots {
  at::Tensor key, value;
  /// Only of the sums of a state that are read as means: what they are divided by, (B,H,K,1). attend() takes none.
  at::Tensor mass = {};
};

struct AttendOptions {
  bool causal = false;
  std::int64_t window = 0;  ///< W; 0 = slots only
  /// Where in the text the first query stands, a multiple of W. From W on, key and value begin one block earlier, so
  /// M = N + W; and block slots are those of the whole text so far, G = r·(first/W + ceil(N/W)).
  std::int64_t first = 0;
  std::optional<at::Tensor> slot_bias = std::nullopt;  ///< (H), in float32 at least: it is not rounded
  /// (B,H,N,D), by which the slots are read; default: `query`. Only with a window, for rotary positions (Su et al.
  /// 2021, arXiv 2104.09864): the window sees query and key rotated, while a slot is a sum over many positions.
  std::optional<at::Tensor> slot_query = std::nullopt;
  /// (B,H,s,D), s ≥ 1: keys and values that every query from block 2 of the text on sees beside its window, by `query`
  /// and without slot_bias (Xiao et al. 2023, arXiv 2309.17453). Only with a window.
  std::optional<Slots> sinks = std::nullopt;
  /// (B,H,ceil(N/W),K) with running slots, in float32 at least: what is added to the logits of each slot. −∞: it is not
  /// seen; its key and value must be finite.
  std::optional<at::Tensor> slot_offset = std::nullopt;
  std::optional<double> scale = std::nullopt;
  Path path = Path::automatic;
};
/// One softmax over the window (if there is one) and the visible slots (maths 4a).
/// query, key and value are (B,H,N,D), and so is the result; see `first` for a text that goes on. UserError for shapes
/// and dtypes that don't fit together.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options);

/// Causal `prefix` attention, computed in chunks (maths 3). Projections are (K,P) or (H,K,P).
struct PrefixOptions {
  std::int64_t chunk = 0;                      ///< C, positions per chunk; 0 = chosen automatically
  std::optional<Slots> before = std::nullopt;  ///< the sums S and U of the text before; the projections go on after it
  std::optional<double> scale = std::nullopt;
  Path path = Path::automatic;
};
/// query, key and value are (B,H,N,D) with N ≤ P, and so is the result. UserError as attend().
at::Tensor prefix_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const at::Tensor& projection_key, const at::Tensor& projection_value,
                            const PrefixOptions& options);

/// All in one call, like torch.ops.linformer.attention: makes slots with linear projections, then attends.
struct AttentionOptions {
  bool causal = false;
  std::int64_t window = 0;
  bool block = false;                                         ///< block summaries instead of running ones
  std::optional<at::Tensor> key_padding_mask = std::nullopt;  ///< only for bidirectional attention
  std::optional<double> scale = std::nullopt;
  Path path = Path::automatic;
};
/// query is (B,H,N,D), key and value are (B,H,M,D), the result is (B,H,N,D). Projections are (K,P) or (H,K,P); for
/// block summaries (r,W) or (H,r,W). Causal forms need N = M. UserError as attend().
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const at::Tensor& projection_key, const at::Tensor& projection_value,
                     const AttentionOptions& options);

}  // namespace linformer::ops
