// A user's grid as points. Letters: N length, K slots, W window, d width.
#include <algorithm>
#include <numeric>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer {
namespace {

// Calls `each` with a copy of the point for every value that `set` puts into it.
template <class Value, class Set, class Each>
void over(const BenchmarkPoint& point, const std::vector<Value>& values, Set set, Each each) {
  for (const auto& value : values) {
    auto next = point;
    set(next, value);
    each(next);
  }
}

class GridPlan {
 public:
  GridPlan(const BenchmarkGrid& grid, const PlanOptions& options) : grid_(grid), options_(options) {}

  BenchmarkPlan make() {
    using P = BenchmarkPoint;
    for (const auto& fields : grid_.fields) check_fields(fields);
    P base;
    base.vocabulary = grid_.vocabulary, base.threads = options_.threads;
    over(
        base, grid_.tasks, [](P& p, auto v) { p.task = v; },
        [&](const P& a) {
          over(
              a, grid_.dtypes, [](P& p, const auto& v) { p.dtype = v; },
              [&](const P& b) {
                over(
                    b, grid_.layers, [](P& p, auto v) { p.layers = v; },
                    [&](const P& c) {
                      over(
                          c, grid_.widths, [](P& p, auto v) { p.width = v; },
                          [&](const P& d) {
                            over(
                                d, grid_.heads,
                                [](P& p, auto v) { p.heads = v > 0 ? v : std::max<std::int64_t>(p.width / 64, 1); },
                                [&](const P& e) {
                                  over(
                                      e, grid_.batches, [](P& p, auto v) { p.batch = v; },
                                      [&](const P& f) {
                                        over(
                                            f, grid_.lengths, [](P& p, auto v) { p.length = v; },
                                            [&](const P& g) { add_group(g); });
                                      });
                                });
                          });
                    });
              });
        });
    require(plan_.points() > 0, "no point is left: {}",
            plan_.left_out.empty() ? "the grid is empty" : plan_.left_out.front());
    return std::move(plan_);
  }

 private:
  // What is compared: everything equal but form, decode, slots, window, sharing and fields.
  void add_group(const BenchmarkPoint& base) {
    if (options_.max_length > 0 && base.length > options_.max_length) return;
    group_.clear();
    over(
        base, grid_.fields, [](BenchmarkPoint& p, const auto& v) { p.fields = v; },
        [&](const BenchmarkPoint& p) { add_forms(p); });
    if (!group_.empty()) plan_.groups.push_back(group_);
  }

  void add_forms(const BenchmarkPoint& base) {
    using P = BenchmarkPoint;
    over(
        base, grid_.forms, [](P& p, auto v) { p.form = v; },
        [&](const P& a) {
          over(
              a, grid_.decodes, [](P& p, auto v) { p.decode = v; },
              [&](const P& b) {
                over(
                    b, grid_.sharings, [](P& p, auto v) { p.sharing = v; },
                    [&](const P& c) {
                      over(
                          c, grid_.windows, [](P& p, auto v) { p.window = v; },
                          [&](const P& d) {
                            over(d, grid_.slots, [](P& p, auto v) { p.slots = v; }, [&](const P& e) { add(e); });
                          });
                    });
              });
        });
  }

  void add(BenchmarkPoint point) {
    if (point.task == BenchmarkTask::generate) point.tokens = grid_.tokens;
    point = canonical(point);
    if (std::ranges::find(group_, point) != group_.end()) return;
    try {
      model_of(point);
      group_.push_back(point);
    } catch (const UserError& error) {
      auto text = formatted("{}: {}", describe(point), error.what());
      if (std::ranges::find(plan_.left_out, text) == plan_.left_out.end()) plan_.left_out.push_back(std::move(text));
    }
  }

  const BenchmarkGrid& grid_;
  const PlanOptions& options_;
  BenchmarkPlan plan_;
  std::vector<BenchmarkPoint> group_;
};

}  // namespace

std::size_t BenchmarkPlan::points() const {
  return std::accumulate(groups.begin(), groups.end(), std::size_t{0},
                         [](std::size_t sum, const auto& group) { return sum + group.size(); });
}

BenchmarkPlan plan_grid(const BenchmarkGrid& grid, const PlanOptions& options) {
  return GridPlan(grid, options).make();
}

}  // namespace linformer
