// What follows from measured points. Letters: N length, B batch.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "linformer/core/json.hpp"
#include "study/benchmark_session.hpp"

namespace linformer {
namespace {

bool ok(const json& line) { return line.value("status", "") == "ok" && line.contains("seconds"); }

// Sequences that fit: what a process holds before the first run (weights) is fixed, what the run adds grows with the
// batch.
std::int64_t largest_batch(const json& line, std::int64_t budget) {
  if (!ok(line)) return 0;
  const auto base = line.at("allocator_base_bytes").get<double>(), peak = line.at("allocator_peak_bytes").get<double>();
  const auto each = (peak - base) / line.at("batch").get<double>();
  return std::max<std::int64_t>(static_cast<std::int64_t>((static_cast<double>(budget) - base) / std::max(each, 1.0)),
                                0);
}

const json* find(const std::vector<json>& points, BenchmarkForm form, const json& like) {
  for (const auto& line : points) {
    if (line.at("form") == enum_name(form) && line.at("length") == like.at("length") &&
        line.at("batch") == like.at("batch") && line.at("task") == like.at("task")) {
      return &line;
    }
  }
  return nullptr;
}

json saving(const json& linformer, const json& other, std::string_view against, std::int64_t budget) {
  const auto batch = largest_batch(other, budget), linformer_batch = largest_batch(linformer, budget);
  json line = {{"type", "saving"},
               {"preset", "paper-table3"},
               {"length", linformer.at("length")},
               {"slots", linformer.at("slots")},
               {"against", against}};
  if (ok(other)) line["time_saved"] = other.at("seconds").get<double>() / linformer.at("seconds").get<double>();
  if (batch > 0) line["memory_saved"] = static_cast<double>(linformer_batch) / static_cast<double>(batch);
  line["batch"] = batch;
  line["linformer_batch"] = linformer_batch;
  line["budget_bytes"] = budget;
  return line;
}

std::vector<json> savings(const std::vector<json>& points, std::int64_t budget) {
  std::vector<json> lines;
  for (const auto& line : points) {
    if (line.at("form") != "bidirectional" || !ok(line)) continue;
    const auto add = [&](BenchmarkForm form, std::string_view against) {
      if (const auto* other = find(points, form, line)) lines.push_back(saving(line, *other, against, budget));
    };
    add(BenchmarkForm::bidirectional_softmax, "softmax");
    add(BenchmarkForm::bidirectional_softmax_plain, "softmax-plain");
  }
  return lines;
}

// The smallest N from which on the form wins at every N that was tried.
template <class Wins>
json first_length(const std::map<std::int64_t, std::pair<json, json>>& by_length, Wins wins) {
  json first;
  for (const auto& [length, pair] : by_length) {
    const auto& [form, transformer] = pair;
    // A Transformer that failed says nothing; one without room has lost.
    const bool better =
        ok(form) && (transformer.value("status", "") == "memory" || (ok(transformer) && wins(form, transformer)));
    if (!better)
      first = json();
    else if (first.is_null())
      first = length;
  }
  return first;
}

std::vector<json> crossovers(const std::vector<json>& points) {
  std::map<std::pair<std::string, std::string>, std::map<std::int64_t, std::pair<json, json>>> all;  // of task and form
  for (const auto& line : points) {
    const auto form = point_of(line).form;
    if (is_softmax(form)) continue;
    if (const auto* other = find(points, transformer_of(form), line)) {
      all[{line.at("task").get<std::string>(), line.at("form").get<std::string>()}]
         [line.at("length").get<std::int64_t>()] = {line, *other};
    }
  }
  const auto clear = [](const json& form, const json& transformer) {
    const auto end = [](const json& line, const char* key) {
      return line.value(key, line.at("seconds").get<double>());
    };
    return end(form, "high") < end(transformer, "low");
  };
  const auto less = [](const char* key) {
    return [key](const json& form, const json& transformer) {
      return form.at(key).get<double>() < transformer.at(key).get<double>();
    };
  };
  std::vector<json> lines;
  for (const auto& [names, by_length] : all) {
    lines.push_back({{"type", "crossover"},
                     {"form", names.second},
                     {"task", names.first},
                     {"time_length", first_length(by_length, less("seconds"))},
                     {"time_length_clear", first_length(by_length, clear)},
                     {"memory_length", first_length(by_length, less("resident_peak_bytes"))},
                     {"longest_tried", by_length.rbegin()->first}});
  }
  return lines;
}

std::vector<json> times_of_steps(const std::vector<json>& points) {
  std::vector<json> lines;
  for (const auto& line : points) {
    if (!ok(line)) continue;
    for (const std::int64_t steps : {500, 1000, 2000, 5000}) {
      lines.push_back({{"type", "steps"},
                       {"preset", "seed-training"},
                       {"form", line.at("form")},
                       {"steps", steps},
                       {"seconds", line.at("seconds").get<double>() * static_cast<double>(steps)},
                       {"how", "measured seconds a step, times steps"}});
    }
  }
  return lines;
}

}  // namespace

std::vector<json> summarise_benchmark(const BenchmarkPlan& plan, const std::vector<json>& points,
                                      std::int64_t budget_bytes) {
  if (plan.preset == "paper-table3") return savings(points, budget_bytes);
  if (plan.preset == "crossover") return crossovers(points);
  if (plan.preset == "seed-training") return times_of_steps(points);
  return {};
}

}  // namespace linformer
