// Shape checks and defaults that every form of attention shares. Shape letters: see ops/attention.hpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

#include "linformer/ops/attention.hpp"
#include "linformer/ops/summarise.hpp"

namespace linformer::ops {

/// "(2, 3, 45, 8)".
std::string shape_text(const at::Tensor& tensor);

/// query (B,H,N,D), key and value (B,H,M,D), floating point.
void check_query_key_value(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);
/// N = M, for a causal form.
void check_same_length(const at::Tensor& query, const at::Tensor& key);
void check_key_value(const at::Tensor& key, const at::Tensor& value);
/// (rows, columns) or (H, rows, columns), where `columns` is at least, or with `exact` just, `length`.
void check_projection(std::string_view name, const at::Tensor& projection, const at::Tensor& key, std::int64_t length,
                      bool exact);
/// Both projections, and that they make equally many slots.
void check_projections(const at::Tensor& projection_key, const at::Tensor& projection_value, const at::Tensor& key,
                       std::int64_t length, bool exact);
/// What summarise_linear takes, on either path.
void check_linear_summary(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                          const at::Tensor& projection_value, const SummariseOptions& options);
/// Arithmetic on tensors of two devices would read what isn't there.
void check_same_device(std::string_view name, const at::Tensor& tensor, std::string_view other, const at::Tensor& like);
void check_window(std::int64_t window);
void check_padding_mask(const std::optional<at::Tensor>& mask, const at::Tensor& key);
void check_attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options);
/// The sums of the text before, (B,H,K,D), if there are any.
void check_sums(const std::optional<Slots>& sums, const at::Tensor& key, std::int64_t slots);
void check_summarise(const SummariseOptions& options, const at::Tensor& key);

/// The path that runs: the forced one; for automatic `fastest`, or composed where that can't serve the case
/// (`unserved` says why). Records it for last_path().
Path choose_path(Path wanted, Path fastest, std::string_view unserved = {});

/// The path with this name, `fused` too.
Path any_path(std::string_view name);

/// 1/√D unless given.
double scale_or_default(const std::optional<double>& scale, const at::Tensor& query);

/// Of the last dimension's size each.
inline std::int64_t rows_of(const at::Tensor& x) { return x.size(-1) > 0 ? x.numel() / x.size(-1) : 0; }

inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// True where a dtype is too short for sums and softmax: bfloat16 and float16.
bool is_short_float(const at::Tensor& tensor);

/// float32 where the dtype is shorter, else the tensor's own.
at::ScalarType wide_type(const at::Tensor& tensor);
/// In that dtype.
at::Tensor wide(const at::Tensor& tensor);

/// Sums along `dim`, in float32 for short floats.
at::Tensor exact_cumsum(const at::Tensor& tensor, std::int64_t dim);

}  // namespace linformer::ops
