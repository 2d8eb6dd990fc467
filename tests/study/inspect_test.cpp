#include "linformer/study/inspect.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "linformer/core/json.hpp"
#include "support/errors.hpp"

namespace linformer::test {
namespace {

TEST(CumulativeSingularValues, OfADiagonalAreItsEntriesInOrder) {
  const auto matrix = at::diag(at::tensor({1.0, 4.0, 0.0, 3.0, 2.0}, at::kDouble));
  const auto want = at::tensor({0.4, 0.7, 0.9, 1.0, 1.0}, at::kDouble);
  EXPECT_TRUE(at::allclose(cumulative_singular_values(matrix.to(at::kFloat)), want, 0, 1e-12));
}

TEST(CumulativeSingularValues, RankOneIsWholeAtOnce) {
  const auto rows = at::ones({2, 7, 1}, at::kDouble), columns = at::arange(1, 6, at::kDouble).view({1, 1, 5});
  const auto values = cumulative_singular_values(at::matmul(rows, columns));
  EXPECT_EQ(values.sizes(), (std::vector<std::int64_t>{2, 5}));
  EXPECT_LT((values - 1).abs().max().item<double>(), 1e-12);
}

TEST(BinSums, EveryPositionIsInOneBinInOrder) {
  for (const auto& [length, most, bins] : {std::tuple{13L, 5L, 5L}, {4L, 9L, 4L}, {64L, 64L, 64L}}) {
    const auto selects = bin_sums(length, most);
    EXPECT_EQ(selects.sizes(), (std::vector<std::int64_t>{bins, length}));
    EXPECT_TRUE(at::equal(selects.sum(0), at::ones({length}, at::kDouble)));
    EXPECT_TRUE(at::equal(selects.argmax(0), std::get<0>(at::sort(selects.argmax(0)))));
    EXPECT_GT(selects.sum(1).min().item<double>(), 0);
  }
}

InspectSubject wrapped() {
  InspectSubject subject;
  subject.length = 9;
  subject.before = {100, 101};
  subject.after = {102};
  return subject;
}

TEST(InspectWindows, SpreadOverTheTextBetweenTheirEnds) {
  std::vector<std::int64_t> ids(23);
  std::iota(ids.begin(), ids.end(), 0);
  const auto windows = inspect_windows(wrapped(), ids, 7, 3);  // five windows of four are there
  EXPECT_TRUE(at::equal(
      windows,
      at::tensor({100, 101, 0, 1, 2, 3, 102, 100, 101, 4, 5, 6, 7, 102, 100, 101, 12, 13, 14, 15, 102}, at::kLong)
          .view({3, 7})));
  EXPECT_EQ(inspect_windows(wrapped(), ids, 7, 99).size(0), 5);
}

TEST(InspectWindows, SaysWhatIsWrong) {
  const auto says = [](std::int64_t tokens, std::int64_t length, std::int64_t count) {
    return message_of([&] {
      inspect_windows(wrapped(), std::vector<std::int64_t>(static_cast<std::size_t>(tokens)), length, count);
    });
  };
  EXPECT_NE(says(20, 3, 1).find("takes 4 to 9 tokens"), std::string::npos);
  EXPECT_NE(says(20, 10, 1).find("takes 4 to 9 tokens"), std::string::npos);
  EXPECT_NE(says(5, 9, 1).find("the text has 5 tokens, a window 6"), std::string::npos);
  EXPECT_NE(says(20, 9, 0).find("windows is 0"), std::string::npos);
}

// A model of two layers whose attention is what the test says.
TEST(Inspect, AveragesOverWindowsAndReadsSharesFromThePositionWhereSlotsBegin) {
  InspectSubject subject;
  subject.model = "m";
  subject.layers = 2;
  subject.heads = 1;
  subject.length = 4;
  subject.has_slots = true;
  subject.first_with_slots = 2;
  subject.weights = [](const at::Tensor& ids_BN, const WeightsVisitor& visit) {
    const double share = ids_BN[0][0].item<std::int64_t>() == 0 ? 0.25 : 0.75;
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      auto slots = at::zeros({1, 1, 4, 3}), positions = at::zeros({1, 1, 4, 4});
      slots.slice(2, 2).select(3, 1).fill_(share / static_cast<double>(layer + 1));
      positions.select(3, 0).copy_(1 - slots.sum(-1));
      visit(layer, {.positions = positions, .slots = slots});
    }
  };
  const auto result = inspect(subject, at::tensor({0, 0, 0, 0, 1, 1, 1, 1}, at::kLong).view({2, 4}), "t", {});
  ASSERT_EQ(result.lines.size(), 4U);
  EXPECT_EQ(result.remarks.size(), 1U);
  EXPECT_EQ(result.lines[0]["type"], "weights");
  EXPECT_EQ(result.lines[0]["slot_share"], 0.5);
  EXPECT_EQ(result.lines[2]["slot_share"], 0.25);
  EXPECT_EQ(result.lines[2]["window_share"], 0.75);
  EXPECT_EQ(result.lines[2]["by_position"], json::parse("[0.0,0.0,0.25,0.25]"));
  EXPECT_EQ(result.lines[1]["values"], json::parse("[[0.0,0.0,0.0],[0.0,0.0,0.0],[0.0,0.5,0.0],[0.0,0.5,0.0]]"));
  EXPECT_NE(inspection_table(result, "kept").find("    1     0  0.250   0.750  ▁▁▅▅"), std::string::npos)
      << inspection_table(result, "kept");
}

}  // namespace
}  // namespace linformer::test
