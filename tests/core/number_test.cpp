#include "linformer/core/number.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace linformer {
namespace {

TEST(Number, WholeNumbersAreDecimalAndWholeText) {
  EXPECT_EQ(parse_number<std::int64_t>("0"), 0);
  EXPECT_EQ(parse_number<std::int64_t>("-7"), -7);
  EXPECT_EQ(parse_number<std::int64_t>("10"), 10);
  for (const auto* text :
       {"", "-", "+1", " 1", "1 ", "010", "-01", "00", "0x10", "1.0", "1e3", "1_000", "--1", "one", "１"})
    EXPECT_FALSE(parse_number<std::int64_t>(text)) << text;
}

TEST(Number, WholeNumbersStayInTheRangeOfTheirType) {
  EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_FALSE(parse_number<std::uint64_t>("18446744073709551616"));
  EXPECT_FALSE(parse_number<std::uint64_t>("-1"));
  EXPECT_EQ(parse_number<std::int64_t>("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  EXPECT_FALSE(parse_number<std::int64_t>("9223372036854775808"));
  EXPECT_FALSE(parse_number<std::int32_t>("99999999999"));
  EXPECT_FALSE(parse_number<std::int64_t>(std::string(100'000, '9')));
}

TEST(Number, Decimals) {
  EXPECT_EQ(parse_number<double>("3"), 3);
  EXPECT_EQ(parse_number<double>("-0.5"), -0.5);
  EXPECT_EQ(parse_number<double>(".5"), 0.5);
  EXPECT_EQ(parse_number<double>("5e-4"), 5e-4);
  EXPECT_EQ(parse_number<double>("1E+2"), 100);
  EXPECT_EQ(parse_number<double>("0"), 0);
  for (const auto* text : {"", ".", "-", "e5", "1e", "1e+", "nan", "inf", "-inf", "infinity", "1e999", "01.5", "0x1p3",
                           "1,5", "1.5.2", " 1", "1f"})
    EXPECT_FALSE(parse_number<double>(text)) << text;
}

}  // namespace
}  // namespace linformer
