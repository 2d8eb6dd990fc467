// One thing that `linformer benchmark` measures. Shape letters: N length, K slots, W window, B batch, d width.
#pragma once

#include <cstdint>
#include <string>

#include "linformer/config/model_config.hpp"
#include "linformer/config/train_config.hpp"
#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// forward: computes the hidden states of every position, without the output layer. train: one optimiser step.
/// generate: makes tokens one after another.
enum class BenchmarkTask { forward, train, generate };
/// The kind of attention. Those with `plain` compute all N×N weights, as programs did before fused attention.
enum class BenchmarkForm {
  softmax,
  softmax_plain,
  bidirectional_softmax,
  bidirectional_softmax_plain,
  bidirectional,
  prefix,
  running,
  block,
  window_only
};
/// stream: one decode step per token. reread: a forward pass over the whole window for each token.
enum class BenchmarkDecode { stream, reread };

template <>
struct EnumNames<BenchmarkTask> {
  static constexpr std::array names{"forward", "train", "generate"};
};
template <>
struct EnumNames<BenchmarkForm> {
  static constexpr std::array names{"softmax",
                                    "softmax-plain",
                                    "bidirectional-softmax",
                                    "bidirectional-softmax-plain",
                                    "bidirectional",
                                    "prefix",
                                    "running",
                                    "block",
                                    "window-only"};
};
template <>
struct EnumNames<BenchmarkDecode> {
  static constexpr std::array names{"stream", "reread"};
};

struct BenchmarkPoint {
  std::string preset = {};  ///< empty: a point of the user's own grid
  BenchmarkTask task = BenchmarkTask::forward;
  BenchmarkForm form = BenchmarkForm::running;
  BenchmarkDecode decode = BenchmarkDecode::stream;  ///< only for generate
  Sharing sharing = Sharing::headwise;
  std::int64_t length = 512, slots = 64, window = 64, batch = 1, width = 384, layers = 2, heads = 6, vocabulary = 256;
  double dropout = 0;             ///< only for train
  std::int64_t tokens = 0;        ///< only for generate: tokens made after a prompt of prompt_tokens()
  std::string dtype = "float32";  ///< float32 or bfloat16; generate by stream also takes int8 (for weights)
  int threads = 1;
  /// Other fields of the model, and train.chunk and train.checkpoint_activations, by their names:
  /// "model.norm=rms+model.bias=false"; empty = as they are by default, but for train.chunk, which is 0.
  std::string fields = {};
  bool operator==(const BenchmarkPoint&) const = default;
};

/// UserError where BenchmarkPoint::fields would hold a name or a value that no model has.
void check_fields(const std::string& fields);

bool is_softmax(BenchmarkForm form);
bool is_plain(BenchmarkForm form);
bool is_causal(BenchmarkForm form);
/// The Transformer with which a form is compared.
BenchmarkForm transformer_of(BenchmarkForm form);

/// Sets to zero what the form and the task don't use. So two points that measure the same thing are equal.
BenchmarkPoint canonical(BenchmarkPoint point);
/// The description of a point, which is the first part of its line in benchmark.jsonl. point_of() returns a canonical
/// point.
json to_json(const BenchmarkPoint& point);
BenchmarkPoint point_of(const json& line);
/// The model to measure. UserError when there is no such model, or when the task can't be done with it.
ModelConfig model_of(const BenchmarkPoint& point);
/// How a step of it is taken; for BenchmarkTask::train.
TrainConfig train_of(const BenchmarkPoint& point);
/// "train running N=512 K=64 W=64 B=16 d=384".
std::string describe(const BenchmarkPoint& point);

/// For generate: chosen so that the window is full at the end, and at least half full at the start.
std::int64_t prompt_tokens(const BenchmarkPoint& point);
std::int64_t round_tokens(const BenchmarkPoint& point);  ///< tokens that one round reads or makes
/// The least memory that a process needs for weights, and in training for their gradients and two moments. Slots and
/// positions are not included.
double parameter_bytes(const BenchmarkPoint& point);
/// The multiply-adds of one round, counted as in maths 7.
double multiply_adds(const BenchmarkPoint& point);

}  // namespace linformer
