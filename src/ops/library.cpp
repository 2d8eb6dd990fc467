// torch.ops.linformer.*: the operators for PyTorch. Composite implicit: each is made of operators that have shapes and
// gradients already; see attend_operator.cpp, composite_operators.cpp and cross_entropy_operator.cpp.
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <optional>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/ops/attention.hpp"
#include "linformer/ops/cross_entropy.hpp"
#include "ops/checks.hpp"

namespace linformer::ops {

namespace {

bool is_block(const std::string& summary) {
  require(summary == "running" || summary == "block", "summary is \"{}\"; expected running or block", summary);
  return summary == "block";
}

at::Tensor attention_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                              const at::Tensor& projection_key, const at::Tensor& projection_value, bool causal,
                              std::int64_t window, std::string summary,
                              const std::optional<at::Tensor>& key_padding_mask, std::optional<double> scale,
                              std::string path) {
  return attention(query, key, value, projection_key, projection_value,
                   {.causal = causal,
                    .window = window,
                    .block = is_block(summary),
                    .key_padding_mask = key_padding_mask,
                    .scale = scale,
                    .path = parse_path(path)});
}

at::Tensor attend_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& slot_key, const at::Tensor& slot_value, bool causal, std::int64_t window,
                           const std::optional<at::Tensor>& slot_bias, std::optional<double> scale, std::string path,
                           std::int64_t first, const std::optional<at::Tensor>& slot_query,
                           const std::optional<at::Tensor>& sink_key, const std::optional<at::Tensor>& sink_value,
                           const std::optional<at::Tensor>& slot_offset) {
  require(sink_key.has_value() == sink_value.has_value(), "sink_key and sink_value go together; give both, or neither");
  return attend(query, key, value, {slot_key, slot_value},
                {.causal = causal,
                 .window = window,
                 .first = first,
                 .slot_bias = slot_bias,
                 .slot_query = slot_query,
                 .sinks = sink_key ? std::optional(Slots{*sink_key, *sink_value}) : std::nullopt,
                 .slot_offset = slot_offset,
                 .scale = scale,
                 .path = parse_path(path)});
}

at::Tensor softmax_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                            const std::optional<at::Tensor>& key_padding_mask, std::optional<double> scale,
                            std::string path) {
  return softmax_attention(
      query, key, value,
      {.causal = causal, .key_padding_mask = key_padding_mask, .scale = scale, .path = any_path(path)});
}

at::Tensor prefix_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& projection_key, const at::Tensor& projection_value,
                           const std::optional<at::Tensor>& before_key, const std::optional<at::Tensor>& before_value,
                           std::int64_t chunk, std::optional<double> scale, std::string path) {
  require(before_key.has_value() == before_value.has_value(),
          "{} is given without {}; expected both sums of the text before, or none",
          before_key ? "before_key" : "before_value", before_key ? "before_value" : "before_key");
  PrefixOptions options{.chunk = chunk, .scale = scale, .path = parse_path(path)};
  if (before_key) options.before = Slots{*before_key, *before_value};
  return prefix_attention(query, key, value, projection_key, projection_value, options);
}

at::Tensor cross_entropy_operator(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
                                  std::int64_t ignore_index, std::int64_t chunk) {
  return linear_cross_entropy(hidden, weight, target, {.ignore_index = ignore_index, .chunk = chunk});
}

}  // namespace

TORCH_LIBRARY(linformer, library) {
  library.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor projection_key, Tensor projection_value, *, "
      "bool causal=False, int window=0, "
      "str summary=\"running\", Tensor? key_padding_mask=None, float? scale=None, str path=\"auto\") -> "
      "Tensor",
      attention_operator);
  library.def(
      "attend(Tensor query, Tensor key, Tensor value, Tensor slot_key, Tensor slot_value, *, bool "
      "causal=False, int window=0, "
      "Tensor? slot_bias=None, float? scale=None, str path=\"auto\", int first=0, Tensor? slot_query=None, "
      "Tensor? sink_key=None, Tensor? sink_value=None, Tensor? slot_offset=None) -> Tensor",
      attend_operator);
  library.def(
      "softmax_attention(Tensor query, Tensor key, Tensor value, *, bool causal=False, Tensor? key_padding_mask=None, "
      "float? scale=None, str path=\"auto\") -> Tensor",
      softmax_operator);
  library.def(
      "prefix_attention(Tensor query, Tensor key, Tensor value, Tensor projection_key, Tensor projection_value, *, "
      "Tensor? before_key=None, Tensor? before_value=None, int chunk=0, float? scale=None, str path=\"auto\") -> "
      "Tensor",
      prefix_operator);
  library.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor target, *, int ignore_index=-100, int "
      "chunk=0) -> Tensor",
      cross_entropy_operator);
}

}  // namespace linformer::ops
