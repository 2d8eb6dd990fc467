#include "study/benchmark_session.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <thread>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/memory.hpp"
#include "study/benchmark_child.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kReserve = std::int64_t{512} << 20;  // left to the rest of the machine
constexpr int kProgressSteps = 1000;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const auto middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string gemm_dtype(const BenchmarkPoint& point) { return point.dtype == "bfloat16" ? "bfloat16" : "float32"; }

// Threads of the child before it may still look for work for a few milliseconds.
void let_others_rest() { std::this_thread::sleep_for(std::chrono::milliseconds(15)); }

}  // namespace

struct BenchmarkSession::Entrant {
  BenchmarkPoint point;
  std::string gemm = {};  // dtype of the product that this entrant is, instead of a point
  std::unique_ptr<BenchmarkChild> child = {};
  json built = {};
  bool deferred = false;
  std::int64_t limit = 0;
  std::vector<double> rounds = {};
  double gemm_rate = 0;  // multiply-adds a second of the product beside it
  bool ok() const { return built.value("status", "") == "ok"; }
};

bool is_settled(const json& line, std::int64_t budget_bytes) {
  const auto status = line.value("status", "");
  const auto number = [&](const char* key) { return line.value(key, std::int64_t{0}); };
  // What was measured under a larger budget is used if it would also have fitted into this one.
  if (status == "ok") return number("budget_bytes") <= budget_bytes || number("resident_peak_bytes") <= budget_bytes;
  return status == "memory" && number("budget_bytes") >= budget_bytes;
}

BenchmarkSession::BenchmarkSession(BenchmarkLog& log, const BenchmarkPlan& plan, const BenchmarkOptions& options,
                                   std::int64_t budget_bytes)
    : log_(log),
      plan_(plan),
      options_(options),
      budget_(budget_bytes),
      progress_("benchmark", plan.groups.empty() ? 0 : kProgressSteps, 0, options.quiet) {
  for (const auto& group : plan.groups) {
    for (const auto& point : group) {
      const auto line = log.find(point);
      if (!line || !is_settled(*line, budget_)) total_work_ += multiply_adds(point);
    }
  }
}

void BenchmarkSession::run(BenchmarkResult& result) {
  for (const auto& group : plan_.groups) run_group(group);
  for (const auto& one : plan_.searches) log_.append_result(search(one));
  result.measured = measured_;
}

void BenchmarkSession::run_group(const std::vector<BenchmarkPoint>& points) {
  std::vector<BenchmarkPoint> open;
  for (const auto& point : points) {
    const auto line = log_.find(point);
    if (!line || !is_settled(*line, budget_)) open.push_back(point);
  }
  if (!open.empty()) measure(open, options_.rounds, false);
}

void BenchmarkSession::measure(const std::vector<BenchmarkPoint>& points, int rounds, bool alone) {
  std::vector<Entrant> entrants;
  std::map<std::string, bool> products;
  for (const auto& point : points) {
    if (rounds > 0) products[gemm_dtype(point)] = true;
  }
  for (const auto& [dtype, used] : products) entrants.push_back({.point = points.front(), .gemm = dtype});
  for (const auto& point : points) entrants.push_back({.point = point});
  for (auto& entrant : entrants) build(entrant, alone);
  run_rounds(entrants, rounds, alone);
  std::vector<BenchmarkPoint> later;
  for (auto& entrant : entrants) {
    if (!entrant.gemm.empty()) continue;
    if (entrant.deferred)
      later.push_back(entrant.point);
    else
      record(entrant);
  }
  entrants.clear();
  for (const auto& point : later) measure({point}, rounds, true);
}

// Starts the process; its first run warms up and shows the memory.
void BenchmarkSession::build(Entrant& entrant, bool alone) {
  advance(entrant.point, 0, entrant.gemm.empty() ? describe(entrant.point) : "matrix product");
  const auto room = std::max<std::int64_t>(available_memory_bytes() - kReserve, 1 << 20);
  const auto limit = entrant.limit = entrant.gemm.empty() ? std::min(budget_, room) : room;
  const auto weights = entrant.gemm.empty() ? parameter_bytes(entrant.point) : 0;
  const bool hopeless = weights > static_cast<double>(limit);  // building it all the same would take minutes
  if (hopeless) {
    const auto* const trained = entrant.point.task == BenchmarkTask::train ? ", gradients and moments" : "";
    entrant.built = {{"status", "memory"},
                     {"reason", formatted("its weights{} alone take {:.1f} GiB", trained, weights / (1 << 30))}};
  } else {
    start(entrant);
  }
  if (entrant.ok()) return;
  entrant.child.reset();
  const bool memory = entrant.built.value("status", "") == "memory";
  // The other points of the group may have used the memory. It is tried once more when they are gone.
  entrant.deferred = memory && room < budget_ && !alone;
  if (memory && limit < budget_) {
    entrant.built["reason"] = formatted("{} ({:.1f} GiB were available, less than the budget)",
                                        entrant.built.value("reason", ""), static_cast<double>(limit) / (1 << 30));
  }
}

void BenchmarkSession::start(Entrant& entrant) {
  entrant.child = std::make_unique<BenchmarkChild>(options_.program);
  json request = {{"do", "build"}, {"threads", entrant.point.threads}, {"limit_bytes", entrant.limit}};
  if (entrant.gemm.empty())
    request["point"] = to_json(entrant.point);
  else
    request["gemm"] = entrant.gemm;
  entrant.built = entrant.child->ask(request);
}

void BenchmarkSession::run_rounds(std::vector<Entrant>& entrants, int rounds, bool alone) {
  for (int round = 0; round < rounds; ++round) {
    for (auto& entrant : entrants) {
      if (!entrant.ok() || !entrant.child) continue;
      let_others_rest();
      const auto reply = entrant.child->ask({{"do", "round"}});
      if (reply.value("status", "") != "ok") {
        entrant.built = reply;
        entrant.child.reset();
        // Killed while others held memory too: once more, when they are gone.
        entrant.deferred = reply.value("status", "") == "memory" && !alone;
        entrant.rounds.clear();
        continue;
      }
      entrant.rounds.push_back(reply.at("seconds").get<double>());
      auto& most = entrant.built["resident_peak_bytes"];
      most = std::max(most.get<std::int64_t>(), reply.at("resident_peak_bytes").get<std::int64_t>());
      if (entrant.gemm.empty()) advance(entrant.point, 1.0 / rounds, describe(entrant.point));
    }
  }
  for (const auto& product : entrants) {
    if (product.gemm.empty() || product.rounds.empty()) continue;
    const auto rate = product.built.at("multiply_adds").get<double>() / median(product.rounds);
    for (auto& entrant : entrants) {
      if (gemm_dtype(entrant.point) == product.gemm) entrant.gemm_rate = rate;
    }
  }
}

void BenchmarkSession::record(const Entrant& entrant) {
  auto line = to_json(entrant.point);
  const auto& built = entrant.built;
  line["status"] = built.value("status", "failed");
  if (built.contains("reason")) line["reason"] = built.at("reason");
  line["budget_bytes"] = entrant.ok() ? budget_ : entrant.limit;
  if (entrant.ok()) {
    const auto tokens = round_tokens(entrant.point);
    if (!entrant.rounds.empty()) {
      const auto seconds = median(entrant.rounds);
      line["rounds"] = entrant.rounds;
      line["seconds"] = seconds;
      line["low"] = std::ranges::min(entrant.rounds);
      line["high"] = std::ranges::max(entrant.rounds);
      line["tokens"] = tokens;
      line["tokens_per_second"] = static_cast<double>(tokens) / seconds;
      if (built.contains("measured_tokens"))
        line["measured_tokens"] = built.at("measured_tokens"), line["scaled"] = true;
      if (entrant.gemm_rate > 0) {
        line["gemm_gflops"] = 2e-9 * entrant.gemm_rate;
        line["mfu"] = multiply_adds(entrant.point) / seconds / entrant.gemm_rate;
      }
    }
    for (const auto* key : {"resident_peak_bytes", "allocator_peak_bytes", "allocator_base_bytes"})
      line[key] = built.at(key);
    if (built.contains("state_bytes")) line["state_bytes"] = built.at("state_bytes");
  } else {
    progress_.note(
        formatted("{}: {} ({})", describe(entrant.point), built.value("status", ""), built.value("reason", "")));
  }
  log_.append(line);
  ++measured_;
}

void BenchmarkSession::advance(const BenchmarkPoint& point, double share, const std::string& what) {
  done_work_ += share * multiply_adds(point);
  const auto share_done = total_work_ > 0 ? std::min(done_work_ / total_work_, 1.0) : 0;
  progress_.update(plan_.groups.empty() ? static_cast<std::int64_t>(measured_)
                                        : static_cast<std::int64_t>(kProgressSteps * share_done),
                   what);
}

bool BenchmarkSession::trains(const BenchmarkPoint& point) {
  auto line = log_.find(point);
  // A trial needs its own budget: a point that fits into a larger one says nothing about this one.
  const bool known =
      line && line->value("status", "") != "failed" && line->value("budget_bytes", std::int64_t{0}) == budget_;
  if (!known) measure({point}, 0, true);
  return log_.find(point)->value("status", "") == "ok";
}

// Doubles until a size fails, then halves the interval until it is a step or a thirtieth of the size.
json BenchmarkSession::search(const MemorySearch& search) {
  const bool by_length = search.what == "length";
  bool short_of_room = false;  // a trial that failed had less than the budget
  const auto fits = [&](std::int64_t steps) {
    auto point = search.start;
    (by_length ? point.length : point.width) = steps * search.step;
    if (!by_length) point.heads = std::max<std::int64_t>(point.width / 64, 1);
    const bool good = trains(point);
    short_of_room = short_of_room || (!good && log_.find(point)->value("budget_bytes", budget_) < budget_);
    return good;
  };
  const auto most = search.most / search.step;
  std::int64_t good = 0, bad = 1;
  while (bad <= most && fits(bad)) good = bad, bad = std::min(2 * bad, good < most ? most : most + 1);
  while (bad - good > std::max<std::int64_t>(1, good / 30)) {
    const auto middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  json line = {{"type", "largest"},   {"preset", plan_.preset},      {"form", enum_name(search.start.form)},
               {"what", search.what}, {"value", good * search.step}, {"budget_bytes", budget_}};
  if (!search.start.fields.empty()) line["fields"] = search.start.fields;
  if (short_of_room || (good > 0 && good == most))
    line["at_least"] = true;  // something else than the budget ended the search
  return line;
}

}  // namespace linformer
