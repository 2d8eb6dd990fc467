// Generated tokens a second against the bound that reading the weights sets, in one run.
// Arguments: weights (0 float32, 1 bfloat16, 2 int8), attention (0 running window 64 + K 64, 1 softmax), context,
// batch. `of_bound` is (bytes of the weights / speed at which the output layer's product reads its own) / (time of a
// step); both are the fastest of rounds in turn.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "linformer/nn/decoder.hpp"

namespace linformer {
namespace {

using Clock = std::chrono::steady_clock;

const LanguageModel& model_of(bool softmax) {
  static std::map<bool, LanguageModel> models;
  ModelConfig config;
  config.length = 4096;
  config.vocabulary = 50257;
  config.attention.kind = softmax ? AttentionKind::softmax : AttentionKind::linformer;
  return models.try_emplace(softmax, config).first->second;
}

double seconds(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void decode(benchmark::State& state) {
  const auto format = static_cast<WeightFormat>(state.range(0));
  const auto context = state.range(2), batch = state.range(3);
  const auto& model = model_of(state.range(1) == 1);
  Decoder decoder(model, {.format = format});
  std::vector<std::int64_t> prompt(static_cast<std::size_t>(context));
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<std::int64_t>(i * 7919 % 50257);
  const auto prompt_start = Clock::now();
  auto prefilled = model.prefill({prompt}).second;
  const double prompt_seconds = seconds(prompt_start);
  decoder.load(prefilled.select(std::vector<std::int64_t>(static_cast<std::size_t>(batch), 0)));
  const std::vector<std::int64_t> ids(static_cast<std::size_t>(batch), 11);
  double step = 1e9, speed = 0, total = 0;
  for (auto _ : state) {
    const auto start = Clock::now();
    decoder.step(ids);
    const double took = seconds(start);
    step = std::min(step, took);
    total += took;
    state.SetIterationTime(took);
    speed = std::max(speed, decoder.read_speed());
  }
  const auto tokens = static_cast<double>(batch), bound = static_cast<double>(decoder.weight_bytes()) / speed;
  state.SetLabel(decoder.description() + (state.range(1) == 1 ? ", softmax" : ", running"));
  state.counters["tokens_s"] = tokens * static_cast<double>(state.iterations()) / total;
  state.counters["tokens_s_best"] = tokens / step;
  state.counters["bound_tokens_s"] = tokens / bound;
  state.counters["of_bound"] = bound / step;
  state.counters["read_GB_s"] = speed / 1e9;
  state.counters["prompt_tokens_s"] = static_cast<double>(context) / prompt_seconds;
}

void settings(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t format : {0, 1, 2}) {
    for (const std::int64_t softmax : {0, 1}) {
      for (const std::int64_t context : {16, 1024, 3800}) bench->Args({format, softmax, context, 1});
      bench->Args({format, softmax, 16, 16});
      bench->Args({format, softmax, 3800, 16});
    }
  }
}
BENCHMARK(decode)
    ->Apply(settings)
    ->ArgNames({"weights", "softmax", "context", "batch"})
    ->UseManualTime()
    ->Iterations(64)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace linformer

BENCHMARK_MAIN();
