// Numbers that are added to the logits of single slots. Shape letters: see ops/attention.hpp.
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

struct OffsetCase {
  std::int64_t batch, heads, key_heads, length, width, window, slots, first_block;
  bool own_slot_query = false;
};

std::ostream& operator<<(std::ostream& out, const OffsetCase& form) {
  return out << "N" << form.length << "_D" << form.width << "_W" << form.window << "_K" << form.slots << "_G"
             << form.key_heads << "_first" << form.first_block;
}

// Below, at and above a tile and a vector; too short for a slot; texts that go on; heads that share keys.
const std::vector<OffsetCase> kOffsetCases{
    {1, 1, 1, 1, 5, 3, 2, 0},        {2, 2, 2, 23, 4, 5, 3, 0},
    {1, 2, 2, 300, 64, 64, 64, 0},   {1, 2, 2, 333, 20, 70, 67, 0, true},
    {2, 2, 2, 9, 7, 5, 3, 1},        {1, 1, 1, 63, 17, 20, 5, 4, true},
    {2, 6, 2, 63, 8, 5, 3, 0},       {1, 2, 1, 413, 31, 130, 140, 0},
    {2, 6, 3, 63, 8, 5, 3, 2, true},
};

/// query, key, value, slot key, slot value, slot bias, slot offset, and the slot query where there is one.
Tensors offset_inputs(const OffsetCase& form, at::ScalarType dtype, std::int64_t batch) {
  const auto draw = [&](std::vector<std::int64_t> sizes) { return at::randn(sizes).to(dtype); };
  const auto blocks = (form.length + form.window - 1) / form.window;
  const std::vector<std::int64_t> slots{batch, form.key_heads, blocks, form.slots, form.width},
      rows{batch, form.heads, form.length, form.width},
      keys{batch, form.key_heads, form.length + (form.first_block > 0 ? form.window : 0), form.width};
  Tensors all{draw(rows),
              draw(keys),
              draw(keys),
              draw(slots),
              draw(slots),
              draw({form.heads}),
              draw({batch, form.key_heads, blocks, form.slots}) * 2};
  if (form.own_slot_query) all.push_back(draw(rows));
  return all;
}

at::Tensor attend_with_offset(const OffsetCase& form, const Tensors& x, Path path) {
  return attend(x[0], x[1], x[2], {x[3], x[4]},
                {.causal = true,
                 .window = form.window,
                 .first = form.first_block * form.window,
                 .slot_bias = x[5],
                 .slot_query = form.own_slot_query ? std::optional(x[7]) : std::nullopt,
                 .slot_offset = x[6].defined() ? std::optional(x[6]) : std::nullopt,
                 .path = path});
}

test::Operation offset_by(const OffsetCase& form, Path path) {
  return [form, path](const Tensors& x) {
    auto out = attend_with_offset(form, x, path);
    EXPECT_EQ(last_path(), path);
    return out;
  };
}

TEST(SlotOffset, KernelsEqualTheReferenceWithGradients) {
  test::expect_kernels_same(kOffsetCases, offset_by, offset_inputs);
}

TEST(SlotOffset, KernelsErrAsMuchAsComposedInBfloat16) {
  test::expect_kernels_as_close_as_composed(kOffsetCases, offset_by, offset_inputs);
}

TEST(SlotOffset, ComposedEqualsTheReference) { test::expect_composed_same(kOffsetCases, offset_by, offset_inputs); }

TEST(SlotOffset, GradientsAreThoseOfDifferences) {
  const OffsetCase form{1, 2, 1, 13, 3, 4, 2, 1, true};
  for (const auto path : {Path::reference, Path::composed})
    EXPECT_LT(test::gradient_check(offset_by(form, path), offset_inputs(form, at::kDouble, 1)), 1e-6);
}

// A number more on every slot of a head is a larger slot bias.
TEST(SlotOffset, OfAllSlotsIsABias) {
  const OffsetCase form{2, 4, 2, 23, 6, 5, 3, 0};
  auto x = offset_inputs(form, at::kFloat, 2);
  x[6] = at::full_like(x[6], 0.7);
  for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
    auto other = x;
    other[5] = x[5] + 0.7, other[6] = at::Tensor();
    EXPECT_LT(test::relative_error(attend_with_offset(form, x, path), attend_with_offset(form, other, path)), 1e-6)
        << path_name(path);
  }
}

// −∞ takes a slot away, as if it were not there; all of them may go. No gradient is NaN then, and none goes to them.
TEST(SlotOffset, MinusInfinityHidesASlot) {
  constexpr double kHidden = -std::numeric_limits<double>::infinity();
  const OffsetCase form{2, 2, 2, 150, 6, 40, 70, 0}, fewer{2, 2, 2, 150, 6, 40, 69, 0}, none{2, 2, 2, 150, 6, 40, 0, 0};
  for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
    SCOPED_TRACE(path_name(path));
    const auto dtype = path == Path::kernel ? at::kFloat : at::kDouble;
    auto x = offset_inputs(form, dtype, 2), rest = x;
    x[6].select(3, 0).fill_(kHidden);
    for (const int i : {3, 4, 6}) rest[static_cast<std::size_t>(i)] = x[static_cast<std::size_t>(i)].narrow(3, 1, 69);
    EXPECT_LT(test::relative_error(attend_with_offset(form, x, path), attend_with_offset(fewer, rest, path)), 1e-6);
    auto no_slot = x, gone = x;
    for (const int i : {3, 4}) gone[static_cast<std::size_t>(i)] = x[static_cast<std::size_t>(i)].narrow(3, 0, 0);
    gone[6] = at::Tensor();
    no_slot[6] = at::full_like(x[6], kHidden);
    EXPECT_LT(test::relative_error(attend_with_offset(form, no_slot, path), attend_with_offset(none, gone, path)),
              1e-6);
    for (auto& input : x) input = input.detach().clone().requires_grad_();
    attend_with_offset(form, x, path).square().sum().backward();
    for (const auto& input : x) EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
    for (const int i : {3, 4, 6})
      EXPECT_EQ(x[static_cast<std::size_t>(i)].grad().select(3, 0).abs().max().item<double>(), 0);
  }
}

// A huge offset gives its slot all weight; NaN stays NaN; blocks 0 and 1 read none.
TEST(SlotOffset, TakesHugeNumbersAndKeepsNan) {
  const OffsetCase form{1, 2, 2, 23, 4, 5, 3, 0};
  for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
    SCOPED_TRACE(path_name(path));
    auto x = offset_inputs(form, at::kFloat, 1);
    const auto before = attend_with_offset(form, x, path);
    x[6].select(3, 1).fill_(1e5);
    for (auto& input : x) input = input.detach().clone().requires_grad_();
    const auto after = attend_with_offset(form, x, path);
    EXPECT_TRUE(at::equal(after.narrow(2, 0, 10), before.narrow(2, 0, 10)));
    for (std::int64_t t = 10; t < 23; ++t)
      EXPECT_LT((after.select(2, t) - x[4].select(3, 1).select(2, t / 5)).abs().max().item<double>(), 1e-6);
    after.square().sum().backward();
    for (const auto& input : x) EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
    for (auto& input : x) input = input.detach();
    x[6].fill_(std::numeric_limits<float>::quiet_NaN());
    const auto lost = attend_with_offset(form, x, path);
    EXPECT_TRUE(lost.narrow(2, 10, 13).isnan().all().item<bool>());
    EXPECT_TRUE(at::equal(lost.narrow(2, 0, 10), before.narrow(2, 0, 10)));
  }
}

// bfloat16 has steps of 4 near 1000: the offset keeps float32 beside short tensors.
TEST(SlotOffset, IsNotRounded) {
  const OffsetCase form{1, 1, 1, 12, 8, 4, 2, 0};
  auto x = offset_inputs(form, at::kBFloat16, 1);
  x[3] = at::zeros_like(x[3]);
  x[6] = at::tensor({1000.25, 1000.75}, at::kFloat).expand({1, 1, 3, 2}).clone().requires_grad_();
  const auto second = std::sqrt(std::exp(1.0)) / (1 + std::sqrt(std::exp(1.0)));
  const auto values_KD = x[4][0][0][2].to(at::kFloat);
  const auto expected_D = values_KD[0] * (1 - second) + values_KD[1] * second;
  for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
    SCOPED_TRACE(path_name(path));
    const auto out = attend_with_offset(form, x, path);
    EXPECT_LT((out.narrow(2, 8, 4).to(at::kFloat) - expected_D).abs().max().item<double>(), 0.02);
    EXPECT_EQ(torch::autograd::grad({out.sum()}, {x[6]})[0].scalar_type(), at::kFloat);
  }
}

TEST(SlotOffset, TakesAnyStridesAndFloat16) {
  const OffsetCase form{2, 3, 3, 23, 6, 5, 3, 0};
  const auto run = offset_by(form, Path::kernel);
  auto inputs = offset_inputs(form, at::kFloat, 2);
  inputs[6] = at::randn({2, 3, 3, 5}).transpose(2, 3);
  auto whole = inputs;
  whole[6] = inputs[6].contiguous();
  EXPECT_TRUE(at::equal(run(inputs), run(whole)));
  auto half = offset_inputs(form, at::kHalf, 2), wide = half;
  for (auto& input : wide) input = input.to(at::kFloat);
  EXPECT_TRUE(at::equal(run(half), run(wide).to(at::kHalf)));
}

TEST(SlotOffset, ErrorsNameWhatIsWrong) {
  const auto x = at::randn({1, 2, 9, 4}), slots = at::randn({1, 2, 3, 4}), running = at::randn({1, 2, 3, 2, 4}),
             offset = at::randn({1, 2, 3, 2});
  EXPECT_THROW(attend(x, x, x, {slots, slots}, {.slot_offset = offset}), UserError);
  EXPECT_THROW(attend(x, x, x, {slots, slots}, {.causal = true, .window = 3, .slot_offset = offset}), UserError);
  for (const auto& wrong :
       {offset.narrow(1, 0, 1), offset.narrow(2, 0, 2), offset[0], offset.to(at::kLong), at::Tensor()}) {
    EXPECT_THROW(attend(x, x, x, {running, running}, {.causal = true, .window = 3, .slot_offset = wrong}), UserError);
  }
}

}  // namespace
}  // namespace linformer::ops
