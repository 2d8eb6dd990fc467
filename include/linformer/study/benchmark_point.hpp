// One thing that `linformer benchmark` measures. Letters: N length, K slots, W window, B batch, d width.
#pragma once

#include <cstdint>
#include <string>

#include "linformer/config/model_config.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

/// forward: the hidden states of every position, without the output layer. train: one optimiser step. generate: tokens
/// one after another.
enum class BenchmarkTask { forward, train, generate };
/// Which attention. The `-plain` ones write all N×N weights out, as programs did before fused attention.
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
/// stream: one step a token. reread: a forward pass over the whole window for each token.
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
  std::string preset = {};  ///< empty: a grid of the user's
  BenchmarkTask task = BenchmarkTask::forward;
  BenchmarkForm form = BenchmarkForm::running;
  BenchmarkDecode decode = BenchmarkDecode::stream;  ///< of generate
  Sharing sharing = Sharing::headwise;
  std::int64_t length = 512, slots = 64, window = 64, batch = 1, width = 384, layers = 2, heads = 6, vocabulary = 256;
  double dropout = 0;             ///< of train
  std::int64_t tokens = 0;        ///< of generate: made after a prompt of prompt_tokens()
  std::string dtype = "float32";  ///< float32, bfloat16; generate by stream also int8 (weights)
  int threads = 1;
  bool operator==(const BenchmarkPoint&) const = default;
};

bool is_softmax(BenchmarkForm form);
bool is_plain(BenchmarkForm form);
bool is_causal(BenchmarkForm form);
/// The Transformer that a form is compared with.
BenchmarkForm transformer_of(BenchmarkForm form);

/// Zeroes what the form and task don't use, so that points that measure the same are equal.
BenchmarkPoint canonical(BenchmarkPoint point);
/// What the point measures, as its line in benchmark.jsonl starts. The result of point_of() is canonical.
json to_json(const BenchmarkPoint& point);
BenchmarkPoint point_of(const json& line);
/// The model that is measured. UserError when there is no such model or the task doesn't apply to it.
ModelConfig model_of(const BenchmarkPoint& point);
/// "train running N=512 K=64 W=64 B=16 d=384".
std::string describe(const BenchmarkPoint& point);

std::int64_t prompt_tokens(
    const BenchmarkPoint& point);  ///< of generate: the window is full at the end, at least half full at the start
std::int64_t round_tokens(const BenchmarkPoint& point);  ///< that a round works on or makes
/// The least that a process needs for the weights, in training also their gradients and two moments. Without slots and
/// positions.
double parameter_bytes(const BenchmarkPoint& point);
/// Multiply-adds of a round by maths 7.
double multiply_adds(const BenchmarkPoint& point);

}  // namespace linformer
