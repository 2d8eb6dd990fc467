// An inspection as text.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/study/inspect.hpp"

namespace linformer {
namespace {

using Numbers = std::vector<double>;

double mean(const Numbers& values) {
  double sum = 0;
  for (const auto value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

std::string row_of(const Numbers& values) {
  std::string text;
  for (const auto value : values) text += formatted(" {:5.3f}", value);
  return text;
}

// Eighths of a line's height, against `most`.
std::string sparks(const Numbers& values, double most) {
  constexpr std::array kLevels{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  for (const auto value : values)
    text += kLevels.at(static_cast<std::size_t>(most > 0 ? std::lround(7 * std::clamp(value / most, 0.0, 1.0)) : 0));
  return text;
}

std::string spectrum_table(const json& line) {
  auto text = formatted(
      "\nSpectrum of attention: share of all singular values that the largest {} of {} hold (mean of {} "
      "windows)\nlayer   mean  by head\n",
      line["slots"].get<std::int64_t>(), line["length"].get<std::int64_t>(), line["matrices"].get<std::int64_t>());
  Numbers all;
  for (std::size_t layer = 0; layer < line["at_slots"].size(); ++layer) {
    const auto heads = line["at_slots"][layer].get<Numbers>();
    text += formatted("{:>5}  {:5.3f} {}\n", layer, mean(heads), row_of(heads));
    all.insert(all.end(), heads.begin(), heads.end());
  }
  return text + formatted("  all  {:5.3f}\n", mean(all));
}

std::string projection_table(const std::vector<const json*>& lines) {
  if (lines.empty()) return "";
  std::string text =
      "\nWhat slots read: how many positions of the sequence, block or segment a slot would read, if it read them "
      "equally (mean of slots)\nlayer  head  which  slots  positions\n";
  for (const auto* line : lines) {
    text += formatted("{:>5}  {:>4}  {:<5}  {:>5}  {:.1f} of {}\n", (*line)["layer"].get<std::int64_t>(),
                      (*line)["head"].is_null() ? "all" : (*line)["head"].dump(), (*line)["which"].get<std::string>(),
                      (*line)["slots"].get<std::int64_t>(), (*line)["positions_read"].get<double>(),
                      (*line)["length"].get<std::int64_t>());
  }
  return text;
}

std::string weights_table(const std::vector<const json*>& lines) {
  if (lines.empty()) return "";
  auto text = formatted(
      "\nWeight that a query gives to slots; the rest goes to its window (queries from position {} on)\nlayer  head  "
      "slots  window  slots by position\n",
      (*lines.front())["first_query"].get<std::int64_t>());
  double most = 0;
  for (const auto* line : lines) {
    const auto shares = (*line)["by_position"].get<Numbers>();
    most = std::max(most, *std::max_element(shares.begin(), shares.end()));
  }
  for (const auto* line : lines) {
    text += formatted("{:>5}  {:>4}  {:5.3f}   {:5.3f}  {}\n", (*line)["layer"].get<std::int64_t>(),
                      (*line)["head"].get<std::int64_t>(), (*line)["slot_share"].get<double>(),
                      (*line)["window_share"].get<double>(), sparks((*line)["by_position"].get<Numbers>(), most));
  }
  return text + formatted("(the highest bar is {:.3f})\n", most);
}

}  // namespace

std::string inspection_table(const Inspection& inspection, std::string_view kept) {
  std::string text;
  std::vector<const json*> projections, weights;
  std::size_t maps = 0;
  for (const auto& line : inspection.lines) {
    const auto type = line["type"].get<std::string>();
    if (type == "spectrum") text += spectrum_table(line);
    if (type == "projection" && line.contains("positions_read")) projections.push_back(&line);
    if (type == "weights") weights.push_back(&line);
    maps += type == "attention" || type == "projection";
  }
  text += projection_table(projections) + weights_table(weights);
  if (maps > 0) text += formatted("\n{} maps of attention and projections: {}\n", maps, kept);
  return text;
}

}  // namespace linformer
