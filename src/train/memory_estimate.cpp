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

}  // namespace

TrainingMemory least_memory(const RunConfig& config) {
  return {.weights = 4 * kFloat * parameters_of(config.model),
          .a_sequence = static_cast<double>(config.model.length) * (2 * kId + activations_of(config))};
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
  fail("{}; use a train.batch below {:.0f} (train.accumulate makes up for it){} or a smaller model.length", numbers,
       std::floor((available - held) / memory.a_sequence) + 1,
       config.train.checkpoint_activations ? "" : ", train.checkpoint_activations = true");
}

}  // namespace linformer
