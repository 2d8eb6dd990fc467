#include <algorithm>
#include <set>

#include "folders.hpp"
#include "linformer/core/json.hpp"
#include "linformer/report/document.hpp"
#include "report/plot.hpp"

namespace linformer::report {
namespace {

using Plots = Folders;

json point(const std::string& form, int length, json more = json::object()) {
  json line = {{"type", "point"},
               {"preset", nullptr},
               {"task", "train"},
               {"form", form},
               {"length", length},
               {"slots", 0},
               {"window", 0},
               {"batch", 1},
               {"dtype", "float32"},
               {"status", "ok"},
               {"seconds", 0.001 * length},
               {"tokens", length},
               {"resident_peak_bytes", 1000 * length}};
  line.update(more);
  return line;
}

std::string as_lines(const std::vector<json>& values) {
  std::string text;
  for (const auto& value : values) text += value.dump() + "\n";
  return text;
}

std::vector<Line> lines_of(const std::vector<Plot>& plots, const std::string& name) {
  const auto found = std::ranges::find(plots, name, &Plot::name);
  return found == plots.end() ? std::vector<Line>() : found->lines;
}

TEST_F(Plots, EachFormHasAColourOfItsOwn) {
  const std::vector<std::string> forms{"softmax",
                                       "softmax-plain",
                                       "bidirectional-softmax",
                                       "bidirectional-softmax-plain",
                                       "bidirectional",
                                       "running",
                                       "block",
                                       "prefix",
                                       "window-only"};
  std::vector<json> points;
  for (const auto& form : forms) {
    for (const int length : {64, 128, 256}) points.push_back(point(form, length));
  }
  write("b/benchmark.jsonl", as_lines(points));
  std::set<std::string> titles, colours;
  for (const auto& line : lines_of(plots_of(read_report({root / "b"}, {})), "time-train"))
    titles.insert(line.title), colours.insert(line.colour);
  EXPECT_EQ(titles, std::set<std::string>(forms.begin(), forms.end()));
  EXPECT_EQ(colours.size(), forms.size());
}

TEST_F(Plots, WhatDiffersAtOneLengthMakesLinesAndWhatFollowsFromTheLengthDoesNot) {
  std::vector<json> points;
  for (const int length : {64, 128, 256}) {
    points.push_back(point("softmax", length, {{"batch", 1024 / length}}));
    points.push_back(point("block", length, {{"slots", length / 8}}));
    for (const int slots : {32, 8}) {
      for (const int window : {16, 4})
        points.push_back(point("running", length, {{"slots", slots}, {"window", window}}));
    }
  }
  write("b/benchmark.jsonl", as_lines(points));
  const auto lines = lines_of(plots_of(read_report({root / "b"}, {})), "time-train");
  std::vector<std::string> titles;
  for (const auto& line : lines) {
    titles.push_back(line.title);
    EXPECT_EQ(line.points.size(), 3u) << line.title;
    EXPECT_LT(line.points[0][0], line.points[1][0]) << line.title;
  }
  EXPECT_EQ(titles, (std::vector<std::string>{"softmax", "block", "running, K 8, window 16", "running, K 8, window 4",
                                              "running, K 32, window 16", "running, K 32, window 4"}));
}

TEST_F(Plots, CrossoversAreMarkedInTheirOwnPlots) {
  std::vector<json> lines;
  for (const auto* form : {"softmax", "running", "block", "window-only"}) {
    for (const int length : {64, 128, 256}) lines.push_back(point(form, length));
  }
  for (const auto* form : {"running", "block", "window-only"}) {
    lines.push_back({{"type", "crossover"},
                     {"form", form},
                     {"task", "train"},
                     {"time_length", 128},
                     {"memory_length", nullptr},
                     {"longest_tried", 256}});
  }
  write("b/benchmark.jsonl", as_lines(lines));
  const auto plots = plots_of(read_report({root / "b"}, {}));
  const auto time = std::ranges::find(plots, "time-train", &Plot::name),
             memory = std::ranges::find(plots, "memory-train", &Plot::name);
  ASSERT_TRUE(time != plots.end() && memory != plots.end());
  ASSERT_EQ(time->uprights.size(), 1u);
  EXPECT_EQ(time->uprights[0].x, 128);
  EXPECT_EQ(time->uprights[0].label, "running, block");
  EXPECT_TRUE(memory->uprights.empty());
  EXPECT_NEAR(time->lines[0].points[0][1], 1.0, 1e-9);      // ms a token
  EXPECT_NEAR(memory->lines[0].points[0][1], 0.064, 1e-9);  // MB
}

TEST_F(Plots, LogAxesEndAtOneTwoOrFive) {
  const auto script_for = [](double low, double high) {
    return script_of({.name = "p",
                      .x = "x",
                      .y = "y",
                      .log_y = true,
                      .lines = {{.title = "l", .colour = "#000000", .points = {{1, low}, {2, high}}}},
                      .bars = {}});
  };
  EXPECT_NE(script_for(0.3, 4).find("set yrange [0.2:5]\nset ytics ('0.2' 0.2, '0.5' 0.5, '1' 1, '2' 2, '5' 5)\n"),
            std::string::npos)
      << script_for(0.3, 4);
  EXPECT_NE(script_for(0.3, 4000).find("set yrange [0.2:5000]\nset ytics ('1' 1, '10' 10, '100' 100, '1000' 1000)\n"),
            std::string::npos)
      << script_for(0.3, 4000);
  EXPECT_NE(script_for(2, 2).find("set yrange [2:5]\n"), std::string::npos) << script_for(2, 2);
}

TEST_F(Plots, SpectraAreNamedByTheirInspectionNotByTheModelsPath) {
  const json spectrum = {{"type", "spectrum"},
                         {"model", (root / "runs" / "one").string()},
                         {"positions", {1, 2}},
                         {"cumulative", {{{0.5, 1.0}}}}};
  for (const auto* folder : {"first/softmax", "second/softmax", "third"})
    write(std::string(folder) + "/inspect.jsonl", as_lines({spectrum, spectrum}));
  std::vector<std::string> names;
  for (const auto& plot : plots_of(read_report({root}, {}))) names.push_back(plot.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"spectrum-first-softmax", "spectrum-first-softmax-2", "spectrum-second-softmax",
                                      "spectrum-second-softmax-2", "spectrum-third", "spectrum-third-2"}));
}

TEST_F(Plots, LossByPositionHasALineForEachModelAndAPlotForEachText) {
  const auto line = [](const char* model, const char* data, double loss) {
    return json{{"type", "evaluation"},
                {"model", model},
                {"data", data},
                {"length", 256},
                {"loss", loss},
                {"loss_by_position",
                 {{{"from", 0}, {"to", 127}, {"loss", loss + 0.5}},
                  {{"from", 128}, {"to", 255}, {"loss", loss - 0.5}},
                  {{"from", "x"}, {"to", "y"}, {"loss", nullptr}}}}};
  };
  auto plain = line("runs/c", "novels", 2);
  plain.erase("loss_by_position");
  auto odd = line("runs/d", "novels", 2);
  odd["loss_by_position"] = "text";
  write("e/evaluate.jsonl",
        as_lines({line("runs/a", "novels", 2), line("runs/b", "novels", 3), line("runs/a", "code", 1), plain, odd}));
  const auto plots = plots_of(read_report({root / "e"}, {}));
  ASSERT_EQ(plots.size(), 2u);
  EXPECT_EQ(plots[0].name, "position-code");
  EXPECT_EQ(plots[1].name, "position-novels");
  ASSERT_EQ(plots[1].lines.size(), 2u);
  EXPECT_EQ(plots[1].lines[1].title, "runs/b, N 256");
  EXPECT_EQ(plots[1].lines[1].points, (std::vector<std::array<double, 2>>{{128, 3.5}, {256, 2.5}}));
  EXPECT_NE(plots[1].lines[0].colour, plots[1].lines[1].colour);
}

}  // namespace
}  // namespace linformer::report
