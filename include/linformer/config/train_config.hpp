// The fields of a config that say how a model is trained.
#pragma once

#include <optional>

#include "linformer/config/field.hpp"
#include "linformer/config/model_config.hpp"

namespace linformer {

enum class DType { automatic, float32, bfloat16 };
/// What multiplies float32 matrices where no gradients are needed: LibTorch's own choice, or oneDNN.
enum class ProductLibrary { automatic, libtorch, onednn };
enum class Schedule { cosine, constant };
/// What the model learns to predict. causal: each token from the tokens before it. masked: 15 % of the tokens from all
/// others, as in BERT; only for bidirectional models.
enum class Objective { causal, masked };
template <>
struct EnumNames<DType> {
  static constexpr std::array names{"auto", "float32", "bfloat16"};
};
template <>
struct EnumNames<ProductLibrary> {
  static constexpr std::array names{"auto", "libtorch", "onednn"};
};
template <>
struct EnumNames<Schedule> {
  static constexpr std::array names{"cosine", "constant"};
};
template <>
struct EnumNames<Objective> {
  static constexpr std::array names{"causal", "masked"};
};

struct TrainConfig {
  Objective objective = Objective::causal;
  std::int64_t steps = 5000;
  std::int64_t batch = 16;            ///< sequences per forward pass
  std::int64_t accumulate = 1;        ///< forward passes per step
  double learning_rate = 5e-4;        ///< highest rate, after the warm-up
  double learning_rate_start = 1e-5;  ///< at the first step
  double learning_rate_end = 1e-5;    ///< at the last step, with cosine
  double warmup_fraction = 0.05;      ///< share of the steps in which the rate rises
  Schedule schedule = Schedule::cosine;
  double weight_decay = 0.01;   ///< on matrices only
  double slot_bias_rate = 1.0;  ///< rate of attention.slot_bias, as a multiple of the learning rate
  double beta1 = 0.9;
  double beta2 = 0.95;
  double clip = 1.0;  ///< largest global gradient norm; 0 = no clipping
  DType dtype = DType::automatic;
  ProductLibrary products = ProductLibrary::automatic;  ///< of evaluations
  bool carry_state = false;  ///< a row goes on with the state at the end of its text in the step before
  bool checkpoint_activations = false;
  std::optional<std::int64_t> chunk;  ///< tokens of a text that are in memory at a time; 0 = all; empty: auto
  std::int64_t evaluate_every = 0;    ///< steps; 0 = only at the end
  std::int64_t save_every = 0;        ///< steps; 0 = only at the end
  std::int64_t keep = 2;              ///< number of latest checkpoints to keep; the best one is kept as well

  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("train.objective", self.objective, "causal, or masked: 15 % of the tokens, for bidirectional models");
    visitor("train.steps", self.steps, "optimiser steps");
    visitor("train.batch", self.batch, "sequences per forward pass");
    visitor("train.accumulate", self.accumulate, "forward passes per step");
    visitor("train.learning_rate", self.learning_rate, "peak learning rate");
    visitor("train.learning_rate_start", self.learning_rate_start, "learning rate at the first step");
    visitor("train.learning_rate_end", self.learning_rate_end, "learning rate at the last step");
    visitor("train.warmup_fraction", self.warmup_fraction,
            "share of the steps in which the learning rate rises to its peak");
    visitor("train.schedule", self.schedule, "after the warm-up: cosine or constant");
    visitor("train.weight_decay", self.weight_decay, "AdamW weight decay, on matrices only");
    visitor("train.slot_bias_rate", self.slot_bias_rate,
            "learning rate of the slot biases, as a multiple of the other parameters' rate");
    visitor("train.beta1", self.beta1, "AdamW decay of the gradient mean");
    visitor("train.beta2", self.beta2, "AdamW decay of the squared gradient mean");
    visitor("train.clip", self.clip, "largest global gradient norm; 0: no clipping");
    visitor("train.dtype", self.dtype, "of matrix products: float32, bfloat16, or auto (by the processor)");
    visitor("train.products", self.products,
            "library of the float32 products of evaluations: libtorch, onednn, or auto (by the processor)");
    visitor("train.checkpoint_activations", self.checkpoint_activations,
            "recompute each block in the backward pass to save memory");
    visitor("train.carry_state", self.carry_state,
            "each row of a batch goes on with the state that the step before left; needs data.order = sequential");
    visitor("train.chunk", self.chunk,
            "tokens of a text whose activations are in memory at a time, a multiple of attention.window; the gradient "
            "stays exact; 0: all; auto: by the free memory");
    visitor("train.evaluate_every", self.evaluate_every, "steps between evaluations; 0: only at the end");
    visitor("train.save_every", self.save_every, "steps between checkpoints; 0: only at the end");
    visitor("train.keep", self.keep, "latest checkpoints kept beside the best");
  }
  bool operator==(const TrainConfig&) const = default;
};

/// Checks every value. A UserError names the field, its value and what to change.
void check(const TrainConfig& config);
/// The same for `train.chunk` with a model, which is resolved.
void check_chunk(const TrainConfig& config, const ModelConfig& model);

}  // namespace linformer
