// Letters: d width, f hidden width of the feed-forward, N length.
#include "train/memory_estimate.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/memory.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {
namespace {

constexpr double kFloat = 4, kId = 8;  // bytes

// Asks the model itself for its shapes, and gives it tensors without content.
double parameters_of(ModelConfig config) {
  if (config.position == Position::sinusoidal) config.position = Position::none;  // a table, which would be made
  double count = 0;
  LanguageModel(config, [&](const std::string&, at::IntArrayRef shape) {
    double product = 1;
    for (const auto size : shape) product *= static_cast<double>(size);
    count += product;
    return at::empty({0}, at::kFloat);
  });
  return count;
}

// Of one token. A block keeps: the normed input, query, key, value, the attention's output, the second normed input,
// both sides of the GELU (of SwiGLU: gate, its silu, the other side, their product), in the products' dtype; and the
// residual stream twice in float32. With checkpoints only what comes in is kept, and one block after the other is done
// again.
double activations_of(const RunConfig& config) {
  const auto d = static_cast<double>(config.model.width), f = static_cast<double>(config.model.hidden_width());
  const auto layers = static_cast<double>(config.model.layers);
  const double sides = config.model.feed_forward_kind == FeedForwardKind::swiglu ? 4 : 2;
  const double product = config.train.dtype == DType::float32 ? kFloat : kFloat / 2;
  const double block = (6 * d + sides * f) * product + 2 * d * kFloat;
  return config.train.checkpoint_activations ? layers * d * kFloat + block : layers * block;
}

// The chunks that `auto` may choose are this and its doubles.
std::int64_t least_chunk(const RunConfig& config) {
  constexpr std::int64_t kWithoutWindow = 64;
  return config.model.window() > 0 ? config.model.window() : kWithoutWindow;
}

// Tokens of a sequence whose activations are held at a time.
std::int64_t tokens_in_memory(const RunConfig& config) {
  const auto length = config.model.length;
  const bool automatic = !config.train.chunk && config.model.causal && !config.train.checkpoint_activations;
  const auto chunk = automatic ? least_chunk(config) : config.train.chunk.value_or(0);
  return chunk > 0 ? std::min(chunk, length) : length;
}

}  // namespace

TrainingMemory least_memory(const RunConfig& config) {
  return {.weights = 4 * kFloat * parameters_of(config.model),
          .a_sequence = static_cast<double>(config.model.length) * 2 * kId +
                        static_cast<double>(tokens_in_memory(config)) * activations_of(config)};
}

ChunkChoice choose_chunk(const RunConfig& config, double available) {
  constexpr double kSpare = 1.5;  // the estimate is a lower bound
  constexpr std::int64_t kMost = 16384;
  const auto unit = least_chunk(config);
  if (!config.model.causal || config.train.checkpoint_activations || config.model.length <= unit) return {};
  auto cut = config;
  const auto needed = [&](std::int64_t chunk) {
    cut.train.chunk = chunk;
    const auto memory = least_memory(cut);
    return memory.weights + kSpare * static_cast<double>(config.train.batch) * memory.a_sequence;
  };
  const auto whole = needed(0);
  if (whole <= available) return {};
  auto chunk = unit;
  while (2 * chunk <= kMost && 2 * chunk < config.model.length && needed(2 * chunk) <= available / 2) chunk *= 2;
  return {chunk,
          formatted("the whole text at once would take about {} of {}", format_bytes(whole), format_bytes(available))};
}

void check_memory(const RunConfig& config, double available) {
  const auto memory = least_memory(config);
  // Before the backward pass there are no gradients; when all are there, the activations are gone.
  const auto held = 0.75 * memory.weights;
  const auto needed = [&](double sequences) { return std::max(memory.weights, held + sequences * memory.a_sequence); };
  const auto batch = static_cast<double>(config.train.batch);
  if (needed(batch) <= available) return;
  const auto numbers = formatted(
      "training needs at least {}, but there are {}: {} for the model's weights, gradients and moments, {} for "
      "train.batch = {} sequences of model.length = {}",
      format_bytes(needed(batch)), format_bytes(available), format_bytes(memory.weights),
      format_bytes(batch * memory.a_sequence), config.train.batch, config.model.length);
  require(needed(1) <= available,
          "{}; use a smaller model.width, model.length or model.vocabulary, or fewer model.layers", numbers);
  const bool whole = tokens_in_memory(config) == config.model.length;
  fail("{}; use a train.batch below {:.0f} (train.accumulate makes up for it){}{} or a smaller model.length", numbers,
       std::floor((available - held) / memory.a_sequence) + 1,
       whole && config.model.causal && !config.train.checkpoint_activations ? ", train.chunk = auto" : "",
       config.train.checkpoint_activations || !whole ? "" : ", train.checkpoint_activations = true");
}

}  // namespace linformer
