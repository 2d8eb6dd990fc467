// Every form of attention, by path, forward and with backward, beside the bare matrix products that the form is made of.
// Shape letters: B batch, H heads, N length, D head width, K slots, W window, r slots a block, C chunk.
//   attention_bench [--benchmark_filter=window_.*/forward/2048]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "linformer/ops/attention.hpp"

namespace {

using linformer::ops::Path;
constexpr std::int64_t B = 1, H = 6, D = 64, K = 64, W = 64, C = 64;

struct Inputs {
  at::Tensor query, key, value, projection_key, projection_value;
  std::vector<at::Tensor> all() const { return {query, key, value, projection_key, projection_value}; }
};

Inputs draw(std::int64_t rows, std::int64_t columns, std::int64_t n, bool gradients) {
  at::manual_seed(n);
  const auto projection = [&] { return (at::randn({rows, columns}) / std::sqrt(static_cast<double>(columns))).requires_grad_(gradients); };
  const auto input = [&] { return at::randn({B, H, n, D}).requires_grad_(gradients); };
  return {input(), input(), input(), projection(), projection()};
}

struct Form {
  std::string name;
  std::function<Inputs(std::int64_t n, bool gradients)> inputs;
  std::function<at::Tensor(const Inputs&, Path)> run;
  std::function<void(const Inputs&, std::int64_t n)> products;
};

at::Tensor linformer(const Inputs& in, linformer::ops::AttentionOptions options) {
  return linformer::ops::attention(in.query, in.key, in.value, in.projection_key, in.projection_value, options);
}

// Scores and mix of groups of `queries` rows, each against `seen` keys of its own. The keys are drawn once: making them is no part of the products.
void score_and_mix(const Inputs& in, std::int64_t queries, std::int64_t seen) {
  static at::Tensor key;
  const auto query = in.query.reshape({-1, queries, D});
  const std::vector<std::int64_t> shape{query.size(0), seen, D};
  if (!key.defined() || key.sizes() != at::IntArrayRef(shape)) key = at::randn(shape);
  benchmark::DoNotOptimize(at::bmm(at::bmm(query, key.transpose(1, 2)), key));
}

void summarise(const Inputs& in) {
  benchmark::DoNotOptimize(at::matmul(in.projection_key, in.key));
  benchmark::DoNotOptimize(at::matmul(in.projection_value, in.value));
}

void block_products(const Inputs& in, std::int64_t n) {
  const auto keys = in.key.reshape({B * H * n / W, W, D});
  benchmark::DoNotOptimize(at::matmul(in.projection_key, keys));
  benchmark::DoNotOptimize(at::matmul(in.projection_value, keys));
  // On average half of the N·r/W slots are visible, and 1.5 W positions; 2 W are computed.
  const auto seen = 2 * W + in.projection_key.size(0) * n / W / 2;
  score_and_mix(in, W, seen);
}

void prefix_products(const Inputs& in, std::int64_t n) {
  const auto query = in.query.reshape({B * H * n / C, C, D}), key = in.key.reshape({B * H * n / C, C, D});
  const auto e = in.projection_key.narrow(1, 0, C);
  const auto state = at::matmul(e, key);                                              // E_c K_c, F_c V_c
  benchmark::DoNotOptimize(at::matmul(e, key));
  const auto logits = at::bmm(query, state.transpose(1, 2));                          // Q Sᵀ
  const auto inner = at::matmul(at::bmm(query, key.transpose(1, 2)), e.transpose(0, 1));  // (Q K_cᵀ) E_cᵀ
  benchmark::DoNotOptimize(at::bmm(logits, state));                                   // A U
  benchmark::DoNotOptimize(at::bmm(at::matmul(inner, e), key));                       // (A F_c) V_c
}

std::vector<Form> forms() {
  const auto whole = [](std::int64_t n, bool gradients) { return draw(K, n, n, gradients); };
  // `block`: K slots over 2048 positions are r = K·W/2048 a block.
  const auto block = [](std::int64_t n, bool gradients) { return draw(K * W / 2048, W, n, gradients); };
  return {
      {"softmax_causal", whole,
       [](const Inputs& in, Path path) { return linformer::ops::softmax_attention(in.query, in.key, in.value, {.causal = true, .path = path}); },
       [](const Inputs& in, std::int64_t n) { score_and_mix(in, n, n); }},
      {"bidirectional", whole, [](const Inputs& in, Path path) { return linformer(in, {.path = path}); },
       [](const Inputs& in, std::int64_t n) { summarise(in), score_and_mix(in, n, K); }},
      {"prefix", whole, [](const Inputs& in, Path path) { return linformer(in, {.causal = true, .path = path}); }, prefix_products},
      {"window_running", whole, [](const Inputs& in, Path path) { return linformer(in, {.causal = true, .window = W, .path = path}); },
       [](const Inputs& in, std::int64_t) { summarise(in), score_and_mix(in, W, 2 * W + K); }},
      {"window_block", block, [](const Inputs& in, Path path) { return linformer(in, {.causal = true, .window = W, .block = true, .path = path}); },
       block_products},
  };
}

// Empty when the path serves the form and agrees with the reference; else why it isn't timed.
std::string parity(const Form& form, Path path) {
  try {
    const at::NoGradGuard no_grad;
    const auto in = form.inputs(256, false);
    const auto expected = form.run(in, Path::reference);
    const auto error = ((form.run(in, path) - expected).norm() / expected.norm()).item<double>();
    return error < 1e-5 ? "" : fmt::format("differs from the reference by {:.1e} (relative root mean square)", error);
  } catch (const std::exception& failure) {  // of LibTorch's long messages the first line says what happened
    const std::string text = failure.what();
    return text.substr(0, text.find('\n'));
  }
}

void time_form(benchmark::State& state, const Form& form, Path path, bool backward) {
  const auto why_not = parity(form, path);
  if (!why_not.empty()) return state.SkipWithError(why_not.c_str());
  const auto in = form.inputs(state.range(0), backward);
  const at::AutoGradMode mode(backward);
  for (auto _ : state) {
    const auto out = form.run(in, path);
    if (backward) out.sum().backward();
    benchmark::DoNotOptimize(out.data_ptr());
    for (const auto& tensor : in.all()) tensor.mutable_grad() = at::Tensor();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));  // tokens
}

void time_products(benchmark::State& state, const Form& form) {
  const at::NoGradGuard no_grad;
  const auto in = form.inputs(state.range(0), false);
  for (auto _ : state) form.products(in, state.range(0));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void add(const std::string& name, std::function<void(benchmark::State&)> run, const std::vector<std::int64_t>& lengths) {
  auto* entry = benchmark::RegisterBenchmark(name.c_str(), std::move(run));
  for (const auto n : lengths) entry->Arg(n);
  entry->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(0.2);
}

void add_form(const Form& form) {
  add(form.name + "/products", [form](benchmark::State& state) { time_products(state, form); }, {512, 2048});
  for (const auto& [path, path_name] : {std::pair{Path::reference, "reference"}, {Path::composed, "composed"}, {Path::kernel, "kernel"}}) {
    for (const bool backward : {false, true}) {
      const auto name = fmt::format("{}/{}/{}", form.name, path_name, backward ? "forward_backward" : "forward");
      // The reference takes N×K×D memory: it is here as the law, at the small length only.
      const std::vector<std::int64_t> lengths = path == Path::reference ? std::vector<std::int64_t>{512} : std::vector<std::int64_t>{512, 2048};
      add(name, [form, path = path, backward](benchmark::State& state) { time_form(state, form, path, backward); }, lengths);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::AddCustomContext("shape", fmt::format("B {} H {} D {} K {} W {}, float32", B, H, D, K, W));
  for (const auto& form : forms()) add_form(form);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
