// Shape letters: B batch, M key length, H heads, D head width, K slots, P projection length, W window, r
// slots a block; here also T blocks.
#include "linformer/ops/summarise.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "linformer/core/error.hpp"
#include "ops/checks.hpp"
#include "ops/composed.hpp"
#include "ops/composite_operators.hpp"
#include "ops/operator_node.hpp"
#include "ops/running_slots.hpp"

namespace linformer::ops {

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

/// Padded positions set to zero, by selection, so that what stands there may even be NaN.
at::Tensor zero_padding(const at::Tensor& x, const std::optional<at::Tensor>& mask_BM) {
  return mask_BM ? x.masked_fill(mask_BM->unsqueeze(1).unsqueeze(-1), 0.0) : x;
}

at::Tensor project_whole(const at::Tensor& projection, const at::Tensor& x_BHMD) {
  const auto used = projection.narrow(-1, 0, x_BHMD.size(2));
  return at::einsum(used.dim() == 2 ? "km,bhmd->bhkd" : "hkm,bhmd->bhkd", {used, x_BHMD});
}

at::Tensor project_each_block(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t window) {
  const auto blocks = composed::to_blocks(x_BHMD, 0, ceil_divide(x_BHMD.size(2), window), window);
  return at::einsum(projection.dim() == 2 ? "kc,bhtcd->bhtkd" : "hkc,bhtcd->bhtkd", {projection, blocks}).flatten(2, 3);
}

/// What a segment-wise kind needs: block or whole-sequence, and segments that fill a block.
void check_segments(std::string_view kind, std::int64_t segment, const SummariseOptions& options) {
  require(options.window == 0 || options.block,
          "{} summaries are bidirectional or of blocks; running ones need the linear projection", kind);
  require(segment > 0, "segment of the {} summary is {}; expected 1 or more", kind, segment);
  require(options.window % segment == 0, "segment of the {} summary is {}; expected a divisor of the window, {}", kind,
          segment, options.window);
}

/// Positions to segments: (B,H,M,D) → (B,H,S,segment,D), padded with zeros at the end; whole blocks where
/// there is a window.
at::Tensor to_segments(const at::Tensor& x, std::int64_t segment, const SummariseOptions& options) {
  const auto unit = options.window > 0 ? options.window : segment;
  const auto segments = ceil_divide(x.size(2), unit) * (unit / segment);
  return composed::to_blocks(x, 0, segments, segment);
}

/// True where a position of a segment is there and not padded: (B|1,1,S,segment,1).
at::Tensor present_in_segments(const at::Tensor& key, std::int64_t segment, const SummariseOptions& options) {
  const auto present = options.key_padding_mask ? options.key_padding_mask->logical_not()
                                                : at::ones({1, key.size(2)}, key.options().dtype(at::kBool));
  return to_segments(present.unsqueeze(1).unsqueeze(-1), segment, options);
}

at::Tensor convolve(const at::Tensor& kernel, const at::Tensor& x, const SummariseOptions& options) {
  const auto segments = to_segments(zero_padding(x, options.key_padding_mask), kernel.size(-1), options);
  return at::einsum(kernel.dim() == 1 ? "c,bhscd->bhsd" : "hc,bhscd->bhsd", {kernel, segments});
}

void check_kernel(std::string_view name, const at::Tensor& kernel, const at::Tensor& key) {
  require(kernel.defined() && (kernel.dim() == 1 || (kernel.dim() == 2 && kernel.size(0) == key.size(1))),
          "{} has shape {}; expected (segment) or (H,segment) with H = {}", name,
          kernel.defined() ? shape_text(kernel) : "undefined", key.size(1));
}

/// Softmax over the last dimension of what `present` selects; a row with nothing present is zero.
at::Tensor softmax_present(const at::Tensor& scores, const at::Tensor& present, at::ScalarType dtype) {
  const auto empty = present.any(-1, true).logical_not();
  const auto logits = scores.masked_fill(present.logical_or(empty).logical_not(), minus_infinity);
  const auto wide = is_short_float(logits) ? at::softmax(logits, -1, at::kFloat) : at::softmax(logits, -1);
  return wide.masked_fill(empty, 0.0).to(dtype);
}

}  // namespace

at::Tensor linear_slots(const at::Tensor& given, const at::Tensor& x_BHMD, const SummariseOptions& options,
                        const at::Tensor& before) {
  // Parameters may be wider than activations, as under autocast.
  const auto projection = is_short_float(x_BHMD) ? given.to(x_BHMD.scalar_type()) : given;
  if (options.window == 0) return project_whole(projection, zero_padding(x_BHMD, options.key_padding_mask));
  return options.block
             ? project_each_block(projection, x_BHMD, options.window)
             : running_slots(projection, x_BHMD, options.window, before, options.decay.value_or(at::Tensor()));
}

Slots summarise_linear(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                       const at::Tensor& projection_value, const SummariseOptions& options) {
  if (is_traced({key, value, projection_key, projection_value}))
    return summarise_linear_as_operator(key, value, projection_key, projection_value, options, false);
  check_linear_summary(key, value, projection_key, projection_value, options);
  const auto before = options.before.value_or(Slots{});
  return {linear_slots(projection_key, key, options, before.key),
          linear_slots(projection_value, value, options, before.value)};
}

Slots summarise_dynamic(const at::Tensor& key, const at::Tensor& value, const at::Tensor& scores,
                        const SummariseOptions& options) {
  check_key_value(key, value);
  check_summarise(options, key);
  require(options.window == 0 || options.block,
          "dynamic summaries are bidirectional or of blocks; running ones need the linear projection");
  const auto length = key.size(2);
  require(scores.dim() == 4 && scores.size(0) == key.size(0) && scores.size(1) == key.size(1) && scores.size(2) > 0 &&
              scores.size(3) == length,
          "scores has shape {}; expected (B,H,K,M) = ({},{},K,{}), as key is {}", shape_text(scores), key.size(0),
          key.size(1), length, shape_text(key));
  if (options.window == 0) {
    const auto present = options.key_padding_mask ? options.key_padding_mask->logical_not().unsqueeze(1).unsqueeze(1)
                                                  : at::ones({1, 1, 1, length}, key.options().dtype(at::kBool));
    const auto weights_BHKM = softmax_present(scores, present, key.scalar_type());
    return {at::matmul(weights_BHKM, zero_padding(key, options.key_padding_mask)),
            at::matmul(weights_BHKM, zero_padding(value, options.key_padding_mask))};
  }
  const auto window = options.window, blocks = ceil_divide(length, window), missing = blocks * window - length;
  const auto padded = missing > 0 ? at::constant_pad_nd(scores, {0, missing}) : scores;
  const auto scores_BHTrW = padded.unflatten(-1, {blocks, window}).transpose(2, 3);
  const auto present_T1W =
      at::arange(blocks * window, key.options().dtype(at::kLong)).lt(length).view({blocks, 1, window});
  const auto weights_BHTrW = softmax_present(scores_BHTrW, present_T1W, key.scalar_type());
  return {at::matmul(weights_BHTrW, composed::to_blocks(key, 0, blocks, window)).flatten(2, 3),
          at::matmul(weights_BHTrW, composed::to_blocks(value, 0, blocks, window)).flatten(2, 3)};
}

Slots summarise_convolution(const at::Tensor& key, const at::Tensor& value, const at::Tensor& kernel_key,
                            const at::Tensor& kernel_value, const SummariseOptions& options) {
  check_key_value(key, value);
  check_summarise(options, key);
  check_kernel("kernel_key", kernel_key, key);
  check_kernel("kernel_value", kernel_value, key);
  require(kernel_key.size(-1) == kernel_value.size(-1),
          "kernel_value has shape {}; expected as many weights as kernel_key, {}", shape_text(kernel_value),
          shape_text(kernel_key));
  check_segments("convolution", kernel_key.size(-1), options);
  return {convolve(kernel_key, key, options), convolve(kernel_value, value, options)};
}

Slots summarise_mean(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                     const SummariseOptions& options) {
  check_key_value(key, value);
  check_summarise(options, key);
  check_segments("mean", segment, options);
  // In float32 at least: float16 can't hold the sums, nor bfloat16 every count.
  const auto count = present_in_segments(key, segment, options).sum(3).clamp_min(1);
  const auto mean = [&](const at::Tensor& x) {
    const auto sum = wide(to_segments(zero_padding(x, options.key_padding_mask), segment, options)).sum(3);
    return (sum / count).to(x.scalar_type());
  };
  return {mean(key), mean(value)};
}

Slots summarise_max(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                    const SummariseOptions& options) {
  check_key_value(key, value);
  check_summarise(options, key);
  check_segments("max", segment, options);
  const auto present = present_in_segments(key, segment, options);
  const auto empty = present.any(3).logical_not();
  const auto largest = [&](const at::Tensor& x) {
    // A segment with nothing present is zero, as with the other kinds.
    return to_segments(x, segment, options)
        .masked_fill(present.logical_not(), minus_infinity)
        .amax(3)
        .masked_fill(empty, 0.0);
  };
  return {largest(key), largest(value)};
}

}  // namespace linformer::ops
