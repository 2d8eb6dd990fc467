#include "ops/checks.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer::ops {

namespace {

// Checks that each call of attend() passes make their messages only where they fail: these cost more than the rest.

thread_local Path path_that_ran = Path::automatic;

void check_attention_tensor(std::string_view name, const at::Tensor& tensor, std::string_view letters) {
  if (!(tensor.defined() && tensor.dim() == 4))
    fail("{} has shape {}; expected four dimensions {}", name, tensor.defined() ? shape_text(tensor) : "undefined",
         letters);
  require(at::isFloatingType(tensor.scalar_type()), "{} has dtype {}; expected a floating-point one", name,
          c10::toString(tensor.scalar_type()));
  if (!(tensor.size(2) > 0 && tensor.size(3) > 0))
    fail("{} has shape {}; expected at least one position and one channel", name, shape_text(tensor));
}

void check_slot_tensor(std::string_view name, const at::Tensor& slot, const at::Tensor& query, std::int64_t heads,
                       const AttendOptions& options) {
  const auto window = options.window;
  const auto blocks = window > 0 ? ceil_divide(query.size(2), window) : 0;
  const auto all_blocks = window > 0 ? options.first / window + blocks : 0;
  const bool running = window > 0 && slot.defined() && slot.dim() == 5;
  const bool dims = slot.defined() && (slot.dim() == 4 || running);
  const bool sizes = dims && slot.size(0) == query.size(0) && slot.size(1) == heads && slot.size(-1) == query.size(3) &&
                     (!running || slot.size(2) == blocks) &&
                     (running || window == 0 || slot.size(2) % all_blocks == 0) && (slot.size(-2) > 0 || window > 0);
  if (!sizes)
    fail("{} has shape {}; expected {}, as query is {}, window {} and first {}", name,
         slot.defined() ? shape_text(slot) : "undefined",
         window > 0
             ? formatted("(B,H,G,D) = ({},{},r·{},{}) for block slots or (B,H,ceil(N/W),K,D) = ({},{},{},K,{}) "
                         "for running ones",
                         query.size(0), heads, all_blocks, query.size(3), query.size(0), heads, blocks, query.size(3))
             : formatted("(B,H,K,D) = ({},{},K,{})", query.size(0), heads, query.size(3)),
         shape_text(query), window, options.first);
}

void check_sinks(const at::Tensor& query, const at::Tensor& key, const AttendOptions& options) {
  if (!options.sinks) return;
  require(options.window > 0, "sinks go with a window (window is 0): without one there is nothing but slots");
  const auto& sinks = *options.sinks;
  for (const auto& [name, sink] : {std::pair{"sink_key", sinks.key}, std::pair{"sink_value", sinks.value}}) {
    check_attention_tensor(name, sink, "(B,H,s,D)");
    check_same_device(name, sink, "query", query);
    if (sink.size(0) != query.size(0) || sink.size(1) != key.size(1) || sink.size(3) != query.size(3) ||
        sink.size(2) != sinks.key.size(2))
      fail("{} has shape {}; expected (B,H,s,D) = ({},{},{},{}), as key is {}", name, shape_text(sink), query.size(0),
           key.size(1), sinks.key.size(2), query.size(3), shape_text(key));
  }
}

void check_slot_offset(const at::Tensor& query, const at::Tensor& slot_key, const AttendOptions& options) {
  if (!options.slot_offset) return;
  const auto& offset = *options.slot_offset;
  check_same_device("slot_offset", offset, "query", query);
  require(options.window > 0 && slot_key.dim() == 5,
          "slot_offset goes with running slots (window is {}, and slot_key has {} dimensions); leave it out",
          options.window, slot_key.dim());
  if (!(offset.defined() && offset.sizes() == slot_key.sizes().slice(0, 4) && at::isFloatingType(offset.scalar_type())))
    fail("slot_offset has shape {}; expected (B,H,ceil(N/W),K) = ({},{},{},{}), as slot_key is {}",
         offset.defined() ? shape_text(offset) : "undefined", slot_key.size(0), slot_key.size(1), slot_key.size(2),
         slot_key.size(3), shape_text(slot_key));
}

}  // namespace

std::string shape_text(const at::Tensor& tensor) {
  std::string text = "(";
  for (const auto size : tensor.sizes()) text += formatted("{}{}", text.size() > 1 ? ", " : "", size);
  return text + ")";
}

void check_key_value(const at::Tensor& key, const at::Tensor& value) {
  check_attention_tensor("key", key, "(B,H,M,D)");
  check_attention_tensor("value", value, "(B,H,M,D)");
  if (value.sizes() != key.sizes())
    fail("value has shape {}; expected that of key, {}", shape_text(value), shape_text(key));
}

void check_same_device(std::string_view name, const at::Tensor& tensor, std::string_view other,
                       const at::Tensor& like) {
  if (tensor.defined() && like.defined() && tensor.device() != like.device())
    fail("{} is on {} and {} on {}; expected one device: move one of them", name, tensor.device().str(), other,
         like.device().str());
}

void check_query_key_value(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  check_attention_tensor("query", query, "(B,H,N,D)");
  check_key_value(key, value);
  check_same_device("key", key, "query", query);
  check_same_device("value", value, "query", query);
  const bool heads = key.size(1) > 0 && query.size(1) % key.size(1) == 0;
  if (!(key.size(0) == query.size(0) && heads && key.size(3) == query.size(3)))
    fail("key has shape {}; expected (B,H,M,D) = ({},{},M,{}), or a divisor of H heads, as query is {}",
         shape_text(key), query.size(0), query.size(1), query.size(3), shape_text(query));
}

void check_same_length(const at::Tensor& query, const at::Tensor& key) {
  require(key.size(2) == query.size(2),
          "key has {} positions and query {}; a causal form needs as many of both. Cross attention is for the "
          "bidirectional form (causal = false)",
          key.size(2), query.size(2));
}

void check_projection(std::string_view name, const at::Tensor& projection, const at::Tensor& key, std::int64_t length,
                      bool exact) {
  check_same_device(name, projection, "key", key);
  const bool dims = projection.defined() && (projection.dim() == 2 || projection.dim() == 3);
  const bool heads = dims && (projection.dim() == 2 || projection.size(0) == key.size(1));
  const bool columns =
      heads && projection.size(-2) > 0 && (exact ? projection.size(-1) == length : projection.size(-1) >= length);
  require(columns, "{} has shape {}; expected {}, as key is {}", name,
          projection.defined() ? shape_text(projection) : "undefined",
          exact ? formatted("(r,W) = (r,{0}) or (H,r,W) = ({1},r,{0})", length, key.size(1))
                : formatted("(K,P) or (H,K,P) with H = {} and P at least {}", key.size(1), length),
          shape_text(key));
}

void check_padding_mask(const std::optional<at::Tensor>& mask, const at::Tensor& key) {
  if (!mask) return;
  require(mask->defined() && mask->scalar_type() == at::kBool,
          "key_padding_mask has dtype {}; expected bool (true = padding)",
          mask->defined() ? c10::toString(mask->scalar_type()) : "undefined");
  require(mask->dim() == 2 && mask->size(0) == key.size(0) && mask->size(1) == key.size(2),
          "key_padding_mask has shape {}; expected (B,M) = ({}, {}), as key is {}", shape_text(*mask), key.size(0),
          key.size(2), shape_text(key));
}

void check_window(std::int64_t window) {
  constexpr std::int64_t most = std::int64_t{1} << 40;  // far beyond any text, and far below what overflows
  require(window >= 0 && window <= most, "window is {}; expected 0 (none) to {}", window, most);
}

void check_attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const Slots& slots,
                  const AttendOptions& options) {
  check_window(options.window);
  require(options.causal || options.window == 0,
          "window is {} without causal; a window is for the causal form: set causal, or window = 0", options.window);
  require(!options.causal || options.window > 0,
          "causal attention to given slots needs a window of 1 or more (window is 0): slots that sum the "
          "whole sequence "
          "would show each position its future. The form without a window is `prefix`, made by `attention`");
  check_query_key_value(query, key, value);
  require(options.first == 0 || (options.window > 0 && options.first > 0 && options.first % options.window == 0),
          "first is {}; expected 0, or a multiple of the window, {}", options.first, options.window);
  if (options.causal && options.first == 0) check_same_length(query, key);
  require(
      options.first == 0 || key.size(2) == query.size(2) + options.window,
      "key has {} positions and query {}; from first = {} on key begins one block of {} earlier, so {} are expected",
      key.size(2), query.size(2), options.first, options.window, query.size(2) + options.window);
  check_sinks(query, key, options);
  check_same_device("slot_key", slots.key, "query", query);
  check_same_device("slot_value", slots.value, "query", query);
  check_same_device("slot_bias", options.slot_bias.value_or(query), "query", query);
  check_same_device("slot_query", options.slot_query.value_or(query), "query", query);
  check_slot_tensor("slot_key", slots.key, query, key.size(1), options);
  check_slot_tensor("slot_value", slots.value, query, key.size(1), options);
  require(!slots.mass.defined(), "slots have a mass; expected the means, and log(mass) as slot_offset");
  if (slots.key.sizes() != slots.value.sizes())
    fail("slot_value has shape {}; expected that of slot_key, {}", shape_text(slots.value), shape_text(slots.key));
  check_slot_offset(query, slots.key, options);
  if (options.slot_bias && (options.slot_bias->dim() != 1 || options.slot_bias->size(0) != query.size(1)))
    fail("slot_bias has shape {}; expected (H) = ({})", shape_text(*options.slot_bias), query.size(1));
  if (!options.slot_query) return;
  require(options.window > 0,
          "slot_query goes with a window (window is 0): without one, every slot is read by query; leave it out");
  if (!(options.slot_query->sizes() == query.sizes() && options.slot_query->scalar_type() == query.scalar_type()))
    fail("slot_query has shape {} and dtype {}; expected those of query, {} and {}", shape_text(*options.slot_query),
         c10::toString(options.slot_query->scalar_type()), shape_text(query), c10::toString(query.scalar_type()));
}

void check_sums(const std::optional<Slots>& sums, const at::Tensor& key, std::int64_t slots) {
  if (!sums) return;
  for (const auto* tensor : {&sums->key, &sums->value}) {
    require(tensor->defined() && tensor->dim() == 4 && tensor->size(0) == key.size(0) &&
                tensor->size(1) == key.size(1) && tensor->size(2) == slots && tensor->size(3) == key.size(3),
            "the sums before have shape {}; expected (B,H,K,D) = ({},{},{},{}), as key is {}",
            tensor->defined() ? shape_text(*tensor) : "undefined", key.size(0), key.size(1), slots, key.size(3),
            shape_text(key));
  }
}

void check_summarise(const SummariseOptions& options, const at::Tensor& key) {
  check_window(options.window);
  require(options.window > 0 || !options.block,
          "block summaries need a window of 1 or more (window is 0): set window, or take running summaries");
  require(options.window == 0 || !options.key_padding_mask,
          "key_padding_mask is for the bidirectional form; a causal form needs none when padding stands at "
          "the end");
  check_padding_mask(options.key_padding_mask, key);
  require(
      !options.before || (options.window > 0 && !options.block && key.size(2) > options.window),
      "sums of the text before go with running slots, and with key positions past its first block; window is {} and "
      "key is {}",
      options.window, shape_text(key));
  require(!options.decay || (options.window > 0 && !options.block), "decay goes with running slots; window is {}",
          options.window);
}

Path choose_path(Path wanted, Path fastest, std::string_view unserved) {
  const bool any_case = wanted == Path::automatic || wanted == Path::composed || wanted == Path::reference;
  require(any_case || wanted == fastest, "path {}: this form has none; use auto, composed or reference",
          path_name(wanted));
  require(any_case || unserved.empty(), "path {}: it can't serve this case ({}); use auto, composed or reference",
          path_name(wanted), unserved);
  path_that_ran = wanted != Path::automatic ? wanted : unserved.empty() ? fastest : Path::composed;
  return path_that_ran;
}

Path last_path() { return path_that_ran; }

std::string_view path_name(Path path) {
  switch (path) {
    case Path::automatic:
      return "auto";
    case Path::reference:
      return "reference";
    case Path::composed:
      return "composed";
    case Path::kernel:
      return "kernel";
    case Path::fused:
      return "fused";
  }
  return "";
}

Path any_path(std::string_view name) { return name == path_name(Path::fused) ? Path::fused : parse_path(name); }

Path parse_path(std::string_view name) {
  for (const auto path : {Path::automatic, Path::reference, Path::composed, Path::kernel}) {
    if (name == path_name(path)) return path;
  }
  fail("path is \"{}\"; expected auto, reference, composed or kernel", name);
}

double scale_or_default(const std::optional<double>& scale, const at::Tensor& query) {
  require(!scale || std::isfinite(*scale), "scale is {}; expected a finite number", scale.value_or(0));
  return scale ? *scale : 1.0 / std::sqrt(static_cast<double>(query.size(3)));
}

bool is_short_float(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf;
}

at::ScalarType wide_type(const at::Tensor& tensor) {
  return is_short_float(tensor) ? at::kFloat : tensor.scalar_type();
}

at::Tensor wide(const at::Tensor& tensor) { return is_short_float(tensor) ? tensor.to(at::kFloat) : tensor; }

at::Tensor exact_cumsum(const at::Tensor& tensor, std::int64_t dim) {
  if (!is_short_float(tensor)) return tensor.cumsum(dim);
  return tensor.cumsum(dim, at::kFloat).to(tensor.scalar_type());
}

void check_projections(const at::Tensor& projection_key, const at::Tensor& projection_value, const at::Tensor& key,
                       std::int64_t length, bool exact) {
  check_projection("projection_key", projection_key, key, length, exact);
  check_projection("projection_value", projection_value, key, length, exact);
  require(projection_key.size(-2) == projection_value.size(-2),
          "projection_value has shape {}; expected as many slots as projection_key, {}", shape_text(projection_value),
          shape_text(projection_key));
}

void check_linear_summary(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                          const at::Tensor& projection_value, const SummariseOptions& options) {
  check_key_value(key, value);
  check_summarise(options, key);
  check_projections(projection_key, projection_value, key, options.block ? options.window : key.size(2), options.block);
  check_sums(options.before, key, projection_key.size(-2));
  if (!options.decay) return;
  require(options.decay->dim() == 2 && options.decay->size(0) == key.size(1) &&
              options.decay->size(1) == projection_key.size(-2),
          "decay has shape {}; expected (H,K) = ({},{})", shape_text(*options.decay), key.size(1),
          projection_key.size(-2));
}

}  // namespace linformer::ops
