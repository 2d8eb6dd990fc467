// The plots of a document: the same choices as the page's.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "report/json_lines.hpp"
#include "report/plot.hpp"

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"

namespace linformer::report {
namespace {

constexpr std::array kColours{"#2257cf", "#d4581a", "#14794c", "#8e3bb0", "#a87700", "#0b8199", "#c2255c", "#6a4b35"};
constexpr std::size_t kRuns = 8;  // more lines can't be told apart

const char* colour(std::size_t i) { return kColours[i % kColours.size()]; }

// Transformers are grey: causal ones cool, bidirectional ones warm.
std::string colour_of_form(const std::string& form) {
  static const std::map<std::string, std::size_t> own{
      {"running", 0}, {"block", 1}, {"prefix", 2}, {"window-only", 3}, {"bidirectional", 5}};
  if (const auto found = own.find(form); found != own.end()) return colour(found->second);
  const bool plain = form.ends_with("plain");
  if (form.starts_with("bidirectional")) return plain ? "#cdb89c" : "#94714a";
  return plain ? "#a3adb8" : "#46515d";
}

// Between `colour` (share 0) and white (1).
std::string lighter(const std::string& colour, double share) {
  std::string mixed = "#";
  for (std::size_t i = 1; i < 7; i += 2) {
    const auto part = std::stoi(colour.substr(i, 2), nullptr, 16);
    mixed += formatted("{:02x}", part + static_cast<int>(std::lround(share * (255 - part))));
  }
  return mixed;
}

// Lines of one colour, such as those of one form with several K, grow lighter one after the other and have marks of
// their own.
void tell_apart(std::vector<Line>& lines) {
  std::map<std::string, int> total, seen;
  for (const auto& line : lines) ++total[line.colour];
  for (auto& line : lines) {
    const auto base = line.colour;
    line.mark = seen[base]++;
    line.colour = lighter(base, 0.7 * line.mark / total[base]);
  }
}

double at(const json& list, std::size_t i) {
  return i < list.size() && list[i].is_number() ? list[i].get<double>() : kNone;
}

std::vector<std::array<double, 2>> joined(const json& x, const json& y) {
  std::vector<std::array<double, 2>> points;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(at(x, i)) && std::isfinite(at(y, i))) points.push_back({at(x, i), at(y, i)});
  }
  return points;
}

bool mixed_vocabularies(const json& runs) {
  std::string first;
  for (const auto& run : runs) {
    const auto hash = run["config"].is_object() ? text(run["config"].value("tokenizer", json()), "hash") : "";
    if (first.empty()) first = hash;
    if (!hash.empty() && hash != first) return true;
  }
  return false;
}

// The range of the lines after their first tenth, used if the steep start would flatten the rest.
std::array<double, 2> after_the_fall(const std::vector<Line>& lines) {
  double low = std::numeric_limits<double>::infinity(), high = -low, highest = -low;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.points.size(); ++i) {
      const double value = line.points[i][1];
      highest = std::max(highest, value);
      if (i >= line.points.size() / 10) low = std::min(low, value), high = std::max(high, value);
    }
  }
  const double margin = 0.04 * (high - low);
  return high > low && highest - low > 1.3 * (high - low) ? std::array{low - margin, high + margin}
                                                          : std::array<double, 2>{};
}

void add_losses(const json& runs, std::vector<Plot>& plots) {
  std::vector<const json*> order;
  for (const auto& run : runs) order.push_back(&run);
  const bool bits = mixed_vocabularies(runs);
  std::ranges::stable_sort(order, {}, [](const json* run) {
    return number((*run)["summary"], "best_bits_per_byte", std::numeric_limits<double>::max());
  });
  Plot plot{.name = "loss",
            .x = "step",
            .y = bits ? "validation loss, bits a byte" : "loss, nats a token",
            .lines = {},
            .bars = {}};
  std::vector<Line> validation;  // in front of the training losses, which are noise beside them
  for (std::size_t i = 0; i < std::min(order.size(), kRuns); ++i) {
    const auto& run = *order[i];
    const auto name = run["name"].get<std::string>();
    const auto& evaluations = run["evaluations"];
    const auto judged = joined(evaluations["step"], evaluations[bits ? "bits_per_byte" : "loss"]);
    if (judged.size() > 1)
      validation.push_back(
          {.title = name + (bits ? "" : ", validation"), .colour = colour(i), .dots = true, .points = judged});
    if (!bits) {
      plot.lines.push_back({.title = judged.size() > 1 ? name + ", training" : name,
                            .colour = judged.size() > 1 ? lighter(colour(i), 0.6) : colour(i),
                            .points = joined(run["curve"]["step"], run["curve"]["loss"]),
                            .width = 1});
    }
  }
  std::ranges::move(validation, std::back_inserter(plot.lines));
  std::erase_if(plot.lines, [](const Line& line) { return line.points.empty(); });
  plot.y_range = after_the_fall(plot.lines);
  if (!plot.lines.empty()) plots.push_back(std::move(plot));
}

// As in the page (src/report/page/speed.js): if points of one form at one length differ in something, each gets a line
// of its own. What follows from the length, such as the number of slots that blocks can have, doesn't count.
struct Varied {
  const char *key, *label;
};
constexpr std::array kVaried{Varied{"slots", "K "},         Varied{"window", "window "}, Varied{"sharing", "sharing "},
                             Varied{"width", "width "},     Varied{"layers", "layers "}, Varied{"dtype", ""},
                             Varied{"threads", "threads "}, Varied{"batch", "batch "},   Varied{"fields", ""}};
using Points = std::vector<const json*>;

std::map<std::string, std::vector<Varied>> varied_by_form(const Points& points) {
  std::map<std::string, std::vector<Varied>> varied;
  for (const auto& one : kVaried) {
    std::map<std::pair<std::string, double>, std::set<std::string>> values;
    std::set<std::string> forms;
    for (const auto* point : points) {
      auto& same = values[{text(*point, "form"), number(*point, "length", 0)}];
      same.insert(dump(point->value(one.key, json())));
      if (same.size() > 1) forms.insert(text(*point, "form"));
    }
    for (const auto& form : forms) varied[form].push_back(one);
  }
  return varied;
}

std::string line_name(const json& point, const std::vector<Varied>& varied) {
  auto name = text(point, "form");
  if (text(point, "decode") == "reread") name += ", rereads its window";
  for (const auto& [key, label] : varied) {
    const auto value = point.value(key, json());
    if (!value.is_null())
      name += formatted(", {}{}", label, value.is_string() ? value.get<std::string>() : dump(value));
  }
  return name;
}

// Of one chart, in the order of K.
std::vector<Line> lines_of(Points points, const char* key, double scale, bool per_token) {
  std::ranges::stable_sort(points, {}, [](const json* point) { return number(*point, "slots", 0); });
  auto varied = varied_by_form(points);
  std::vector<Line> lines;
  for (const auto* point : points) {
    const auto length = number(*point, "length", kNone);
    const auto value = scale * number(*point, key, kNone) / (per_token ? number(*point, "tokens", kNone) : 1);
    if (!(value > 0) || !std::isfinite(length)) continue;
    const auto form = text(*point, "form"), name = line_name(*point, varied[form]);
    auto line = std::ranges::find(lines, name, &Line::title);
    if (line == lines.end()) {
      const bool dashed = text(*point, "decode") == "reread" || form.ends_with("plain");
      line = lines.insert(
          line, {.title = name, .colour = colour_of_form(form), .dashed = dashed, .dots = true, .points = {}});
    }
    line->points.push_back({length, value});
  }
  for (auto& line : lines) std::ranges::sort(line.points);
  tell_apart(lines);
  return lines;
}

// Where each form is ahead from, as the program found; without the control that has no slots.
std::vector<Upright> crossings_of(const json& benchmark, const std::string& task, const char* key) {
  std::map<double, std::string> forms;
  for (const auto& crossing : benchmark["crossovers"]) {
    const auto length = number(crossing, key, kNone);
    if (text(crossing, "task") != task || text(crossing, "form") == "window-only" || !std::isfinite(length)) continue;
    auto& names = forms[length];
    names += (names.empty() ? "" : ", ") + text(crossing, "form");
  }
  std::vector<Upright> uprights;
  for (const auto& [length, names] : forms) uprights.push_back({length, names});
  return uprights;
}

void add_benchmark(const json& benchmark, std::vector<Plot>& plots) {
  std::map<std::string, Points> groups;
  for (const auto& point : benchmark["points"]) {
    if (text(point, "status") == "ok")
      groups[text(point, "task") + (text(point, "preset").empty() ? "" : "-" + text(point, "preset"))].push_back(
          &point);
  }
  for (const auto& [name, points] : groups) {
    for (const bool time : {true, false}) {
      auto lines = time ? lines_of(points, "seconds", 1e3, true) : lines_of(points, "resident_peak_bytes", 1e-6, false);
      std::set<double> lengths;
      for (const auto& line : lines) {
        for (const auto& [length, value] : line.points) lengths.insert(length);
      }
      if (lengths.size() < 3) continue;
      plots.push_back(
          {.name = file_name_of(formatted("{}-{}", time ? "time" : "memory", name)),
           .x = "N, tokens",
           .y = time ? "time a token, ms" : "peak memory, MB",
           .log_x = true,
           .log_y = true,
           .lines = std::move(lines),
           .bars = {},
           .uprights = crossings_of(benchmark, text(*points.front(), "task"), time ? "time_length" : "memory_length")});
    }
  }
}

std::vector<std::array<double, 2>> recall_by_distance(const json& row) {
  std::map<double, std::array<double, 2>> sums;
  for (const auto& seed : row.value("seeds", json::array())) {
    for (const auto& one : seed.value("accuracy_by_distance", json::array())) {
      auto& [sum, count] = sums[number(one, "distance", 0)];
      sum += number(one, "accuracy", 0);
      ++count;
    }
  }
  std::vector<std::array<double, 2>> points;
  for (const auto& [distance, sum] : sums) points.push_back({distance, sum[0] / sum[1]});
  return points;
}

void add_ablation(const json& ablation, std::vector<Plot>& plots) {
  const auto name =
      file_name_of(text(ablation, "grid_name").empty() ? text(ablation, "name") : text(ablation, "grid_name"));
  const auto add_bars = [&](const char* key, const std::string& ending, const std::string& label) {
    Plot plot{.name = "ablation-" + name + ending, .x = "", .y = label, .lines = {}, .bars = {}};
    for (const auto& row : ablation["rows"]) {
      if (row.value("vocabulary_differs", json()) == true) continue;  // its tokens are others: no bar beside these
      const auto value = row.value(key, json());
      const double middle = number(value, "mean", kNone);
      if (std::isfinite(middle))
        plot.bars.push_back({text(row, "point"), middle, number(value, "low", middle), number(value, "high", middle)});
    }
    if (!plot.bars.empty()) plots.push_back(std::move(plot));
  };
  add_bars("validation_loss", "", "validation loss, nats a token");
  add_bars("accuracy", "-accuracy", "accuracy");
  Plot plot{.name = "recall-" + name,
            .x = "distance of the pair, tokens",
            .y = "accuracy",
            .log_x = true,
            .lines = {},
            .bars = {}};
  for (const auto& row : ablation["rows"]) {
    auto points = recall_by_distance(row);
    const auto i = plot.lines.size(), round = i / kColours.size();  // colours go round; dashes and marks then differ
    if (points.size() > 1)
      plot.lines.push_back({.title = text(row, "point"),
                            .colour = colour(i),
                            .dashed = round % 2 == 1,
                            .dots = true,
                            .points = std::move(points),
                            .mark = static_cast<int>(round)});
  }
  if (!plot.lines.empty()) plots.push_back(std::move(plot));
}

// Named by the inspection: the model's path may be absolute.
void add_spectrum(const std::string& inspection, const json& spectrum, std::vector<Plot>& plots) {
  Plot plot{.name = "spectrum-" + file_name_of(inspection),
            .x = "singular values counted",
            .y = "share of their sum",
            .lines = {},
            .bars = {}};
  const auto positions = spectrum.value("positions", json::array());
  for (const auto& heads : spectrum.value("cumulative", json::array())) {
    json means = json::array();
    for (std::size_t i = 0; i < positions.size(); ++i) {
      double sum = 0;
      for (const auto& head : heads) sum += at(head, i);
      means.push_back(sum / static_cast<double>(heads.size()));
    }
    plot.lines.push_back({formatted("layer {}", plot.lines.size() + 1), colour(plot.lines.size()),
                          plot.lines.size() >= kColours.size(), false, joined(positions, means)});
  }
  std::erase_if(plot.lines, [](const Line& line) { return line.points.empty(); });
  if (const auto slots = number(spectrum, "slots", kNone); std::isfinite(slots))
    plot.uprights.push_back({slots, formatted("K = {:.0f}", slots)});
  if (!plot.lines.empty()) plots.push_back(std::move(plot));
}

// One a text, with a line for each model and length.
void add_positions(const json& evaluations, std::vector<Plot>& plots) {
  std::map<std::string, Plot> by_text;
  for (const auto& evaluation : evaluations) {
    for (const auto& line : evaluation["lines"]) {
      std::vector<std::array<double, 2>> points;
      const auto octaves = line.value("loss_by_position", json::array());
      for (const auto& octave : octaves.is_array() ? octaves : json::array()) {
        const auto end = number(octave, "to", kNone) + 1, loss = number(octave, "loss", kNone);
        if (std::isfinite(end) && std::isfinite(loss)) points.push_back({end, loss});
      }
      if (points.size() < 2) continue;
      const auto data = text(line, "data");
      auto& plot = by_text
                       .try_emplace(data, Plot{.name = "position" + (data.empty() ? "" : "-" + file_name_of(data)),
                                               .x = "position, tokens",
                                               .y = "loss, nats a token",
                                               .log_x = true,
                                               .lines = {},
                                               .bars = {}})
                       .first->second;
      const auto i = plot.lines.size();
      plot.lines.push_back({.title = formatted("{}, N {:.0f}", text(line, "model"), number(line, "length", 0)),
                            .colour = colour(i),
                            .dashed = i >= kColours.size(),
                            .dots = true,
                            .points = std::move(points)});
    }
  }
  for (auto& [data, plot] : by_text) plots.push_back(std::move(plot));
}

}  // namespace

std::vector<Plot> plots_of(const json& document) {
  std::vector<Plot> plots;
  add_losses(document["runs"], plots);
  for (const auto& benchmark : document["benchmarks"]) add_benchmark(benchmark, plots);
  for (const auto& ablation : document["ablations"]) add_ablation(ablation, plots);
  for (const auto& inspection : document["inspections"]) {
    for (const auto& spectrum : inspection["spectra"]) add_spectrum(text(inspection, "name"), spectrum, plots);
  }
  add_positions(document["evaluations"], plots);
  // Two benchmarks, say, may have a plot of the same name.
  std::set<std::string> names;
  for (auto& plot : plots) {
    const auto name = plot.name;
    for (int count = 2; !names.insert(plot.name).second; ++count) plot.name = formatted("{}-{}", name, count);
  }
  return plots;
}

}  // namespace linformer::report
