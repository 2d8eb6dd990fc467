// The presets' points. Letters: N length, K slots, W window, B batch, d width.
#include <algorithm>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer {
namespace {

using Points = std::vector<BenchmarkPoint>;
using Sizes = std::vector<std::int64_t>;

BenchmarkPoint with_form(BenchmarkPoint point, BenchmarkForm form, std::int64_t slots = 0) {
  point.form = form, point.slots = slots;
  return canonical(point);
}

// 1000 tokens at the longest context that N allows, streamed; and read again for each token, as the paper's form has
// to.
Points inference_group(std::int64_t length, std::int64_t batch, bool quick) {
  BenchmarkPoint base{.task = BenchmarkTask::generate,
                      .length = length,
                      .batch = batch,
                      .width = 512,
                      .layers = 6,
                      .heads = 8,
                      .vocabulary = 50257,
                      .tokens = 1000};
  if (quick) base.width = 128, base.layers = 2, base.heads = 2, base.vocabulary = 1024, base.tokens = 100;
  Points group{with_form(base, BenchmarkForm::softmax)};
  const Sizes slots = quick ? Sizes{32, 64} : Sizes{32, 64, 128, 256};
  for (const auto k : slots) group.push_back(with_form(base, BenchmarkForm::running, k));
  base.decode = BenchmarkDecode::reread;
  group.push_back(with_form(base, BenchmarkForm::softmax));
  for (const auto k : slots) group.push_back(with_form(base, BenchmarkForm::bidirectional, k));
  return group;
}

BenchmarkPlan seed_inference(bool quick) {
  return {.groups = {inference_group(quick ? 512 : 4096, 1, quick),
                     inference_group(quick ? 128 : 256, quick ? 4 : 16, quick)}};
}

// configs/seed.toml; a test holds the two together.
BenchmarkPoint seed_point(bool quick) {
  BenchmarkPoint point{.task = BenchmarkTask::train, .batch = 16, .layers = 6, .vocabulary = 50257, .dropout = 0.1};
  if (quick)
    point.length = 128, point.batch = 4, point.width = 96, point.layers = 2, point.heads = 2, point.vocabulary = 512,
    point.slots = 16, point.window = 16;
  return point;
}

BenchmarkPlan seed_training(bool quick) {
  const auto point = seed_point(quick);
  return {.groups = {{with_form(point, BenchmarkForm::softmax), canonical(point)}}};
}

BenchmarkPlan seed_memory(bool quick) {
  auto point = seed_point(quick);
  point.batch = 1, point.dropout = 0;
  BenchmarkPlan plan{.default_budget_gib = quick ? 0.25 : 4.0};
  for (const auto form : {BenchmarkForm::softmax, BenchmarkForm::running}) {
    auto start = with_form(point, form, form == BenchmarkForm::softmax ? 0 : point.slots);
    plan.searches.push_back(
        {.what = "length", .start = start, .step = quick ? 128 : 512, .most = quick ? 16384 : 131072});
    if (form == BenchmarkForm::running) {
      auto chunked = start;
      chunked.fields = "attention.projection=periodic+model.position=rotary+train.chunk=4096";
      plan.searches.push_back(
          {.what = "length", .start = canonical(chunked), .step = quick ? 128 : 4096, .most = quick ? 16384 : 1 << 20});
    }
    start.width = 64, start.heads = 1;
    plan.searches.push_back({.what = "width", .start = start, .step = 64, .most = quick ? 2048 : 8192});
  }
  return plan;
}

BenchmarkPoint paper_encoder(bool quick) {
  // The paper's encoder has 12 such layers; one has the same ratios, since inference keeps nothing from layer to layer.
  BenchmarkPoint point{.form = BenchmarkForm::bidirectional, .width = 768, .layers = 1, .heads = 12};
  if (quick) point.width = 128, point.heads = 2;
  return point;
}

BenchmarkPlan paper_table3(bool quick) {
  BenchmarkPlan plan;
  for (const auto length :
       quick ? Sizes{256, 512, 1024, 2048} : Sizes{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}) {
    auto point = paper_encoder(quick);
    point.length = length, point.batch = std::max<std::int64_t>((quick ? 1024 : 8192) / length, 1);
    Points group{with_form(point, BenchmarkForm::bidirectional_softmax),
                 with_form(point, BenchmarkForm::bidirectional_softmax_plain)};
    for (const auto k : quick ? Sizes{64, 128, 256} : Sizes{128, 256, 512, 1024, 2048}) {
      if (k < length) group.push_back(with_form(point, BenchmarkForm::bidirectional, k));
    }
    plan.groups.push_back(group);
  }
  return plan;
}

BenchmarkPlan paper_figure2(bool quick) {
  BenchmarkPlan plan;
  const std::int64_t tokens = quick ? 4096 : 65536;
  for (auto length = quick ? std::int64_t{256} : std::int64_t{512}; length <= tokens; length *= 2) {
    auto point = paper_encoder(quick);
    point.length = length, point.batch = tokens / length;
    Points group{with_form(point, BenchmarkForm::bidirectional_softmax)};
    for (const auto k : quick ? Sizes{64, 128} : Sizes{128, 256, 512})
      group.push_back(with_form(point, BenchmarkForm::bidirectional, k));
    plan.groups.push_back(group);
  }
  return plan;
}

// The fewest slots from K on that are a whole number a block: K·W a multiple of N.
std::int64_t block_slots(std::int64_t slots, std::int64_t window, std::int64_t length) {
  while (slots * window % length != 0) ++slots;
  return slots;
}

BenchmarkPlan crossover(bool quick) {
  BenchmarkPlan plan;
  const Sizes lengths = quick ? Sizes{128, 256, 512, 1024} : Sizes{128,  192,  256,  384,  512,  768,   1024, 1536,
                                                                   2048, 3072, 4096, 6144, 8192, 12288, 16384};
  for (const auto task : {BenchmarkTask::forward, BenchmarkTask::train, BenchmarkTask::generate}) {
    for (const auto length : lengths) {
      BenchmarkPoint point{.task = task, .length = length, .tokens = 64};
      if (quick) point.width = 128, point.layers = 1, point.heads = 2, point.slots = 32, point.window = 32;
      const auto k = point.slots;
      Points group{with_form(point, BenchmarkForm::softmax), with_form(point, BenchmarkForm::prefix, k),
                   with_form(point, BenchmarkForm::running, k),
                   with_form(point, BenchmarkForm::block, block_slots(k, point.window, length))};
      if (task != BenchmarkTask::generate) {
        group.push_back(with_form(point, BenchmarkForm::bidirectional_softmax));
        group.push_back(with_form(point, BenchmarkForm::bidirectional, k));
      }
      plan.groups.push_back(group);
    }
  }
  return plan;
}

struct Preset {
  std::string name;
  BenchmarkPlan (*make)(bool quick);
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all{{"seed-inference", seed_inference}, {"seed-training", seed_training},
                                       {"seed-memory", seed_memory},       {"paper-table3", paper_table3},
                                       {"paper-figure2", paper_figure2},   {"crossover", crossover}};
  return all;
}

void finish(BenchmarkPlan& plan, const std::string& name, const PlanOptions& options) {
  plan.preset = name;
  const auto label = [&](BenchmarkPoint& point) { point.preset = name, point.threads = options.threads; };
  const auto too_long = [&](const BenchmarkPoint& point) {
    return options.max_length > 0 && point.length > options.max_length;
  };
  for (auto& group : plan.groups) {
    std::erase_if(group, too_long);
    std::ranges::for_each(group, label);
  }
  std::erase_if(plan.groups, [](const auto& group) { return group.empty(); });
  std::erase_if(plan.searches, [&](const auto& search) { return too_long(search.start); });
  for (auto& search : plan.searches) {
    label(search.start);
    if (search.what == "length" && options.max_length > 0) search.most = std::min(search.most, options.max_length);
  }
  require(!plan.groups.empty() || !plan.searches.empty(), "--max-length {} leaves no point of {}; use a larger one",
          options.max_length, name);
}

}  // namespace

std::vector<std::string> benchmark_presets() {
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.push_back(preset.name);
  return names;
}

BenchmarkPlan plan_preset(const std::string& name, const PlanOptions& options) {
  for (const auto& preset : presets()) {
    if (preset.name != name) continue;
    auto plan = preset.make(options.quick);
    finish(plan, name, options);
    return plan;
  }
  fail("preset '{}': expected one of {}", excerpt(name), joined(benchmark_presets(), ", "));
}

}  // namespace linformer
