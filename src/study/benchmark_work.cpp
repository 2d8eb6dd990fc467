// Multiply-adds by maths 7. Letters: d width, N length, K slots, W window, H heads, D head width, C chunk of `prefix`.
#include <algorithm>

#include "linformer/study/benchmark_plan.hpp"

namespace linformer {
namespace {

constexpr double kPrefixChunk = 64;
// Shares of a matrix product's speed that are usual here. A stream of one sequence waits for the weights.
constexpr double kPassEfficiency = 0.4, kStreamEfficiency = 0.1;

// Of keys, and of values: those of model.key_value_heads.
double width_of_states(const ModelConfig& config) {
  return static_cast<double>(config.state_heads() * config.head_width());
}

// The matrices of a block, which each token is multiplied with: 12·d² by default.
double matrices_of(const ModelConfig& config) {
  const auto d = static_cast<double>(config.width), hidden = static_cast<double>(config.hidden_width());
  const auto states = width_of_states(config);
  return 2 * d * d + 2 * d * states + (config.feed_forward_kind == FeedForwardKind::swiglu ? 3 : 2) * d * hidden;
}

// Of one token: from what the text says where it goes.
double rule_work(const ModelConfig& config, double slots) {
  const auto d = static_cast<double>(config.width), heads = static_cast<double>(config.state_heads());
  switch (config.attention.projection) {
    case Projection::gated:
      return heads * slots * d;
    case Projection::cluster:
      return slots * width_of_states(config);
    default:
      return 0;
  }
}

// Of one token of one layer in a forward pass over N tokens, but for layers of softmax attention in a hybrid. Slots are
// made for the heads of keys: of them all where these are not shared.
double layer_work(const BenchmarkPoint& point) {
  const auto d = static_cast<double>(point.width), n = static_cast<double>(point.length),
             k = static_cast<double>(point.slots);
  const auto w = static_cast<double>(point.window);
  const auto config = model_of(point);
  const auto matrices = matrices_of(config), states = width_of_states(config);
  const bool one_product = point.sharing == Sharing::key_value || point.sharing == Sharing::layerwise;  // E = F
  const auto exact = 3 * d * w + 2 * d * static_cast<double>(config.attention.sinks);  // 1.5·W positions and the sinks
  switch (point.form) {
    case BenchmarkForm::softmax:
    case BenchmarkForm::softmax_plain:
      return matrices + n * d;
    case BenchmarkForm::bidirectional_softmax:
    case BenchmarkForm::bidirectional_softmax_plain:
      return matrices + 2 * n * d;
    case BenchmarkForm::bidirectional:
      if (point.sharing == Sharing::none)
        return matrices + 2 * k * (states + d);  // a projection a head: no reassociation
      return matrices - 2 * d * states + ((one_product ? 1 : 2) + 2) * k * d;
    case BenchmarkForm::prefix:
      return matrices + 4 * k * d + kPrefixChunk * (k * static_cast<double>(point.heads) + d);
    case BenchmarkForm::running:
      return matrices + 2 * k * states + 2 * d * k + exact + rule_work(config, k);
    case BenchmarkForm::block:  // r = K·W/N slots a block; half of all slots are visible on average
      return matrices + 2 * k * w / n * states + d * k + exact;
    case BenchmarkForm::window_only:
      return matrices + exact;
  }
  return 0;
}

// One token after another attends to all before it: the mean context instead of half the length.
double step_work(const BenchmarkPoint& point) {
  if (!is_softmax(point.form)) return layer_work(point);
  const auto d = static_cast<double>(point.width), first = static_cast<double>(prompt_tokens(point));
  const auto last = std::min(static_cast<double>(point.length), first + static_cast<double>(point.tokens));
  return matrices_of(model_of(point)) + 2 * d * (first + last) / 2;
}

// The work of all layers, from that of one: with attention.softmax_layers some are those of a Transformer.
double work_of_layers(const BenchmarkPoint& point, double (*work)(const BenchmarkPoint& point)) {
  const auto softmax = static_cast<double>(model_of(point).attention.softmax_layers.size());
  auto transformer = point;
  transformer.form = transformer_of(point.form);
  return (static_cast<double>(point.layers) - softmax) * work(point) + softmax * work(canonical(transformer));
}

}  // namespace

double parameter_bytes(const BenchmarkPoint& point) {
  const auto d = static_cast<double>(point.width);
  const auto parameters =
      static_cast<double>(point.layers) * matrices_of(model_of(point)) + static_cast<double>(point.vocabulary) * d;
  return (point.task == BenchmarkTask::train ? 4 : 1) * 4 * parameters;
}

double multiply_adds(const BenchmarkPoint& given) {
  const auto point = canonical(given);
  const auto tokens = static_cast<double>(round_tokens(point));
  const auto head = static_cast<double>(point.vocabulary) * static_cast<double>(point.width);
  if (point.task == BenchmarkTask::forward) return tokens * work_of_layers(point, layer_work);
  if (point.task == BenchmarkTask::train) return 3 * tokens * (work_of_layers(point, layer_work) + head);
  if (point.decode == BenchmarkDecode::stream) return tokens * (work_of_layers(point, step_work) + head);
  return tokens * (static_cast<double>(point.length) * work_of_layers(point, layer_work) + head);
}

double BenchmarkPlan::expected_seconds(int rounds, double rate) const {
  double seconds = 0;
  for (const auto& group : groups) {
    for (const auto& point : group) {
      const bool stream = point.task == BenchmarkTask::generate && point.decode == BenchmarkDecode::stream;
      const bool part = point.task == BenchmarkTask::generate && !stream;  // two tokens stand for all
      const double measured = part ? std::min(1.0, 2.0 / static_cast<double>(point.tokens)) : 1.0;
      seconds +=
          (rounds + 1) * measured * multiply_adds(point) / (rate * (stream ? kStreamEfficiency : kPassEfficiency));
    }
  }
  return seconds;
}

}  // namespace linformer
