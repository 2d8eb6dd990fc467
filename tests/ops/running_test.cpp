// Window attention that makes its running slots where it attends. Shape letters: see ops/running.hpp.
#include "linformer/ops/running.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "linformer/ops/reference.hpp"
#include "linformer/ops/summarise.hpp"
#include "ops/attend_paths.hpp"
#include "support/closeness.hpp"
#include "support/errors.hpp"

namespace linformer::ops {
namespace {

using test::Tensors;

enum class Weights { shared, own, periodic, of_text };
enum class Decay { none, fixed, of_block };
enum class Normed { none, keys, both, rms };

struct RunningCase {
  std::int64_t batch, heads, key_heads, length, width, window, slots, first_block;
  Weights weights = Weights::shared;
  Decay decay = Decay::none;
  Normed normed = Normed::none;
  bool rotary = false;  // keys of the window and queries of slots of their own
  std::int64_t steps() const { return (length + window - 1) / window; }
  std::int64_t past() const { return first_block > 0 ? 1 : 0; }
  std::int64_t blocks() const { return steps() + past(); }
};

std::ostream& operator<<(std::ostream& out, const RunningCase& form) {
  return out << "N" << form.length << "_D" << form.width << "_W" << form.window << "_K" << form.slots << "_H"
             << form.heads << "_G" << form.key_heads << "_first" << form.first_block << "_weights"
             << static_cast<int>(form.weights) << "_decay" << static_cast<int>(form.decay) << "_norm"
             << static_cast<int>(form.normed) << "_rotary" << form.rotary;
}

// Below, at and above a tile and a vector; texts without slots, that go on, and of more steps than two checkpoints;
// heads that share keys; K and D odd.
const std::vector<RunningCase> kRunningCases{
    {1, 1, 1, 1, 5, 3, 2, 0},
    {2, 2, 2, 23, 4, 5, 3, 0},
    {2, 2, 2, 23, 7, 5, 3, 0, Weights::own, Decay::fixed, Normed::both},
    {1, 4, 2, 300, 64, 64, 64, 0, Weights::shared, Decay::none, Normed::keys},
    {1, 2, 2, 333, 20, 70, 67, 0, Weights::own, Decay::of_block, Normed::both},
    {2, 2, 1, 9, 7, 5, 3, 1, Weights::shared, Decay::fixed, Normed::keys},
    {1, 2, 2, 20, 7, 5, 1, 2, Weights::periodic, Decay::none, Normed::rms},
    {2, 4, 2, 63, 17, 20, 5, 4, Weights::of_text, Decay::of_block, Normed::none},
    {2, 6, 3, 63, 8, 6, 33, 0, Weights::periodic, Decay::fixed, Normed::both, true},
    {1, 2, 2, 1031, 9, 2, 5, 0, Weights::shared, Decay::fixed, Normed::keys},
    {2, 1, 1, 521, 16, 2, 2, 3, Weights::of_text, Decay::none, Normed::both, true},
};

constexpr std::int64_t kBias = 16, kRotary = 17;

/// query, key, value, weights of both, decay, sums before of both, four norms (weight, bias), slot bias, window key and
/// slot query. What a case has none of is drawn too, and left out of the call.
Tensors running_inputs(const RunningCase& form, at::ScalarType dtype) {
  const auto draw = [&](std::vector<std::int64_t> sizes, double scale = 1) { return at::randn(sizes) * scale; };
  const auto rows = form.length + form.past() * form.window;
  std::vector<std::int64_t> weights{form.slots, (form.first_block + form.steps()) * form.window};
  if (form.weights == Weights::periodic) weights[1] = 3 * form.window;
  if (form.weights == Weights::of_text) weights[1] = rows;
  if (form.weights == Weights::own || form.weights == Weights::of_text) weights.insert(weights.begin(), form.key_heads);
  if (form.weights == Weights::of_text) weights.insert(weights.begin(), form.batch);
  std::vector<std::int64_t> decay{form.key_heads, form.slots};
  if (form.decay == Decay::of_block) decay = {form.batch, form.key_heads, form.slots, form.blocks()};
  const std::vector<std::int64_t> keys{form.batch, form.key_heads, rows, form.width};
  const std::vector<std::int64_t> queries{form.batch, form.heads, form.length, form.width};
  const std::vector<std::int64_t> sums{form.batch, form.key_heads, form.slots, form.width};
  Tensors x{draw(queries), draw(keys), draw(keys), draw(weights, 0.4), draw(weights, 0.4), at::rand(decay) * 0.5 + 0.5,
            draw(sums),    draw(sums)};
  for (int norm = 0; norm < 4; ++norm) {
    x.push_back(1 + draw({form.width}, 0.2));
    x.push_back(draw({form.width}, 0.2));
  }
  x.push_back(draw({form.heads}));
  x.push_back(draw(keys));
  x.push_back(draw(queries));
  for (auto& each : x) each = each.to(dtype);
  return x;
}

LayerNorm norm_at(const Tensors& x, std::size_t place, bool rms) {
  return {x[place], rms ? at::Tensor() : x[place + 1], rms};
}

RunningResult attend_case(const RunningCase& form, const Tensors& x, Path path) {
  const bool rms = form.normed == Normed::rms;
  SlotWrites writes{.key_weights = x[3], .value_weights = x[4]};
  if (form.decay != Decay::none) writes.decay = x[5];
  if (form.weights != Weights::of_text) writes.first = std::max<std::int64_t>(form.first_block - 1, 0) * form.window;
  if (form.weights == Weights::periodic) writes.period = 3 * form.window;
  RunningOptions options{
      .window = form.window, .first = form.first_block * form.window, .slot_bias = x[kBias], .path = path};
  if (form.first_block > 0) options.before = Slots{x[6], x[7]};
  if (form.normed != Normed::none) {
    options.norms.slot_key = norm_at(x, 8, rms);
    if (!form.rotary) options.norms.window_key = norm_at(x, 10, rms);
  }
  if (form.normed == Normed::both || rms) {
    options.norms.slot_value = norm_at(x, 12, rms);
    options.norms.window_value = norm_at(x, 14, rms);
  }
  if (form.rotary) {
    options.window_key = x[kRotary];
    options.slot_query = x[kRotary + 1];
  }
  auto made = attend_running(x[0], x[1], x[2], writes, options);
  EXPECT_EQ(last_path(), path);
  return made;
}

/// Output and sums after in one row, so that both have gradients.
test::Operation running_operation(const RunningCase& form, Path path) {
  return [form, path](const Tensors& x) {
    const auto made = attend_case(form, x, path);
    const auto dtype = made.sums.key.scalar_type();
    EXPECT_TRUE(dtype == at::kFloat || dtype == at::kDouble);
    return at::cat({made.out.flatten().to(dtype), 0.3 * made.sums.key.flatten(), 0.3 * made.sums.value.flatten()});
  };
}

// What the name says: sums of blocks, normed, beside the window, as the operators for each of these have it.
TEST(Running, ReferenceIsTheSumOfItsParts) {
  const RunningCase form{2, 4, 2, 23, 5, 4, 3, 0, Weights::own, Decay::fixed, Normed::both};
  const auto x = running_inputs(form, at::kDouble);
  const auto made = attend_case(form, x, Path::reference);
  SummariseOptions summarise{.window = 4};
  summarise.decay = x[5];
  const auto sums = reference::summarise_linear(x[1], x[2], x[3], x[4], summarise);
  const auto norm = [&](const at::Tensor& rows, std::size_t place) {
    return layer_norm(rows, norm_at(x, place, false), at::kDouble);
  };
  const auto all = [](const at::Tensor& rows) { return repeat_heads(rows, 4); };
  const auto out = reference::attend(x[0], all(norm(x[1], 10)), all(norm(x[2], 14)),
                                     {all(norm(sums.key, 8)), all(norm(sums.value, 12))},
                                     {.causal = true, .window = 4, .slot_bias = x[kBias]});
  EXPECT_LT(test::relative_error(made.out, out), 1e-12);
  EXPECT_LT(test::relative_error(made.sums.key, sums.key.select(2, 5)), 1e-12);
  EXPECT_LT(test::relative_error(made.sums.value, sums.value.select(2, 5)), 1e-12);
}

Tensors inputs_of_any_batch(const RunningCase& form, at::ScalarType dtype, std::int64_t) {
  return running_inputs(form, dtype);
}

TEST(Running, ComposedEqualsTheReference) {
  test::expect_composed_same(kRunningCases, running_operation, inputs_of_any_batch);
}

TEST(Running, KernelsEqualTheReferenceWithGradients) {
  test::expect_kernels_same(kRunningCases, running_operation, inputs_of_any_batch);
}

TEST(Running, KernelsErrAsMuchAsComposedInBfloat16) {
  test::for_each_isa([&] {
    for (const auto& form : kRunningCases) {
      SCOPED_TRACE(testing::Message() << form);
      const auto only_out = [&](Path path) {
        return [&form, path](const Tensors& x) { return attend_case(form, x, path).out; };
      };
      const auto x = running_inputs(form, at::kBFloat16);
      test::expect_as_close_as(only_out(Path::composed), only_out(Path::kernel), only_out(Path::reference), x);
    }
  });
}

// Autocast's case: parameters in float32, products in bfloat16. Sums stay float32.
TEST(Running, KernelTakesWideParametersWithShortRows) {
  const RunningCase form{2, 2, 2, 63, 8, 5, 7, 0, Weights::own, Decay::fixed, Normed::both};
  auto x = running_inputs(form, at::kFloat);
  for (const auto place : {0, 1, 2}) x[place] = x[place].to(at::kBFloat16);
  for (auto& each : x) each.requires_grad_();
  const auto made = attend_case(form, x, Path::kernel);
  EXPECT_EQ(made.out.scalar_type(), at::kBFloat16);
  made.out.to(at::kFloat).square().sum().backward();
  EXPECT_EQ(x[1].grad().scalar_type(), at::kBFloat16);
  EXPECT_EQ(x[3].grad().scalar_type(), at::kFloat);
  Tensors wide;
  for (const auto& each : x) wide.push_back(each.detach().to(at::kDouble));
  EXPECT_LT(test::relative_error(made.sums.key, attend_case(form, wide, Path::reference).sums.key), 6e-3);
}

// As where keys and values, or layers, share one.
TEST(Running, OneTensorForBothWeightsGetsOneGradient) {
  for (const auto weights : {Weights::shared, Weights::own, Weights::of_text}) {
    const RunningCase form{2, 2, 2, 63, 8, 5, 7, 0, weights, Decay::fixed, Normed::keys};
    const auto by = [&](Path path) {
      return [&form, path](const Tensors& x) {
        auto same = x;
        same[4] = same[3];
        return running_operation(form, path)(same);
      };
    };
    test::expect_same(by(Path::kernel), by(Path::reference), running_inputs(form, at::kFloat),
                      test::tolerance_of(at::kFloat));
  }
}

TEST(Running, TextInChunksIsTheWhole) {
  const RunningCase whole{2, 4, 2, 47, 6, 5, 3, 0, Weights::own, Decay::fixed, Normed::both};
  const auto chunked = [&](Path path) {
    return [&whole, path](const Tensors& x) {
      std::vector<at::Tensor> outs;
      Slots sums;
      const std::vector<std::int64_t> borders{0, 10, 15, 35, 47};
      for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
        const auto first = borders[i], end = borders[i + 1], from = std::max<std::int64_t>(first - 5, 0);
        auto part = x;
        part[0] = x[0].narrow(2, first, end - first);
        part[1] = x[1].narrow(2, from, end - from), part[2] = x[2].narrow(2, from, end - from);
        // At a border the block leaves the window that the last block of queries saw.
        const auto leave = [&](const at::Tensor& sum, const at::Tensor& weights, const at::Tensor& rows) {
          const auto at = from - 5;
          return sum * x[5].unsqueeze(-1) + at::matmul(weights.narrow(-1, at, 5), rows.narrow(2, at, 5));
        };
        if (first > 5) sums = {leave(sums.key, x[3], x[1]), leave(sums.value, x[4], x[2])};
        if (first > 0) part[6] = sums.key, part[7] = sums.value;
        auto form = whole;
        form.length = end - first, form.first_block = first / 5;
        const auto made = attend_case(form, part, path);
        sums = made.sums;
        outs.push_back(made.out);
      }
      outs.push_back(0.3 * sums.key), outs.push_back(0.3 * sums.value);
      for (auto& each : outs) each = each.flatten();
      return at::cat(outs);
    };
  };
  for (const auto path : {Path::composed, Path::kernel}) {
    SCOPED_TRACE(path_name(path));
    const auto dtype = path == Path::kernel ? at::kFloat : at::kDouble;
    auto x = running_inputs(whole, dtype);
    const auto in_order = [&](const Tensors& all) {
      const auto made = attend_case(whole, all, Path::reference);
      // In the order of positions, a chunk after the other.
      std::vector<at::Tensor> rows;
      const std::vector<std::int64_t> borders{0, 10, 15, 35, 47};
      for (std::size_t i = 0; i + 1 < borders.size(); ++i)
        rows.push_back(made.out.narrow(2, borders[i], borders[i + 1] - borders[i]).flatten());
      rows.push_back(0.3 * made.sums.key.flatten()), rows.push_back(0.3 * made.sums.value.flatten());
      return at::cat(rows);
    };
    test::expect_same(chunked(path), in_order, x, test::tolerance_of(dtype));
  }
}

TEST(Running, GradientsAreThoseOfDifferences) {
  const RunningCase form{1, 2, 1, 11, 3, 2, 2, 1, Weights::periodic, Decay::fixed, Normed::both};
  const auto x = running_inputs(form, at::kDouble);
  EXPECT_LT(test::gradient_check(running_operation(form, Path::composed), x), 1e-6);
}

TEST(Running, KernelHasSecondDerivatives) {
  const RunningCase form{1, 2, 1, 11, 3, 2, 2, 0, Weights::own, Decay::fixed, Normed::keys};
  const auto x = running_inputs(form, at::kFloat);
  Tensors wide;
  for (const auto& each : x) wide.push_back(each.to(at::kDouble));
  const auto second = [&](Path path) {
    return [&form, path](const Tensors& inputs) {
      return test::gradients_of([&](const Tensors& leaves) { return running_operation(form, path)(leaves); }, inputs);
    };
  };
  const auto grad = at::randn_like(second(Path::kernel)(x));
  const auto got = test::run_with_gradients(second(Path::kernel), x, grad, at::kFloat),
             want = test::run_with_gradients(second(Path::composed), x, grad, at::kDouble);
  EXPECT_LT(test::relative_error(got.output, want.output), 1e-5);
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_LT((got.gradients[i].to(at::kDouble) - want.gradients[i]).norm().item<double>(),
              1e-4 * (1 + want.gradients[i].norm().item<double>()))
        << "input " << i;
}

TEST(Running, ThreadsGiveTheSameBitsWhereNothingIsShared) {
  const int threads_before = at::get_num_threads();
  const RunningCase form{2, 4, 2, 63, 8, 5, 7, 0, Weights::of_text, Decay::of_block, Normed::both};
  const auto x = running_inputs(form, at::kFloat);
  const auto operation = running_operation(form, Path::kernel);
  const auto grad = at::randn_like(operation(x));
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    return test::run_with_gradients(operation, x, grad, at::kFloat);
  };
  const auto one = run(1), two = run(2), again = run(2);
  at::set_num_threads(threads_before);
  EXPECT_TRUE(at::equal(one.output, two.output));
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(at::equal(two.gradients[i], again.gradients[i])) << i;
    EXPECT_TRUE(at::equal(one.gradients[i], two.gradients[i])) << i;
  }
}

TEST(Running, HugeValuesAndNaNAreThoseOfComposed) {
  const RunningCase form{1, 2, 2, 40, 8, 5, 3, 0, Weights::shared, Decay::fixed, Normed::keys};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto x = running_inputs(form, dtype);
    x[0] = x[0] * 30, x[1] = x[1] * 1e15, x[2] = x[2] * 1e18;
    const auto huge = attend_case(form, x, Path::kernel).out;
    EXPECT_TRUE(huge.isfinite().all().item<bool>());
    EXPECT_LT(test::relative_error(huge, attend_case(form, x, Path::composed).out), 0.1);
    x[1] = x[1].clone();
    x[1][0][1][7][2] = std::numeric_limits<double>::quiet_NaN();
    const auto lost = [&](Path path) { return attend_case(form, x, path).out.isnan().all(-1); };
    const auto rows = lost(Path::kernel);
    EXPECT_TRUE(at::equal(rows, lost(Path::composed)));
    EXPECT_EQ(rows.sum().item<std::int64_t>(), 40 - 7);  // of head 1, from the key on
  }
}

TEST(Running, AutomaticTakesTheKernelForWhatItServes) {
  const RunningCase form{1, 2, 2, 40, 8, 5, 3, 0};
  const auto path_of = [&](at::ScalarType dtype) {
    const auto x = running_inputs(form, dtype);
    attend_running(x[0], x[1], x[2], {.key_weights = x[3], .value_weights = x[4]}, {.window = 5});
    return last_path();
  };
  EXPECT_EQ(path_of(at::kFloat), Path::kernel);
  EXPECT_EQ(path_of(at::kBFloat16), Path::kernel);
  EXPECT_EQ(path_of(at::kDouble), Path::composed);
}

TEST(Running, SaysWhatDoesNotFit) {
  const RunningCase form{1, 2, 2, 40, 8, 5, 3, 0};
  const auto x = running_inputs(form, at::kFloat);
  const auto message = [&](const SlotWrites& writes, const RunningOptions& options) {
    return test::message_of([&] { attend_running(x[0], x[1], x[2], writes, options); });
  };
  const auto holds = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos ? "" : text;
  };
  const SlotWrites good{.key_weights = x[3], .value_weights = x[4]};
  EXPECT_EQ(holds(message(good, {}), "window is 0"), "");
  EXPECT_EQ(holds(message({x[3].narrow(1, 0, 20), x[4]}, {.window = 5}), "at least 30 columns"), "");
  EXPECT_EQ(holds(message({x[3], x[4].narrow(0, 0, 2)}, {.window = 5}), "as many slots as key_weights, (3, 40)"), "");
  EXPECT_EQ(holds(message({x[3], x[4], x[5].narrow(1, 0, 2)}, {.window = 5}), "decay has shape (2, 2)"), "");
  EXPECT_EQ(holds(message({x[3], x[4], {}, 3}, {.window = 5}), "weights begin at 3"), "");
  RunningOptions with_norm{.window = 5};
  with_norm.norms.window_key = {at::ones({4}), {}};
  EXPECT_EQ(holds(message(good, with_norm), "expected (D) = (8)"), "");
  EXPECT_EQ(holds(message(good, {.window = 5, .before = Slots{x[6].narrow(2, 0, 1), x[7]}}), "the sums before"), "");
}

}  // namespace
}  // namespace linformer::ops
