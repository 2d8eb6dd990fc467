// A text read in chunks, each with the state of those before it, gives what the whole text gives: outputs and
// gradients. Shape letters: see ops/attention.hpp.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/ops/attention.hpp"
#include "linformer/ops/reference.hpp"
#include "linformer/ops/summarise.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

using test::Tensors;

constexpr std::int64_t kBatch = 2, kHeads = 2, kHeadWidth = 5, kText = 37, kWindow = 5, kSlots = 3;

/// Where chunks begin: at single blocks, at several, with an incomplete one at the end.
const std::vector<std::vector<std::int64_t>> kCuts{{0, 5}, {0, 10}, {0, 5, 10, 15, 30}, {0, 25, 35}};

struct ChunkCase {
  std::string name;
  bool block, own_heads, decay = false;
};

at::Tensor rows_between(const at::Tensor& x, std::int64_t from, std::int64_t to) {
  return x.narrow(2, from, to - from);
}

/// Inputs: query, key, value, E, F, slot bias, decay.
Tensors draw_inputs(const ChunkCase& form, std::int64_t batch = kBatch) {
  const auto draw_text = [batch] { return at::randn({batch, kHeads, kText, kHeadWidth}, at::kDouble); };
  const auto draw_projection = [&] {
    auto shape = std::vector{kSlots, form.block ? kWindow : kText};
    if (form.own_heads) shape.insert(shape.begin(), kHeads);
    return at::randn(shape, at::kDouble) * 0.4;
  };
  return {draw_text(),
          draw_text(),
          draw_text(),
          draw_projection(),
          draw_projection(),
          at::randn({kHeads}, at::kDouble),
          at::rand({kHeads, kSlots}, at::kDouble) * 0.5 + 0.5};
}

Slots summarise(Path path, const at::Tensor& key, const at::Tensor& value, const at::Tensor& e, const at::Tensor& f,
                const SummariseOptions& options) {
  return path == Path::reference ? reference::summarise_linear(key, value, e, f, options)
                                 : summarise_linear(key, value, e, f, options);
}

at::Tensor whole(const Tensors& x, const ChunkCase& form) {
  SummariseOptions options{.window = kWindow, .block = form.block};
  if (form.decay) options.decay = x[6];
  const auto slots = summarise(Path::reference, x[1], x[2], x[3], x[4], options);
  return reference::attend(x[0], x[1], x[2], slots, {.causal = true, .window = kWindow, .slot_bias = x[5]});
}

/// The sums of the blocks before `to`.
at::Tensor sum_of(const at::Tensor& projection, const at::Tensor& x, std::int64_t to) {
  return at::matmul(projection.narrow(-1, 0, to), rows_between(x, 0, to));
}

at::Tensor decayed_sum_of(const at::Tensor& projection, const at::Tensor& x, std::int64_t to, const at::Tensor& decay) {
  auto sum = at::zeros({x.size(0), kHeads, kSlots, kHeadWidth}, x.options());
  for (std::int64_t first = 0; first < to; first += kWindow)
    sum = sum * decay.unsqueeze(-1) +
          at::matmul(projection.narrow(-1, first, kWindow), rows_between(x, first, first + kWindow));
  return sum;
}

at::Tensor in_chunks(const Tensors& x, const ChunkCase& form, const std::vector<std::int64_t>& cuts, Path path) {
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    const auto first = cuts[i], end = i + 1 < cuts.size() ? cuts[i + 1] : kText;
    const auto from = std::max<std::int64_t>(first - kWindow, 0);
    const auto key = rows_between(x[1], from, end), value = rows_between(x[2], from, end);
    Slots slots;
    if (form.block) {
      slots = summarise(path, rows_between(x[1], 0, end), rows_between(x[2], 0, end), x[3], x[4],
                        {.window = kWindow, .block = true});
    } else {
      SummariseOptions options{.window = kWindow};
      if (form.decay) options.decay = x[6];
      if (first > 0) {
        options.before = form.decay
                             ? Slots{decayed_sum_of(x[3], x[1], from, x[6]), decayed_sum_of(x[4], x[2], from, x[6])}
                             : Slots{sum_of(x[3], x[1], from), sum_of(x[4], x[2], from)};
      }
      const auto left = kText - from;
      slots = summarise(path, key, value, x[3].narrow(-1, from, left), x[4].narrow(-1, from, left), options);
    }
    parts.push_back(attend(rows_between(x[0], first, end), key, value, slots,
                           {.causal = true, .window = kWindow, .first = first, .slot_bias = x[5], .path = path}));
    EXPECT_EQ(last_path(), path);
  }
  return at::cat(parts, 2);
}

class Chunks : public testing::TestWithParam<ChunkCase> {};

TEST_P(Chunks, EqualTheWhole) {
  const auto form = GetParam();
  for (const auto& cuts : kCuts) {
    for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
      SCOPED_TRACE(formatted("{} chunks, {}", cuts.size(), path_name(path)));
      const auto dtype = path == Path::kernel ? at::kFloat : at::kDouble;
      Tensors inputs;
      for (const auto& input : draw_inputs(form)) inputs.push_back(input.to(dtype));
      test::expect_same([&](const Tensors& x) { return in_chunks(x, form, cuts, path); },
                        [&](const Tensors& x) { return whole(x, form); }, inputs, test::tolerance_of(dtype));
    }
  }
}

// Of enough sequences that the ratio of two errors is not luck.
class ChunksInBfloat16 : public testing::TestWithParam<ChunkCase> {};

TEST_P(ChunksInBfloat16, ErrAsMuchAsComposed) {
  const auto form = GetParam();
  Tensors inputs;
  for (const auto& input : draw_inputs(form, 128)) inputs.push_back(input.to(at::kBFloat16));
  const auto by = [&](Path path) { return [=](const Tensors& x) { return in_chunks(x, form, kCuts[2], path); }; };
  test::expect_as_close_as(
      by(Path::composed), by(Path::kernel), [&](const Tensors& x) { return whole(x, form); }, inputs);
}

const auto kForms = testing::Values(ChunkCase{"running", false, false}, ChunkCase{"running_heads", false, true},
                                    ChunkCase{"block", true, false}, ChunkCase{"block_heads", true, true});
std::string name_of_case(const testing::TestParamInfo<ChunkCase>& value) { return value.param.name; }
INSTANTIATE_TEST_SUITE_P(Forms, Chunks, kForms, name_of_case);
INSTANTIATE_TEST_SUITE_P(Forms, ChunksInBfloat16, kForms, name_of_case);
INSTANTIATE_TEST_SUITE_P(Decay, Chunks,
                         testing::Values(ChunkCase{"decay", false, false, true},
                                         ChunkCase{"decay_heads", false, true, true}),
                         name_of_case);

// Query heads share heads of keys: the same as keys that are repeated, gradients included.
TEST(GroupedHeads, EqualRepeatedOnes) {
  for (const std::int64_t window : {0, 5}) {
    for (const bool block : {false, true}) {
      if (block && window == 0) continue;
      for (const auto path : {Path::reference, Path::composed, Path::kernel}) {
        SCOPED_TRACE(formatted("window {}, block {}, {}", window, block, path_name(path)));
        const auto dtype = path == Path::kernel ? at::kFloat : at::kDouble;
        const auto draw_heads = [&](std::int64_t heads) { return at::randn({2, heads, kText, kHeadWidth}, dtype); };
        const Tensors inputs{draw_heads(6), draw_heads(2), draw_heads(2),
                             at::randn({2, kSlots, block ? kWindow : kText}, dtype), at::randn({6}, dtype)};
        const auto run = [=](const Tensors& x, Path by, bool repeated) {
          const auto slots = summarise_linear(x[1], x[2], x[3], x[3], {.window = window, .block = block});
          const auto all = [&](const at::Tensor& part) { return repeated ? part.repeat_interleave(3, 1) : part; };
          return attend(x[0], all(x[1]), all(x[2]), {all(slots.key), all(slots.value)},
                        {.causal = window > 0, .window = window, .slot_bias = x[4], .path = by});
        };
        test::expect_same([&](const Tensors& x) { return run(x, path, false); },
                          [&](const Tensors& x) { return run(x, Path::reference, true); }, inputs,
                          test::tolerance_of(dtype));
      }
    }
  }
  const auto query = at::randn({1, 6, 5, 4}), key = at::randn({1, 4, 5, 4});
  EXPECT_THROW(softmax_attention(query, key, key, {}), UserError);
}

TEST(GroupedHeads, OfSoftmaxAndPrefixEqualRepeatedOnes) {
  const auto draw_heads = [](std::int64_t heads) { return at::randn({2, heads, kText, kHeadWidth}, at::kDouble); };
  const Tensors inputs{draw_heads(6), draw_heads(2), draw_heads(2), at::randn({2, kSlots, kText}, at::kDouble)};
  const auto all = [](const at::Tensor& part, std::int64_t dim = 1) { return part.repeat_interleave(3, dim); };
  test::expect_same(
      [](const Tensors& x) { return softmax_attention(x[0], x[1], x[2], {.causal = true}) + x[3].sum() * 0; },
      [&](const Tensors& x) {
        return reference::softmax_attention(x[0], all(x[1]), all(x[2]), {.causal = true}) + x[3].sum() * 0;
      },
      inputs, test::tolerance_of(at::kDouble));
  test::expect_same([](const Tensors& x) { return prefix_attention(x[0], x[1], x[2], x[3], x[3], {}); },
                    [&](const Tensors& x) {
                      return reference::prefix_attention(x[0], all(x[1]), all(x[2]), all(x[3], 0), all(x[3], 0), {});
                    },
                    inputs, test::tolerance_of(at::kDouble));
}

TEST(Chunks, OfDecayHaveSecondDerivatives) {
  const auto gradients = [&](const Tensors& x) {
    Tensors leaves;
    for (const auto& input : x) leaves.push_back(input.requires_grad() ? input : input.clone().requires_grad_());
    const auto slots = summarise_linear(leaves[0], leaves[0], leaves[1], leaves[1],
                                        {.window = 2, .before = Slots{leaves[3], leaves[3]}, .decay = leaves[2]});
    Tensors flat;
    for (const auto& gradient :
         torch::autograd::grad({(slots.key * slots.value).square().sum()}, leaves, {}, true, true))
      flat.push_back(gradient.flatten());
    return at::cat(flat);
  };
  EXPECT_LT(test::gradient_check(gradients, {at::randn({1, 2, 9, 2}, at::kDouble), at::randn({2, 3, 9}, at::kDouble),
                                             at::rand({2, 3}, at::kDouble), at::randn({1, 2, 3, 2}, at::kDouble)}),
            1e-6);
}

TEST(Chunks, OfAPrefixGoOnFromItsSums) {
  for (const bool own_heads : {false, true}) {
    for (const auto path : {Path::reference, Path::composed}) {
      const auto pieces = [&](const Tensors& x, const std::vector<std::int64_t>& cuts) {
        std::vector<at::Tensor> parts;
        for (std::size_t i = 0; i < cuts.size(); ++i) {
          const auto first = cuts[i], end = i + 1 < cuts.size() ? cuts[i + 1] : kText;
          PrefixOptions options{.chunk = 4, .path = path};
          if (first > 0) options.before = Slots{sum_of(x[3], x[1], first), sum_of(x[4], x[2], first)};
          parts.push_back(prefix_attention(rows_between(x[0], first, end), rows_between(x[1], first, end),
                                           rows_between(x[2], first, end), x[3].narrow(-1, first, end - first),
                                           x[4].narrow(-1, first, end - first), options));
        }
        return at::cat(parts, 2);
      };
      auto inputs = draw_inputs({"", false, own_heads});
      inputs.resize(5);
      test::expect_same([&](const Tensors& x) { return pieces(x, {0, 1, 9, 30}); },
                        [&](const Tensors& x) { return reference::prefix_attention(x[0], x[1], x[2], x[3], x[4], {}); },
                        inputs, test::tolerance_of(at::kDouble));
    }
  }
}

TEST(Chunks, OfSoftmaxSeeTheKeysBefore) {
  for (const auto path : {Path::reference, Path::fused}) {
    for (const bool padded : {false, true}) {
      std::optional<at::Tensor> mask;
      if (padded) mask = at::rand({kBatch, kText}).lt(0.3);
      const auto pieces = [&](const Tensors& x) {
        std::vector<at::Tensor> parts;
        for (const auto& [first, end] : {std::pair{0, 20}, std::pair{20, 21}, std::pair{21, 37}}) {
          SoftmaxOptions options{.causal = true, .path = path};
          if (mask) options.key_padding_mask = mask->narrow(1, 0, end);
          parts.push_back(softmax_attention(rows_between(x[0], first, end), rows_between(x[1], 0, end),
                                            rows_between(x[2], 0, end), options));
        }
        return at::cat(parts, 2);
      };
      auto inputs = draw_inputs({"", false, false});
      inputs.resize(3);
      test::expect_same(
          pieces,
          [&](const Tensors& x) {
            return reference::softmax_attention(x[0], x[1], x[2], {.causal = true, .key_padding_mask = mask});
          },
          inputs, test::tolerance_of(at::kDouble));
    }
  }
}

// The engine's mask of queries and keys is made for some rows at a time.
TEST(Chunks, OfSoftmaxAreCutWhereTheMaskWouldBeLarge) {
  constexpr std::int64_t keys = 1 << 14, queries = 1500;  // 1024 rows a mask
  const auto key = at::randn({1, 1, keys, 2}), value = at::randn({1, 1, keys, 2}),
             query = at::randn({1, 1, queries, 2});
  const auto all = softmax_attention(query, key, value, {.causal = true, .path = Path::fused});
  const auto last =
      softmax_attention(rows_between(query, 1020, 1030), rows_between(key, 0, keys - queries + 1030),
                        rows_between(value, 0, keys - queries + 1030), {.causal = true, .path = Path::reference});
  EXPECT_LT(test::relative_error(rows_between(all, 1020, 1030), last), 1e-5);
}

TEST(Chunks, WrongStatesAreNamed) {
  const auto x = at::randn({1, 1, 10, 4}), e = at::randn({2, 20});
  const auto slots = at::randn({1, 1, 2, 2, 4});
  const auto attend_at = [&](std::int64_t first, std::int64_t keys) {
    const auto key = at::randn({1, 1, keys, 4});
    attend(x, key, key, {slots, slots}, {.causal = true, .window = 5, .first = first});
  };
  attend_at(5, 15);
  EXPECT_THROW(attend_at(5, 10), UserError);
  EXPECT_THROW(attend_at(7, 15), UserError);
  EXPECT_THROW(attend_at(-5, 15), UserError);
  EXPECT_THROW(attend_at(0, 15), UserError);
  const auto sums = at::randn({1, 1, 3, 4});
  EXPECT_THROW(summarise_linear(x, x, e, e, {.window = 5, .before = Slots{sums, sums}}), UserError);
  EXPECT_THROW(summarise_linear(x, x, e, e, {.before = Slots{sums, sums}}), UserError);
  EXPECT_THROW(prefix_attention(x, x, x, e, e, {.before = Slots{sums, sums}}), UserError);
  EXPECT_THROW(softmax_attention(x, rows_between(x, 0, 9), rows_between(x, 0, 9), {.causal = true}), UserError);
}

}  // namespace
}  // namespace linformer::ops
