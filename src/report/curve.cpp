#include "linformer/report/curve.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "linformer/core/format.hpp"

namespace linformer {
namespace {

// A braille character holds 2 × 4 dots; bit of the dot at (column, row).
constexpr unsigned char kDots[2][4] = {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}};

class Canvas {
 public:
  Canvas(std::size_t columns, std::size_t rows) : columns_(columns), cells_(columns * rows) {}
  void dot(std::size_t x, std::size_t y) { cells_[y / 4 * columns_ + x / 2] |= kDots[x % 2][y % 4]; }
  std::string row(std::size_t y) const {
    std::string text;
    for (std::size_t x = 0; x < columns_; ++x) {
      const unsigned code = 0x2800u + cells_[y * columns_ + x];
      for (const unsigned byte : {0xe0u | code >> 12, 0x80u | (code >> 6 & 0x3fu), 0x80u | (code & 0x3fu)})
        text += static_cast<char>(byte);
    }
    return text;
  }

 private:
  std::size_t columns_;
  std::vector<unsigned char> cells_;
};

// The mean of the finite values that fall on each of `count` places; places without any lie on the line between their
// neighbours.
std::vector<double> place_means(std::span<const double> values, std::size_t count) {
  std::vector<double> sums(count), counts(count);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto place = i * (count - 1) / (values.size() - 1);
    if (std::isfinite(values[i])) sums[place] += values[i], ++counts[place];
  }
  std::vector<std::size_t> filled;
  for (std::size_t i = 0; i < count; ++i) {
    if (counts[i] > 0) sums[i] /= counts[i], filled.push_back(i);
  }
  for (std::size_t k = 0; k + 1 < filled.size(); ++k) {
    const auto begin = filled[k], end = filled[k + 1];
    for (auto i = begin + 1; i < end; ++i)
      sums[i] = std::lerp(sums[begin], sums[end], static_cast<double>(i - begin) / static_cast<double>(end - begin));
  }
  std::fill(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(filled.front()), sums[filled.front()]);
  std::fill(sums.begin() + static_cast<std::ptrdiff_t>(filled.back()), sums.end(), sums[filled.back()]);
  return sums;
}

}  // namespace

std::string draw_curve(std::span<const double> values, std::size_t width, std::size_t height) {
  if (std::ranges::count_if(values, [](double v) { return std::isfinite(v); }) < 2 || height == 0) return "";
  constexpr std::size_t kLabel = 8;
  const auto columns = std::max<std::size_t>(width, kLabel + 4) - kLabel - 2;
  const auto means = place_means(values, columns * 2);
  const auto [low, high] = std::ranges::minmax(means);
  const auto level = [&, rows = static_cast<double>(height * 4 - 1)](double value) {
    return static_cast<std::size_t>(std::lround(high > low ? (high - value) / (high - low) * rows : rows / 2));
  };
  Canvas canvas(columns, height);
  for (std::size_t x = 0; x < means.size(); ++x) {
    // From the level before, so that steep stretches are one line.
    const auto here = level(means[x]), before = x == 0 ? here : level(means[x - 1]);
    const auto first = before < here ? before + 1 : here, last = before > here ? before - 1 : here;
    for (auto y = first; y <= last; ++y) canvas.dot(x, y);
  }
  std::string text;
  for (std::size_t y = 0; y < height; ++y) {
    const auto label = y == 0 ? formatted("{:.4g}", high) : y + 1 == height ? formatted("{:.4g}", low) : "";
    text += formatted("{:>{}} {}{}\n", label, kLabel, label.empty() ? "│" : "┤", canvas.row(y));
  }
  return text;
}

}  // namespace linformer
