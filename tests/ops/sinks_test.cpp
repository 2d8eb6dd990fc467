// Keys that every query sees from its third block on. Shape letters: see ops/attention.hpp; s sinks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/ops/attention.hpp"
#include "linformer/ops/reference.hpp"
#include "ops/attend_paths.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

using test::Tensors;

struct SinkCase {
  bool block;
  std::int64_t batch, heads, key_heads, length, width, window, slots, first_block, sinks;
  bool own_slot_query = false;
};

std::ostream& operator<<(std::ostream& out, const SinkCase& form) {
  return out << (form.block ? "block" : "running") << "_N" << form.length << "_D" << form.width << "_W" << form.window
             << "_K" << form.slots << "_G" << form.key_heads << "_first" << form.first_block << "_s" << form.sinks;
}

// Below, at and above a tile and a vector; texts too short to see a sink; texts that go on; heads that share keys; a
// window alone.
const std::vector<SinkCase> kSinkCases{
    {false, 1, 1, 1, 1, 5, 3, 2, 0, 1},          {false, 2, 2, 2, 23, 4, 5, 3, 0, 5},
    {false, 1, 2, 2, 300, 64, 64, 64, 0, 64},    {false, 1, 2, 2, 333, 20, 70, 67, 0, 65, true},
    {false, 2, 2, 2, 9, 7, 5, 3, 1, 4},          {false, 1, 1, 1, 63, 17, 20, 5, 4, 3, true},
    {false, 2, 6, 2, 63, 8, 5, 3, 0, 1},         {true, 1, 1, 1, 2, 5, 1, 1, 0, 1},
    {true, 2, 2, 2, 23, 4, 5, 3, 0, 2, true},    {true, 1, 2, 2, 300, 64, 64, 4, 0, 17},
    {true, 1, 1, 1, 413, 31, 130, 40, 0, 129},   {true, 2, 2, 2, 9, 7, 5, 3, 1, 5},
    {true, 1, 2, 2, 63, 17, 20, 5, 4, 19, true}, {true, 2, 6, 3, 63, 8, 5, 3, 2, 3},
    {true, 1, 2, 1, 41, 6, 5, 0, 0, 4},          {true, 1, 2, 1, 14, 6, 7, 0, 3, 1},
};

/// query, key, value, slot key, slot value, slot bias, sink key, sink value, and the slot query where there is one.
Tensors sink_inputs(const SinkCase& form, at::ScalarType dtype, std::int64_t batch) {
  const auto draw = [&](std::vector<std::int64_t> sizes) { return at::randn(sizes).to(dtype); };
  const auto blocks = (form.length + form.window - 1) / form.window;
  std::vector<std::int64_t> slots{batch, form.key_heads, form.slots, form.width};
  if (form.block) {
    slots[2] *= form.first_block + blocks;
  } else {
    slots.insert(slots.begin() + 2, blocks);
  }
  const std::vector<std::int64_t> rows{batch, form.heads, form.length, form.width},
      sinks{batch, form.key_heads, form.sinks, form.width},
      keys{batch, form.key_heads, form.length + (form.first_block > 0 ? form.window : 0), form.width};
  Tensors all{draw(rows),  draw(keys),         draw(keys),  draw(slots),
              draw(slots), draw({form.heads}), draw(sinks), draw(sinks)};
  if (form.own_slot_query) all.push_back(draw(rows));
  return all;
}

at::Tensor attend_with_sinks(const SinkCase& form, const Tensors& x, Path path) {
  return attend(x[0], x[1], x[2], {x[3], x[4]},
                {.causal = true,
                 .window = form.window,
                 .first = form.first_block * form.window,
                 .slot_bias = x[5],
                 .slot_query = form.own_slot_query ? std::optional(x[8]) : std::nullopt,
                 .sinks = Slots{x[6], x[7]},
                 .path = path});
}

test::Operation sinks_by(const SinkCase& form, Path path) {
  return [form, path](const Tensors& x) {
    auto out = attend_with_sinks(form, x, path);
    EXPECT_EQ(last_path(), path);
    return out;
  };
}

TEST(Sinks, KernelsEqualTheReferenceWithGradients) { test::expect_kernels_same(kSinkCases, sinks_by, sink_inputs); }

TEST(Sinks, KernelsErrAsMuchAsComposedInBfloat16) {
  test::expect_kernels_as_close_as_composed(kSinkCases, sinks_by, sink_inputs);
}

TEST(Sinks, ComposedEqualsTheReference) { test::expect_composed_same(kSinkCases, sinks_by, sink_inputs); }

TEST(Sinks, GradientsAreThoseOfDifferences) {
  for (const bool block : {false, true}) {
    const SinkCase form{block, 1, 2, 1, 13, 3, 4, 2, 1, 3, true};
    for (const auto path : {Path::reference, Path::composed})
      EXPECT_LT(test::gradient_check(sinks_by(form, path), sink_inputs(form, at::kDouble, 1)), 1e-6);
  }
}

// The first s keys as sinks of a window alone, against one softmax over them and the window, key by key.
TEST(Sinks, AreSeenBesideTheWindowFromTheThirdBlockOn) {
  const SinkCase form{true, 1, 1, 1, 17, 3, 4, 0, 0, 2};
  auto x = sink_inputs(form, at::kDouble, 1);
  for (const int i : {0, 1}) x[6 + static_cast<std::size_t>(i)] = x[1 + static_cast<std::size_t>(i)].narrow(2, 0, 2);
  at::Tensor expected = at::empty_like(x[0]);
  for (std::int64_t t = 0; t < 17; ++t) {
    std::vector<std::int64_t> seen;
    const auto near = std::max<std::int64_t>(t / 4 - 1, 0) * 4;
    for (std::int64_t s = 0; s <= t; ++s) {
      if (s >= near || (s < 2 && t / 4 >= 2)) seen.push_back(s);
    }
    const auto places = at::tensor(seen, at::kLong);
    const auto key = x[1][0][0].index_select(0, places), value = x[2][0][0].index_select(0, places);
    expected[0][0][t] = at::matmul(at::softmax(at::matmul(key, x[0][0][0][t]) / std::sqrt(3.0), 0), value);
  }
  for (const auto path : {Path::reference, Path::composed})
    EXPECT_LT(test::relative_error(attend_with_sinks(form, x, path), expected), 1e-12);
  for (auto& input : x) input = input.to(at::kFloat);
  EXPECT_LT(test::relative_error(attend_with_sinks(form, x, Path::kernel), expected.to(at::kFloat)), 1e-5);
}

// A sink far above all others takes all weight; what rows of blocks 0 and 1 see does not change.
TEST(Sinks, TakeHugeLogitsAndLeaveEarlyRowsAlone) {
  for (const bool block : {false, true}) {
    const SinkCase form{block, 1, 2, 2, 23, 4, 5, 3, 0, 2};
    for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
      SCOPED_TRACE(testing::Message() << form << ' ' << path_name(path));
      auto x = sink_inputs(form, at::kFloat, 1);
      x[0] = x[0].abs() + 1;
      const auto before = attend_with_sinks(form, x, path);
      x[6] = at::full_like(x[6], -1e4);
      x[6].select(2, 1).fill_(1e4);
      const auto after = attend_with_sinks(form, x, path);
      EXPECT_TRUE(at::equal(after.narrow(2, 0, 10), before.narrow(2, 0, 10)));
      EXPECT_LT((after.narrow(2, 10, 13) - x[7].narrow(2, 1, 1)).abs().max().item<double>(), 1e-6);
      x[6].select(2, 0).fill_(std::numeric_limits<float>::quiet_NaN());
      EXPECT_TRUE(attend_with_sinks(form, x, path).narrow(2, 10, 13).isnan().all().item<bool>());
    }
  }
}

TEST(Sinks, TakeAnyStridesAndFloat16) {
  const SinkCase form{false, 2, 3, 3, 23, 6, 5, 3, 0, 4};
  const auto run = sinks_by(form, Path::kernel);
  auto inputs = sink_inputs(form, at::kFloat, 2);
  inputs[6] = at::randn({2, 3, 6, 4}).transpose(2, 3);
  auto whole = inputs;
  whole[6] = inputs[6].contiguous();
  EXPECT_TRUE(at::equal(run(inputs), run(whole)));
  auto half = sink_inputs(form, at::kHalf, 2), wide = half;
  for (auto& input : wide) input = input.to(at::kFloat);
  EXPECT_TRUE(at::equal(run(half), run(wide).to(at::kHalf)));
}

TEST(Sinks, ErrorsNameWhatIsWrong) {
  const auto x = at::randn({1, 2, 9, 4}), slots = at::randn({1, 2, 3, 4}), sink = at::randn({1, 2, 2, 4});
  EXPECT_THROW(attend(x, x, x, {slots, slots}, {.sinks = Slots{sink, sink}}), UserError);
  const auto running = at::randn({1, 2, 3, 2, 4});
  for (const auto& wrong : {sink.narrow(3, 0, 3), sink.narrow(1, 0, 1), sink.narrow(2, 0, 0), sink[0], at::Tensor()}) {
    for (const auto& sinks : {Slots{wrong, sink}, Slots{sink, wrong}, Slots{wrong, wrong}}) {
      EXPECT_THROW(attend(x, x, x, {running, running}, {.causal = true, .window = 3, .sinks = sinks}), UserError);
    }
  }
}

}  // namespace
}  // namespace linformer::ops
