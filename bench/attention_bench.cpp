// Every form of attention, by path and dtype, forward and with backward, beside the bare matrix products that the form
// is made of. Shape letters: B batch, H heads, N length, D head width, K slots, W window, r slots a block, C chunk.
//   attention_bench [--benchmark_filter='window_.*/bfloat16/forward/2048']
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "linformer/core/format.hpp"
#include "linformer/kernels/isa.hpp"
#include "linformer/ops/attention.hpp"

namespace {

using linformer::formatted;
using linformer::ops::Path;
constexpr std::int64_t B = 1, H = 6, D = 64, K = 64, W = 64, C = 64;
constexpr std::int64_t r = K * W / 2048;  // of `block`: K slots over 2048 positions, and so many more over longer texts

struct Inputs {
  at::Tensor query, key, value, projection_key, projection_value, gradient;  // the last one: of the output
  std::vector<at::Tensor> leaves() const { return {query, key, value, projection_key, projection_value}; }
};

/// `count` products of (rows,inner) by (inner,columns) that may run as one batch.
struct Product {
  std::int64_t count, rows, inner, columns;
};

struct Form {
  std::string name;
  bool block_projection;  // (r,W) instead of (K,N)
  std::function<at::Tensor(const Inputs&, Path)> run;
  std::int64_t piece;                                            // positions that `products` are of
  std::function<std::vector<Product>(std::int64_t n)> products;  // of one piece, in a text of n positions
  std::function<std::int64_t(std::int64_t n)> columns;           // of a row of weights that the composed form keeps
  std::vector<Path> paths;
  std::vector<at::ScalarType> dtypes;
  std::vector<std::int64_t> lengths;
};

struct Point {
  Form form;
  Path path;
  at::ScalarType dtype;
  bool backward;
};

std::string name_of(at::ScalarType dtype) { return dtype == at::kBFloat16 ? "bfloat16" : "float32"; }

Inputs draw(const Form& form, std::int64_t n, at::ScalarType dtype, bool gradients) {
  at::manual_seed(n);
  const auto rows = form.block_projection ? r : K, columns = form.block_projection ? W : n;
  const auto leaf = [&](const at::Tensor& values) { return values.to(dtype).requires_grad_(gradients); };
  const auto scale = 1 / std::sqrt(static_cast<double>(columns));
  const auto projection = [&] { return leaf(at::randn({rows, columns}) * scale); };
  const auto input = [&] { return leaf(at::randn({B, H, n, D})); };
  return {input(), input(), input(), projection(), projection(), at::randn({B, H, n, D}).to(dtype)};
}

at::Tensor linformer(const Inputs& in, linformer::ops::AttentionOptions options) {
  return linformer::ops::attention(in.query, in.key, in.value, in.projection_key, in.projection_value, options);
}

/// QKᵀ and AV of `count` groups of queries, each against `seen` keys of its own.
std::vector<Product> score_and_mix(std::int64_t count, std::int64_t queries, std::int64_t seen) {
  return {{count, queries, D, seen}, {count, queries, seen, D}};
}

std::vector<Product> joined(std::vector<Product> first, const std::vector<Product>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// EK and FV of `count` blocks.
std::vector<Product> summarise(std::int64_t count, std::int64_t length) {
  return {{count, K, length, D}, {count, K, length, D}};
}

std::vector<Product> prefix_products(std::int64_t chunks) {
  return joined(summarise(chunks, C), {{chunks, C, D, K},    // Q Sᵀ
                                       {chunks, C, D, C},    // Q K_cᵀ
                                       {chunks, C, C, K},    // (Q K_cᵀ) E_cᵀ
                                       {chunks, C, K, D},    // A U
                                       {chunks, C, K, C},    // A F_c
                                       {chunks, C, C, D}});  // (A F_c) V_c
}

std::vector<Form> forms() {
  using Sizes = std::vector<std::int64_t>;
  const Sizes all{512, 2048, 8192, 32768}, few{512, 2048};
  const std::vector<at::ScalarType> both{at::kFloat, at::kBFloat16}, one{at::kFloat};
  const std::vector<Path> fast{Path::kernel, Path::composed}, composed{Path::composed}, fused{Path::fused};
  // Operands are of a piece, so that they stay in the caches: 512 positions of the blocked forms, 2048 of the others.
  constexpr std::int64_t P = 512, blocks = H * P / W;
  return {
      {.name = "softmax_causal",
       .block_projection = false,
       .run =
           [](const Inputs& in, Path path) {
             return linformer::ops::softmax_attention(in.query, in.key, in.value, {.causal = true, .path = path});
           },
       // On average a query sees half of the keys.
       .piece = P,
       .products = [](std::int64_t n) { return score_and_mix(H, P, n / 2); },
       .columns = [](std::int64_t) { return D; },  // the engine's fused attention keeps no weights
       .paths = fused,
       .dtypes = one,
       .lengths = few},
      {.name = "prefix",
       .block_projection = false,
       .run = [](const Inputs& in, Path path) { return linformer(in, {.causal = true, .path = path}); },
       .piece = P,
       .products = [](std::int64_t) { return prefix_products(H * P / C); },
       .columns = [](std::int64_t) { return K + C; },
       .paths = composed,
       .dtypes = one,
       .lengths = few},
      {.name = "bidirectional",
       .block_projection = false,
       .run = [](const Inputs& in, Path path) { return linformer(in, {.path = path}); },
       .piece = 2048,
       .products =
           [](std::int64_t n) {
             const auto piece = std::min<std::int64_t>(n, 2048);
             return joined(summarise(H, piece), score_and_mix(H, piece, K));
           },
       .columns = [](std::int64_t) { return K; },
       .paths = fast,
       .dtypes = both,
       .lengths = all},
      {.name = "window_running",
       .block_projection = false,
       .run = [](const Inputs& in, Path path) { return linformer(in, {.causal = true, .window = W, .path = path}); },
       // On average a query sees 1.5 W positions.
       .piece = P,
       .products = [](std::int64_t) { return joined(summarise(blocks, W), score_and_mix(blocks, W, 3 * W / 2 + K)); },
       .columns = [](std::int64_t) { return 2 * (2 * W + K); },  // keys and values are copied for each block
       .paths = fast,
       .dtypes = both,
       .lengths = all},
      {.name = "window_block",
       .block_projection = true,
       .run = [](const Inputs& in,
                 Path path) { return linformer(in, {.causal = true, .window = W, .block = true, .path = path}); },
       // On average half of the r·N/W slots are visible besides. All blocks' slots are one product.
       .piece = P,
       .products =
           [](std::int64_t n) {
             const std::vector<Product> slots(2, {1, r, W, blocks * D});
             return joined(slots, score_and_mix(blocks, W, 3 * W / 2 + r * n / W / 2));
           },
       .columns = [](std::int64_t n) { return 2 * W + r * n / W; },
       .paths = fast,
       .dtypes = both,
       .lengths = all},
  };
}

double distance(const at::Tensor& given, const at::Tensor& expected) {
  return ((given.to(at::kFloat) - expected).norm() / expected.norm()).item<double>();
}

/// The output, and with `backward` the gradients of what has one.
std::vector<at::Tensor> results(const Form& form, Path path, const Inputs& in, bool backward) {
  const c10::AutoGradMode mode(backward);
  const auto out = form.run(in, path);
  std::vector<at::Tensor> all{out.detach()};
  if (!backward) return all;
  out.backward(in.gradient.to(out.scalar_type()));
  for (const auto& leaf : in.leaves()) all.push_back(leaf.grad());
  return all;
}

/// Empty when the path serves the form and agrees with the float32 reference on the same numbers; else why it isn't
/// timed.
std::string parity(const Point& point) {
  constexpr std::int64_t n = 512;
  const auto tolerance = point.dtype == at::kBFloat16 ? 2e-2 : 1e-5;  // eight bits of fraction, in inputs and weights
  try {
    auto in = draw(point.form, n, point.dtype, point.backward), exact = in;
    for (auto* tensor : {&exact.query, &exact.key, &exact.value, &exact.projection_key, &exact.projection_value})
      *tensor = tensor->detach().to(at::kFloat, false, true).requires_grad_(point.backward);
    const auto given = results(point.form, point.path, in, point.backward);
    const auto expected = results(point.form, Path::reference, exact, point.backward);
    double error = 0;
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (expected[i].defined()) error = std::max(error, distance(given[i], expected[i]));
    }
    if (error < tolerance) return "";  // false for NaN too
    return formatted("differs from the reference by {:.1e} (relative root mean square)", error);
  } catch (const std::exception& failure) {  // of LibTorch's long messages the first line says what happened
    const std::string text = failure.what();
    return text.substr(0, text.find('\n'));
  }
}

/// Empty, or that the composed form's N×X weights, of which several copies live at once, would take too much.
std::string too_large(const Point& point, std::int64_t n) {
  constexpr double most = 5;
  if (point.path == Path::kernel) return "";
  const auto weights =
      static_cast<double>(B * H * n * point.form.columns(n) * static_cast<std::int64_t>(sizeof(float)));
  const auto gib = weights * (point.backward ? 8 : 4) / (1 << 30);
  if (gib <= most) return "";
  return formatted("left out: it would take about {:.0f} GiB, and more than {:.0f} are not taken here", gib, most);
}

void time_form(benchmark::State& state, const Point& point, std::string& why_not) {
  if (why_not.empty()) why_not = too_large(point, state.range(0));
  if (!why_not.empty()) return state.SkipWithError(why_not.c_str());
  const auto in = draw(point.form, state.range(0), point.dtype, point.backward);
  const c10::AutoGradMode mode(point.backward);
  for (auto _ : state) {
    const auto out = point.form.run(in, point.path);
    if (point.backward) out.backward(in.gradient);
    benchmark::DoNotOptimize(out.data_ptr());
    for (const auto& tensor : in.leaves()) tensor.mutable_grad() = at::Tensor();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));  // tokens
}

/// A product with room for its results; `out` stands for its own gradient too, since only the shapes matter.
struct Operands {
  at::Tensor left, right, out, left_gradient, right_gradient;

  Operands(const Product& product, at::ScalarType dtype) {
    const auto drawn = [&](std::int64_t rows, std::int64_t columns) {
      return at::randn({product.count, rows, columns}).to(dtype);
    };
    left = drawn(product.rows, product.inner), right = drawn(product.inner, product.columns);
    out = drawn(product.rows, product.columns);
    left_gradient = at::empty_like(left), right_gradient = at::empty_like(right);
  }
  void forward() { at::bmm_out(out, left, right); }
  void backward() {
    at::bmm_out(left_gradient, out, right.mT());
    at::bmm_out(right_gradient, left.mT(), out);
  }
};

/// What the form's products take and nothing else: no softmax, no copies, no memory of their own. Backward has two for
/// each of them; the kernels make the scores once more there, which is not counted.
void time_products(benchmark::State& state, const Point& point) {
  const c10::NoGradGuard no_grad;
  const auto n = state.range(0);
  std::vector<Operands> all;
  for (const auto& product : point.form.products(n)) all.emplace_back(product, point.dtype);
  const auto pieces = std::max<std::int64_t>(n / point.form.piece, 1);
  for (auto _ : state) {
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      for (auto& operands : all) {
        operands.forward();
        if (point.backward) operands.backward();
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n);
}

void add(const std::string& name, std::function<void(benchmark::State&)> run,
         const std::vector<std::int64_t>& lengths) {
  auto* entry = benchmark::RegisterBenchmark(name.c_str(), std::move(run));
  for (const auto n : lengths) entry->Arg(n);
  entry->Unit(benchmark::kMillisecond)->UseRealTime();
}

void add_form(const Form& form, at::ScalarType dtype) {
  for (const bool backward : {false, true}) {
    const auto name = [&](const char* what) {
      return formatted("{}/{}/{}/{}", form.name, what, name_of(dtype), backward ? "forward_backward" : "forward");
    };
    const Point bare{form, Path::automatic, dtype, backward};
    add(name("products"), [=](benchmark::State& state) { time_products(state, bare); }, form.lengths);
    for (const auto path : form.paths) {
      const Point point{form, path, dtype, backward};
      add(
          name(path == Path::kernel ? "kernel" : "composed"),
          [=](benchmark::State& state) {
            static std::map<std::string, std::string> checked;  // by path: parity is asked once
            const auto key = formatted("{}{}{}{}", form.name, static_cast<int>(path), name_of(dtype), backward);
            if (!checked.contains(key)) checked[key] = parity(point);
            auto why_not = checked[key];
            time_form(state, point, why_not);
          },
          form.lengths);
    }
  }
}

/// Some processors emulate bfloat16 at a five-hundredth of the speed: all its points would take hours.
bool is_hopeless(at::ScalarType dtype) {
  const auto seconds = [](at::ScalarType type) {
    const auto a = at::randn({128, 128}).to(type);
    double best = 1;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      at::mm(a, a);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  return seconds(dtype) > 4 * seconds(at::kFloat);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const bool no_bfloat16 = is_hopeless(at::kBFloat16);
  if (no_bfloat16) std::cerr << "attention_bench: bfloat16 is left out: this processor has no fast products of it\n";
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::AddCustomContext("shape", formatted("B {} H {} D {} K {} W {} r {}", B, H, D, K, W, r));
  benchmark::AddCustomContext("isa", std::string(linformer::kernels::isa_name(linformer::kernels::current_isa())));
  for (const auto& form : forms()) {
    for (const auto dtype : form.dtypes) {
      if (dtype == at::kFloat || !no_bfloat16) add_form(form, dtype);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
