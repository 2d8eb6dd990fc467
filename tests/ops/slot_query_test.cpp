// Slots that are read by a query of their own, as with rotary positions. Shape letters: see ops/attention.hpp.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
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

struct SlotQueryCase {
  bool block;
  std::int64_t batch, heads, key_heads, length, width, window, slots, first_block;
};

std::ostream& operator<<(std::ostream& out, const SlotQueryCase& form) {
  return out << (form.block ? "block" : "running") << "_N" << form.length << "_D" << form.width << "_W" << form.window
             << "_K" << form.slots << "_G" << form.key_heads << "_first" << form.first_block;
}

// Below, at and above a tile and a vector; too short for a slot; texts that go on; heads that share keys.
const std::vector<SlotQueryCase> kSlotQueryCases{
    {false, 1, 1, 1, 1, 5, 3, 2, 0},      {false, 2, 2, 2, 23, 4, 5, 3, 0},     {false, 1, 2, 2, 300, 64, 64, 64, 0},
    {false, 1, 2, 2, 333, 20, 70, 67, 0}, {false, 2, 2, 2, 9, 7, 5, 3, 1},      {false, 1, 1, 1, 63, 17, 20, 5, 4},
    {false, 2, 6, 2, 63, 8, 5, 3, 0},     {true, 1, 1, 1, 2, 5, 1, 1, 0},       {true, 2, 2, 2, 23, 4, 5, 3, 0},
    {true, 1, 2, 2, 300, 64, 64, 4, 0},   {true, 1, 1, 1, 413, 31, 130, 40, 0}, {true, 2, 2, 2, 9, 7, 5, 3, 1},
    {true, 1, 2, 2, 63, 17, 20, 5, 4},    {true, 2, 6, 3, 63, 8, 5, 3, 2},
};

/// query, key, value, slot key, slot value, slot bias, slot query.
Tensors slot_query_inputs(const SlotQueryCase& form, at::ScalarType dtype, std::int64_t batch) {
  const auto draw = [&](std::vector<std::int64_t> sizes) { return at::randn(sizes).to(dtype); };
  const auto blocks = (form.length + form.window - 1) / form.window;
  std::vector<std::int64_t> slots{batch, form.key_heads, form.slots, form.width};
  if (form.block) {
    slots[2] *= form.first_block + blocks;
  } else {
    slots.insert(slots.begin() + 2, blocks);
  }
  const std::vector<std::int64_t> rows{batch, form.heads, form.length, form.width};
  const std::vector<std::int64_t> keys{batch, form.key_heads, form.length + (form.first_block > 0 ? form.window : 0),
                                       form.width};
  return {draw(rows), draw(keys), draw(keys), draw(slots), draw(slots), draw({form.heads}), draw(rows)};
}

test::Operation attend_with_slot_query(const SlotQueryCase& form, Path path) {
  return [form, path](const Tensors& x) {
    auto out = attend(x[0], x[1], x[2], {x[3], x[4]},
                      {.causal = true,
                       .window = form.window,
                       .first = form.first_block * form.window,
                       .slot_bias = x[5],
                       .slot_query = x[6],
                       .path = path});
    EXPECT_EQ(last_path(), path);
    return out;
  };
}

TEST(SlotQuery, KernelsEqualTheReferenceWithGradients) {
  test::expect_kernels_same(kSlotQueryCases, attend_with_slot_query, slot_query_inputs);
}

TEST(SlotQuery, KernelsErrAsMuchAsComposedInBfloat16) {
  test::expect_kernels_as_close_as_composed(kSlotQueryCases, attend_with_slot_query, slot_query_inputs);
}

TEST(SlotQuery, ComposedEqualsTheReference) {
  test::expect_composed_same(kSlotQueryCases, attend_with_slot_query, slot_query_inputs);
}

TEST(SlotQuery, GradientsAreThoseOfDifferences) {
  for (const bool block : {false, true}) {
    const SlotQueryCase form{block, 1, 2, 1, 13, 3, 4, 2, 1};
    for (const auto path : {Path::reference, Path::composed})
      EXPECT_LT(test::gradient_check(attend_with_slot_query(form, path), slot_query_inputs(form, at::kDouble, 1)),
                1e-6);
  }
}

TEST(SlotQuery, ReadsTheSlotsAndNothingElse) {
  for (const auto& form : {kSlotQueryCases[1], kSlotQueryCases[8]}) {
    for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
      SCOPED_TRACE(testing::Message() << form << ' ' << path_name(path));
      const auto run = attend_with_slot_query(form, path);
      const auto inputs = slot_query_inputs(form, at::kFloat, form.batch);
      auto same = inputs, zero_slots = inputs;
      same[6] = inputs[0];
      const auto without = attend(inputs[0], inputs[1], inputs[2], {inputs[3], inputs[4]},
                                  {.causal = true, .window = form.window, .slot_bias = inputs[5], .path = path});
      EXPECT_LT(test::relative_error(run(same), without), 1e-6);
      // Rows of the first two blocks see no slot, so that their slot query may be anything.
      const auto first_rows = 2 * form.window;
      auto lost = inputs;
      lost[6] = inputs[6].clone();
      lost[6].narrow(2, 0, first_rows).fill_(1e4);
      EXPECT_TRUE(at::equal(run(lost), run(inputs)));
      // Slot keys of zero give every slot query the same logits.
      zero_slots[3] = at::zeros_like(inputs[3]);
      auto other = zero_slots;
      other[6] = at::randn_like(inputs[6]);
      EXPECT_TRUE(at::equal(run(zero_slots), run(other)));
      EXPECT_GT(test::relative_error(run(inputs), without), 1e-2);
    }
  }
}

TEST(SlotQuery, TakesAnyStridesAndFloat16) {
  const SlotQueryCase form{false, 2, 3, 3, 23, 6, 5, 3, 0};
  const auto run = attend_with_slot_query(form, Path::kernel);
  auto inputs = slot_query_inputs(form, at::kFloat, 2);
  inputs[6] = at::randn({2, 3, 6, 23}).transpose(2, 3);
  auto whole = inputs;
  whole[6] = inputs[6].contiguous();
  EXPECT_TRUE(at::equal(run(inputs), run(whole)));
  auto half = slot_query_inputs(form, at::kHalf, 2), wide = half;
  for (auto& input : wide) input = input.to(at::kFloat);
  EXPECT_TRUE(at::equal(run(half), run(wide).to(at::kHalf)));
}

TEST(SlotQuery, ErrorsNameWhatIsWrong) {
  const auto x = at::randn({1, 2, 9, 4}), slots = at::randn({1, 2, 3, 4});
  EXPECT_THROW(attend(x, x, x, {slots, slots}, {.slot_query = x}), UserError);
  const auto running = at::randn({1, 2, 3, 2, 4});
  for (const auto& wrong : {x.narrow(2, 0, 8), x.to(at::kDouble), x.narrow(1, 0, 1)}) {
    EXPECT_THROW(attend(x, x, x, {running, running}, {.causal = true, .window = 3, .slot_query = wrong}), UserError);
  }
}

}  // namespace
}  // namespace linformer::ops
