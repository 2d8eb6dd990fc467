#include "benchmark_table.hpp"

#include <algorithm>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/progress.hpp"

namespace linformer::cli {
namespace {

using Row = std::vector<std::string>;

std::string count(const json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null() || (found->is_number() && *found == 0)) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string number(const json& line, const char* key, double scale, int digits) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? formatted("{:.{}f}", found->get<double>() * scale, digits) : "-";
}

std::string seconds(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? formatted("{:.4g}", found->get<double>()) : "-";
}

// Columns are as wide as their longest cell. The first `left` columns are aligned to the left.
std::string table(const std::vector<Row>& rows, std::size_t left) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i < left ? formatted("{:<{}}  ", row[i], widths[i]) : formatted("{:>{}}  ", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

std::string section(const std::vector<json>& lines, std::string_view type, const Row& head, std::size_t left,
                    Row (*row_of)(const json&)) {
  std::vector<Row> rows{head};
  for (const auto& line : lines) {
    if (line.value("type", "") == type) rows.push_back(row_of(line));
  }
  return rows.size() > 1 ? table(rows, left) + '\n' : "";
}

Row point_row(const json& line) {
  const auto status = line.value("status", "");
  const auto note = status != "ok"                ? status + ": " + line.value("reason", "")
                    : line.value("scaled", false) ? formatted("from {} tokens", count(line, "measured_tokens"))
                                                  : "";
  return {count(line, "task"),
          count(line, "form") + (line.contains("fields") ? " " + count(line, "fields") : ""),
          count(line, "decode"),
          count(line, "length"),
          count(line, "slots"),
          count(line, "window"),
          count(line, "batch"),
          count(line, "width"),
          seconds(line, "seconds"),
          seconds(line, "low"),
          seconds(line, "high"),
          number(line, "tokens_per_second", 1, 0),
          number(line, "resident_peak_bytes", 1.0 / (1 << 20), 0),
          number(line, "allocator_peak_bytes", 1.0 / (1 << 20), 0),
          number(line, "mfu", 100, 1),
          note};
}

Row saving_row(const json& line) {
  return {count(line, "against"),
          count(line, "length"),
          count(line, "slots"),
          number(line, "time_saved", 1, 2),
          number(line, "memory_saved", 1, 2),
          count(line, "batch"),
          count(line, "linformer_batch")};
}

Row crossover_row(const json& line) {
  return {count(line, "task"), count(line, "form"), count(line, "time_length"), count(line, "memory_length"),
          count(line, "longest_tried")};
}

Row steps_row(const json& line) {
  return {count(line, "form"), count(line, "steps"), format_duration(line.at("seconds").get<double>())};
}

Row largest_row(const json& line) {
  return {count(line, "form"), count(line, "what"), (line.value("at_least", false) ? "≥ " : "") + count(line, "value"),
          number(line, "budget_bytes", 1.0 / (1 << 30), 2)};
}

}  // namespace

std::string benchmark_table(const std::vector<json>& lines) {
  return section(lines, "point",
                 {"task", "form", "decode", "N", "K", "W", "B", "d", "seconds", "low", "high", "tokens/s",
                  "resident MiB", "tensors MiB", "MFU %", ""},
                 3, point_row) +
         section(lines, "saving", {"against", "N", "K", "time saved x", "memory saved x", "batch", "linformer batch"},
                 1, saving_row) +
         section(lines, "crossover", {"task", "form", "faster from N", "smaller from N", "longest tried"}, 2,
                 crossover_row) +
         section(lines, "steps", {"form", "steps", "measured rate x steps"}, 1, steps_row) +
         section(lines, "largest", {"form", "what", "largest that trains", "budget GiB"}, 2, largest_row);
}

std::string plan_table(const BenchmarkPlan& plan, int rounds, double multiply_adds_per_second) {
  std::string text;
  for (std::size_t i = 0; i < plan.groups.size(); ++i) {
    for (const auto& point : plan.groups[i]) text += formatted("group {:<3} {}\n", i + 1, describe(point));
  }
  for (const auto& search : plan.searches) {
    text += formatted("search    largest {} up to {}, in steps of {}, of: {}\n", search.what, search.most, search.step,
                      describe(search.start));
  }
  for (const auto& left_out : plan.left_out) text += formatted("left out  {}\n", left_out);
  text += formatted("{} points in {} groups, {} searches", plan.points(), plan.groups.size(), plan.searches.size());
  if (plan.points() > 0)
    text +=
        formatted("; very roughly {} in all", format_duration(plan.expected_seconds(rounds, multiply_adds_per_second)));
  return text + '\n';
}

}  // namespace linformer::cli
