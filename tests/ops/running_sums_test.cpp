// Running slots whose weights the text makes, against the recurrence that defines them. Shape letters: see
// ops/running.hpp.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "linformer/ops/running.hpp"
#include "support/closeness.hpp"
#include "support/errors.hpp"

namespace linformer::ops {
namespace {

using test::Tensors;

constexpr std::int64_t kGateWindow = 4;

// key, value (B,G,M,D), α (B,G,K,M), sums before of both.
Tensors gate_inputs(std::int64_t rows) {
  const auto options = at::TensorOptions(at::kDouble);
  return {at::randn({2, 3, rows, 5}, options), at::randn({2, 3, rows, 5}, options),
          at::rand({2, 3, 2, rows}, options) * 0.9 + 0.05, at::randn({2, 3, 2, 5}, options),
          at::randn({2, 3, 2, 5}, options)};
}

std::optional<Slots> gate_before(const Tensors& x, bool goes_on) {
  return goes_on ? std::optional(Slots{x[3], x[4]}) : std::nullopt;
}

// The state S_t = α_t ⊙ S_{t−1} + (1 − α_t) x_tᵀ after the blocks that each block of queries sees.
at::Tensor by_recurrence(const at::Tensor& x, const at::Tensor& keep, const at::Tensor& before, bool goes_on) {
  const auto rows = x.size(2), blocks = (rows + kGateWindow - 1) / kGateWindow;
  auto state = goes_on ? before : at::zeros_like(before);
  std::vector<at::Tensor> seen{state};
  if (!goes_on && blocks > 1) seen.push_back(state);
  const auto entries = goes_on ? blocks - 1 : blocks;
  for (std::int64_t t = 0; static_cast<std::int64_t>(seen.size()) < entries; ++t) {
    const auto kept = keep.select(3, t).unsqueeze(-1);
    state = kept * state + (1 - kept) * x.select(2, t).unsqueeze(2);
    if (t % kGateWindow == kGateWindow - 1) seen.push_back(state);
  }
  return at::stack(seen, 2);
}

// α as weights and decay of blocks, by plain products.
SlotWrites gate_writes(const at::Tensor& keep) {
  const auto rows = keep.size(3), blocks = (rows + kGateWindow - 1) / kGateWindow;
  std::vector<at::Tensor> weights(static_cast<std::size_t>(rows)), decay;
  for (std::int64_t block = 0; block < blocks; ++block) {
    auto later = at::ones_like(keep.select(3, 0));
    for (auto t = std::min(rows, (block + 1) * kGateWindow) - 1; t >= block * kGateWindow; --t) {
      weights[static_cast<std::size_t>(t)] = (1 - keep.select(3, t)) * later;
      later = later * keep.select(3, t);
    }
    decay.push_back(later);
  }
  const auto all = at::stack(weights, 3);
  return {.key_weights = all, .value_weights = all, .decay = at::stack(decay, 3)};
}

TEST(RunningSums, AreTheRecurrence) {
  for (const bool goes_on : {false, true}) {
    for (const std::int64_t rows : {1, 4, 5, 8, 9, 21}) {
      if (goes_on && rows <= kGateWindow) continue;
      SCOPED_TRACE(testing::Message() << rows << " rows, goes on " << goes_on);
      const auto x = gate_inputs(rows);
      const auto made = running_sums(x[0], x[1], gate_writes(x[2]), kGateWindow, gate_before(x, goes_on));
      const auto keys = by_recurrence(x[0], x[2], x[3], goes_on), values = by_recurrence(x[1], x[2], x[4], goes_on);
      ASSERT_EQ(made.key.sizes(), keys.sizes());
      EXPECT_TRUE(at::allclose(made.key, keys, 1e-12, 1e-13));
      EXPECT_TRUE(at::allclose(made.value, values, 1e-12, 1e-13));
    }
  }
}

TEST(RunningSums, HaveGradientsOfBothOrders) {
  for (const bool goes_on : {false, true}) {
    const auto x = gate_inputs(14);
    const test::Operation sums = [&](const Tensors& inputs) {
      const auto made =
          running_sums(inputs[0], inputs[1], gate_writes(inputs[2]), kGateWindow, gate_before(inputs, goes_on));
      return at::cat({made.key, made.value}, -1);
    };
    EXPECT_LT(test::gradient_check(sums, x), 1e-6);
    const auto second = [&](const test::Operation& operation) {
      const auto first = [&](const Tensors& leaves) { return test::gradients_of(operation, leaves); };
      return test::run_with_gradients(first, x, at::ones_like(first(x)), at::kDouble);
    };
    const auto got = second(sums), want = second([&](const Tensors& inputs) {
                                     return at::cat({by_recurrence(inputs[0], inputs[2], inputs[3], goes_on),
                                                     by_recurrence(inputs[1], inputs[2], inputs[4], goes_on)},
                                                    -1);
                                   });
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_LT((got.gradients[i] - want.gradients[i]).norm().item<double>(),
                1e-10 * (1 + want.gradients[i].norm().item<double>()))
          << "input " << i;
  }
}

TEST(RunningSums, AreInFloat32AtLeast) {
  auto x = gate_inputs(21);
  for (auto& each : x) each = each.to(at::kBFloat16);
  const auto made = running_sums(x[0], x[1], gate_writes(x[2].to(at::kFloat)), kGateWindow);
  EXPECT_EQ(made.key.scalar_type(), at::kFloat);
  const auto wide = [](const at::Tensor& each) { return each.to(at::kDouble); };
  EXPECT_TRUE(at::allclose(wide(made.key), by_recurrence(wide(x[0]), wide(x[2]), wide(x[3]), false), 1e-5, 1e-5));
}

TEST(RunningSums, MistakesAreNamed) {
  const auto x = gate_inputs(21);
  const auto message = [&](const SlotWrites& writes) {
    return test::message_of([&] { running_sums(x[0], x[1], writes, kGateWindow); });
  };
  auto writes = gate_writes(x[2]);
  writes.decay = writes.decay.narrow(3, 0, 2);
  EXPECT_NE(message(writes).find("decay has shape (2, 3, 2, 2); expected"), std::string::npos) << message(writes);
  writes = gate_writes(x[2].narrow(1, 0, 2));
  EXPECT_NE(message(writes).find("key_weights has shape (2, 2, 2, 21)"), std::string::npos) << message(writes);
  const auto few = test::message_of([&] {
    running_sums(x[0].narrow(2, 0, kGateWindow), x[1].narrow(2, 0, kGateWindow), gate_writes(x[2]), kGateWindow,
                 gate_before(x, true));
  });
  EXPECT_NE(few.find("past its first block"), std::string::npos) << few;
}

}  // namespace
}  // namespace linformer::ops
