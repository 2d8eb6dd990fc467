#include "linformer/report/curve.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include "report/thin.hpp"

namespace linformer {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Columns on a terminal: bytes that begin a character.
std::size_t columns(const std::string& line) {
  std::size_t count = 0;
  for (const char c : line) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

TEST(Curve, NamesItsExtremesAndFillsItsWidth) {
  std::vector<double> values(501);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 5.25 - 4 * static_cast<double>(i) / 500;
  const auto lines = lines_of(draw_curve(values, 40, 6));
  ASSERT_EQ(lines.size(), 6u);
  for (const auto& line : lines) EXPECT_EQ(columns(line), 40u);
  EXPECT_NE(lines.front().find("5.2"), std::string::npos);
  EXPECT_NE(lines.back().find("1.2"), std::string::npos);
}

TEST(Curve, FallsFromTheTopLeftToTheBottomRight) {
  const auto lines = lines_of(draw_curve(std::vector<double>{4, 3, 2, 1}, 14, 2));
  ASSERT_EQ(lines.size(), 2u);
  // Two cells by two: 4 dot columns by 8 dot rows, the blank cells are those off the diagonal.
  EXPECT_EQ(lines[0].substr(lines[0].find("┤") + 3).substr(0, 3) == "\u2800", false);
  EXPECT_TRUE(lines[0].ends_with("\u2800"));
  EXPECT_FALSE(lines[1].ends_with("\u2800"));
}

TEST(Curve, IsOneLineWithoutGaps) {
  std::vector<double> values(9, kNaN);
  values.front() = 0;
  values.back() = 1;
  const auto lines = lines_of(draw_curve(values, 30, 4));
  for (std::size_t column = 0; column < 20; ++column) {
    bool drawn = false;
    for (const auto& line : lines) {
      const auto begin = line.find("┤") != std::string::npos ? line.find("┤") + 3 : line.find("│") + 3;
      drawn = drawn || line.substr(begin + 3 * column, 3) != "\u2800";
    }
    EXPECT_TRUE(drawn) << column;
  }
}

TEST(Curve, NeedsTwoFiniteValues) {
  EXPECT_EQ(draw_curve({}), "");
  EXPECT_EQ(draw_curve(std::vector<double>{1}), "");
  EXPECT_EQ(draw_curve(std::vector<double>{1, kNaN, INFINITY}), "");
  EXPECT_NE(draw_curve(std::vector<double>{1, 1}), "");
  EXPECT_NE(draw_curve(std::vector<double>{kNaN, 2, 1}, 0, 1), "");
}

TEST(Thin, KeepsEndsAndExtremes) {
  std::vector<double> values(10'001, 1.0);
  values[777] = 99;
  values[5001] = -99;
  values[0] = kNaN;
  const auto kept = report::thin_keeping_extremes(values, 63);
  EXPECT_LE(kept.size(), 63u);
  for (const std::size_t index : {0u, 777u, 5001u, 10'000u})
    EXPECT_NE(std::find(kept.begin(), kept.end(), index), kept.end()) << index;
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
}

TEST(Thin, ShortCurvesStayWhole) {
  EXPECT_EQ(report::thin_keeping_extremes(std::vector<double>{3, 1, 2}, 4).size(), 3u);
  EXPECT_TRUE(report::thin_keeping_extremes({}, 0).empty());
}

}  // namespace
}  // namespace linformer
