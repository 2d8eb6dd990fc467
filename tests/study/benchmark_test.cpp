#include "linformer/study/benchmark.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "core/support.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/language_model.hpp"
#include "study/benchmark_log.hpp"
#include "study/benchmark_session.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using Form = BenchmarkForm;
using Task = BenchmarkTask;

BenchmarkPoint tiny(Task task, Form form) {
  BenchmarkPoint point{.task = task,
                       .form = form,
                       .length = 21,
                       .slots = 7,
                       .window = 5,
                       .batch = 2,
                       .width = 12,
                       .layers = 2,
                       .heads = 2,
                       .vocabulary = 31};
  if (task == Task::generate) point.tokens = 15;
  if (form == Form::block) point.length = 20, point.slots = 8;
  return canonical(point);
}

const std::vector<Form> kForms{Form::softmax,
                               Form::softmax_plain,
                               Form::bidirectional_softmax,
                               Form::bidirectional_softmax_plain,
                               Form::bidirectional,
                               Form::prefix,
                               Form::running,
                               Form::block};

TEST(BenchmarkPoint, ReturnsFromJsonAsItWas) {
  for (const auto task : {Task::forward, Task::train, Task::generate}) {
    for (const auto form : kForms) {
      auto point = tiny(task, form);
      point.preset = "crossover", point.threads = 3;
      if (task == Task::train) point.dropout = 0.25;
      point.fields = "model.key_value_heads=1+model.norm=rms";
      EXPECT_EQ(point_of(to_json(point)), point) << describe(point);
    }
  }
}

TEST(BenchmarkPoint, IsTheSameWhateverUnusedFieldsHold) {
  auto point = tiny(Task::forward, Form::softmax), other = point;
  other.fields = "attention.normalise=none", other.slots = 3, other.window = 9, other.sharing = Sharing::none,
  other.tokens = 4;
  EXPECT_EQ(canonical(other), canonical(point));
  other.length = 22;
  EXPECT_NE(canonical(other), canonical(point));
}

// Written out by maths 7, for d = 10, N = 100, K = 7, W = 4, one layer, one sequence.
TEST(BenchmarkWork, FollowsTheMaths) {
  BenchmarkPoint point{
      .length = 100, .slots = 7, .window = 4, .batch = 1, .width = 10, .layers = 1, .heads = 2, .vocabulary = 11};
  const auto of = [&](Form form) {
    point.form = form;
    return multiply_adds(point) / 100;
  };
  EXPECT_DOUBLE_EQ(of(Form::softmax), 12 * 100 + 100 * 10);
  EXPECT_DOUBLE_EQ(of(Form::bidirectional_softmax), 12 * 100 + 2 * 100 * 10);
  EXPECT_DOUBLE_EQ(of(Form::bidirectional), 10 * 100 + 4 * 7 * 10);
  EXPECT_DOUBLE_EQ(of(Form::running), 12 * 100 + 2 * 7 * 10 + 2 * 10 * (7 + 6));
  EXPECT_DOUBLE_EQ(of(Form::prefix), 12 * 100 + 4 * 7 * 10 + 64 * (7 * 2 + 10));
  point.task = Task::train;
  EXPECT_DOUBLE_EQ(of(Form::softmax), 3 * (12 * 100 + 100 * 10 + 11 * 10));
  // 60 tokens after a prompt of 50: the context goes from 50 to 100.
  point.task = Task::generate, point.tokens = 60, point.form = Form::softmax;
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 60, 12 * 100 + 2 * 10 * 75 + 11 * 10);
}

TEST(BenchmarkWork, OfAHybridIsThatOfItsLayers) {
  BenchmarkPoint point{
      .length = 100, .slots = 7, .window = 4, .batch = 1, .width = 10, .layers = 3, .heads = 2, .vocabulary = 11};
  point.fields = "attention.softmax_layers=0,2";
  const double softmax = 12 * 100 + 100 * 10, running = 12 * 100 + 2 * 7 * 10 + 2 * 10 * (7 + 6);
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, 2 * softmax + running);
  point.fields = "attention.softmax_layers=0,2+attention.sinks=3";
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, 2 * softmax + running + 2 * 10 * 3);
  point.fields = "attention.softmax_layers=0,2";
  point.task = Task::generate, point.tokens = 60;
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 60, 2 * (12 * 100 + 2 * 10 * 75) + running + 11 * 10);
}

// What the text says of its slots is a product more: of the input, or of the keys.
TEST(BenchmarkWork, OfRulesThatReadTheText) {
  BenchmarkPoint point{
      .length = 100, .slots = 7, .window = 4, .batch = 1, .width = 12, .layers = 1, .heads = 4, .vocabulary = 11};
  const double grouped = 10 * 144 + 2 * 12 * 6 + 2 * 7 * 6 + 2 * 12 * (7 + 6);  // two heads of keys: 6 numbers
  point.fields = "model.key_value_heads=2+attention.projection=periodic+attention.period=8";
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, grouped);
  point.fields = "model.key_value_heads=2+attention.projection=gated";
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, grouped + 2 * 7 * 12);
  point.fields = "model.key_value_heads=2+attention.projection=cluster";
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, grouped + 7 * 6);
}

TEST(BenchmarkWork, CountsTheMatricesThatThereAre) {
  BenchmarkPoint point{.form = Form::softmax,
                       .length = 100,
                       .batch = 1,
                       .width = 12,
                       .layers = 1,
                       .heads = 4,
                       .vocabulary = 11,
                       .fields = "model.feed_forward_kind=swiglu+model.feed_forward=20+model.key_value_heads=2"};
  EXPECT_DOUBLE_EQ(multiply_adds(point) / 100, 2 * 144 + 2 * 12 * 6 + 3 * 12 * 20 + 100 * 12);
}

TEST(BenchmarkPoint, FieldsSetTheModelAndNoMore) {
  auto point = tiny(Task::forward, Form::running);
  point.fields = "model.norm=rms+model.position=rotary+attention.normalise=both";
  const auto config = model_of(point);
  EXPECT_EQ(config.norm, NormKind::rms);
  EXPECT_EQ(config.position, Position::rotary);
  EXPECT_EQ(config.normalise(), Normalise::both);
  const auto message = [&](const char* fields) {
    point.fields = fields;
    return test::message_of([&] { model_of(point); });
  };
  EXPECT_TRUE(message("model.width=24").find("a flag of its own for model.width") != std::string::npos);
  EXPECT_TRUE(message("model.nrom=rms").find("model.nrom=rms: expected the name of a field") != std::string::npos);
  EXPECT_TRUE(message("rms").find("such as model.norm=rms") != std::string::npos);
  EXPECT_TRUE(message("model.norm=rms+model.norm=layer").find("set twice") != std::string::npos);
  EXPECT_TRUE(message("model.norm=rms+").find("rms+") != std::string::npos);
  point.fields = "model.rotary_base=1e+4+model.position=rotary";
  EXPECT_EQ(model_of(point).base(), 1e4);
  EXPECT_EQ(canonical(point).fields, "model.position=rotary+model.rotary_base=1e+4");
  EXPECT_TRUE(message("model.norm=big").find("model.norm") != std::string::npos);
}

TEST(BenchmarkWork, WeightsAreNoMoreThanThoseOfTheModel) {
  for (const auto form : kForms) {
    const auto point = tiny(Task::forward, form);
    const auto bytes = 4.0 * static_cast<double>(LanguageModel(model_of(point), 5).parameter_count());
    EXPECT_LE(parameter_bytes(point), bytes) << describe(point);
    EXPECT_GT(parameter_bytes(point), bytes / 3) << describe(point);
    EXPECT_EQ(parameter_bytes(tiny(Task::train, form)), 4 * parameter_bytes(point));
  }
}

TEST(BenchmarkPoint, RefusesWhatCannotBeMeasured) {
  const auto message = [](BenchmarkPoint point) { return test::message_of([&] { model_of(point); }); };
  EXPECT_TRUE(message(tiny(Task::generate, Form::bidirectional)).find("reread") != std::string::npos);
  EXPECT_TRUE(message(tiny(Task::generate, Form::softmax_plain)).find("softmax-plain") != std::string::npos);
  auto point = tiny(Task::forward, Form::running);
  point.dtype = "int8";
  EXPECT_TRUE(message(point).find("int8") != std::string::npos);
  point = tiny(Task::forward, Form::running), point.window = 0;
  EXPECT_TRUE(message(point).find("window") != std::string::npos);
}

TEST(BenchmarkGrid, HasEveryCombinationOnce) {
  BenchmarkGrid grid;
  grid.forms = {Form::softmax, Form::running, Form::bidirectional}, grid.lengths = {64, 128}, grid.slots = {8, 100},
  grid.windows = {16, 32}, grid.widths = {32};
  const auto plan = plan_grid(grid, {});
  ASSERT_EQ(plan.groups.size(), 2u);
  EXPECT_EQ(plan.groups[0].size(), 1u + 2u + 1u);  // N 64 has no 100 slots
  EXPECT_EQ(plan.groups[1].size(), 1u + 4u + 2u);
  EXPECT_EQ(plan.left_out.size(), 2u + 1u);
  EXPECT_EQ(plan_grid(grid, {.max_length = 64}).points(), 4u);
  grid.lengths = {64}, grid.slots = {100}, grid.forms = {Form::running};
  EXPECT_TRUE(test::message_of([&] { plan_grid(grid, {}); }).find("100 slots") != std::string::npos);
}

TEST(BenchmarkGrid, FieldsAreComparedWithEachOther) {
  BenchmarkGrid grid;
  grid.forms = {Form::softmax, Form::running}, grid.lengths = {64}, grid.slots = {8}, grid.windows = {16},
  grid.widths = {32}, grid.fields = {"", "model.norm=rms", "attention.normalise=none", "model.key_value_heads=5"};
  const auto plan = plan_grid(grid, {});
  ASSERT_EQ(plan.groups.size(), 1u);
  EXPECT_EQ(plan.groups[0].size(), 2u + 3u);  // standard attention has no use for attention.normalise
  EXPECT_EQ(plan.left_out.size(), 2u);
  grid.fields = {"", "model.position=nowhere"};
  EXPECT_TRUE(test::message_of([&] { plan_grid(grid, {}); }).find("nowhere") != std::string::npos);
}

TEST(BenchmarkPresets, AllPointsAreModels) {
  for (const auto& name : benchmark_presets()) {
    for (const bool quick : {false, true}) {
      const auto plan = plan_preset(name, {.threads = 2, .quick = quick});
      std::set<std::string> seen;
      for (const auto& group : plan.groups) {
        for (const auto& point : group) {
          EXPECT_NO_THROW(model_of(point)) << describe(point);
          EXPECT_EQ(point.preset, name);
          EXPECT_EQ(point.threads, 2);
          EXPECT_TRUE(seen.insert(to_json(point).dump()).second) << describe(point);
        }
      }
      for (const auto& search : plan.searches) EXPECT_NO_THROW(model_of(search.start));
      EXPECT_GT(plan.points() + plan.searches.size(), 0u);
    }
  }
  EXPECT_TRUE(test::message_of([] { plan_preset("paper-table4", {}); }).find("paper-table3") != std::string::npos);
}

TEST(BenchmarkPresets, HaveThePaperSizes) {
  const auto table = plan_preset("paper-table3", {});
  ASSERT_EQ(table.groups.size(), 8u);
  std::size_t linformers = 0;
  for (const auto& group : table.groups) {
    for (const auto& point : group) linformers += point.form == Form::bidirectional;
    EXPECT_EQ(group[0].form, Form::bidirectional_softmax);
    EXPECT_EQ(group[1].form, Form::bidirectional_softmax_plain);
    for (const auto& point : group) EXPECT_EQ(point.batch, group[0].batch);
  }
  EXPECT_EQ(linformers, 2u + 3 + 4 + 5 * 5);
  EXPECT_EQ(plan_preset("paper-table3", {.max_length = 2048}).groups.size(), 3u);
  for (const auto& group : plan_preset("paper-figure2", {}).groups) {
    for (const auto& point : group) EXPECT_EQ(point.length * point.batch, 65536);
  }
}

TEST(BenchmarkPresets, SeedIsTheSeedConfig) {
  ModelConfig model;
  TrainConfig train;
  auto fields = fields_of(model);
  for (auto& field : fields_of(train)) fields.push_back(field);
  const auto file = test::source_path("configs/seed.toml");
  from_json(fields, read_toml(file), file);
  const auto group = plan_preset("seed-training", {}).groups.at(0);
  ASSERT_EQ(group.size(), 2u);
  EXPECT_EQ(model_of(group[1]), resolved(model));
  model.attention.kind = AttentionKind::softmax;
  EXPECT_EQ(model_of(group[0]).width, model.width);
  for (const auto& point : group) EXPECT_EQ(point.batch, train.batch);
}

// A child in this process: requests in, answers out.
std::vector<json> served(const std::vector<json>& requests) {
  std::string text;
  for (const auto& request : requests) text += request.dump() + '\n';
  std::istringstream in(text);
  std::ostringstream out;
  serve_point(in, out);
  std::vector<json> answers;
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) answers.push_back(json::parse(line));
  return answers;
}

json build(const BenchmarkPoint& point) {
  return {{"do", "build"},
          {"threads", at::get_num_threads()},
          {"limit_bytes", std::int64_t{1} << 40},
          {"point", to_json(point)}};
}

TEST(ServePoint, MeasuresEveryTaskAndForm) {
  for (const auto task : {Task::forward, Task::train, Task::generate}) {
    for (const auto form : kForms) {
      auto point = tiny(task, form);
      if (task == Task::generate && (is_plain(form) || !is_causal(form))) point.decode = BenchmarkDecode::reread;
      if (task == Task::generate && is_plain(form)) continue;
      const auto answers = served({build(point), {{"do", "round"}}});
      ASSERT_EQ(answers.size(), 2u);
      EXPECT_EQ(answers[0].at("status"), "ok") << describe(point) << answers[0].dump();
      EXPECT_GT(answers[0].at("allocator_base_bytes").get<double>(), 0);
      EXPECT_GT(answers[0].at("allocator_peak_bytes").get<double>(),
                answers[0].at("allocator_base_bytes").get<double>());
      EXPECT_GT(answers[1].at("seconds").get<double>(), 0) << describe(point);
    }
  }
}

TEST(ServePoint, CountsTheTensorsOfPlainAttention) {
  auto point = tiny(Task::forward, Form::bidirectional_softmax_plain);
  point.length = 301, point.batch = 1, point.layers = 1;
  const auto answer = served({build(point)}).at(0);
  const auto run = answer.at("allocator_peak_bytes").get<double>() - answer.at("allocator_base_bytes").get<double>();
  const auto logits = 4.0 * 2 * 301 * 301;  // logits and weights: twice these bytes
  EXPECT_GT(run, 2 * logits);
  EXPECT_LT(run, 3 * logits);
}

TEST(ServePoint, SaysWhatIsWrong) {
  auto point = tiny(Task::forward, Form::running);
  point.heads = 5;
  const auto answers = served({{{"do", "round"}}, build(point)});
  EXPECT_EQ(answers.at(0).at("status"), "failed");
  EXPECT_EQ(answers.at(1).at("status"), "failed");
  EXPECT_NE(answers.at(1).at("reason").get<std::string>().find("heads"), std::string::npos);
}

class BenchmarkLogTest : public ::testing::Test {
 protected:
  test::TemporaryFolder folder_;
  fs::path file() const { return folder_.path() / "benchmark.jsonl"; }
  static json line(const BenchmarkPoint& point, const char* status, double seconds) {
    auto object = to_json(point);
    object["status"] = status, object["seconds"] = seconds;
    return object;
  }
};

TEST_F(BenchmarkLogTest, NewestLineOfAPointCounts) {
  const auto point = tiny(Task::forward, Form::running);
  BenchmarkLog log(folder_.path(), false);
  EXPECT_FALSE(log.find(point));
  log.append(line(point, "failed", 1));
  log.append(line(point, "ok", 2));
  log.append(line(tiny(Task::forward, Form::softmax), "ok", 3));
  EXPECT_EQ(log.find(point)->at("seconds"), 2);
}

TEST_F(BenchmarkLogTest, MendsACutLine) {
  const auto point = tiny(Task::forward, Form::running), other = tiny(Task::forward, Form::softmax);
  {
    BenchmarkLog log(folder_.path(), false);
    log.append(line(point, "ok", 1));
    log.append(line(other, "ok", 2));
  }
  const auto whole = read_file(file());
  fs::resize_file(file(), whole.size() - 7);
  {
    BenchmarkLog log(folder_.path(), false);
    ASSERT_EQ(log.remarks().size(), 1u);
    EXPECT_TRUE(log.find(point));
    EXPECT_FALSE(log.find(other));
    log.append(line(other, "ok", 2));
  }
  EXPECT_EQ(read_file(file()), whole);
  BenchmarkLog log(folder_.path(), true);
  EXPECT_TRUE(log.lines().empty());
}

TEST_F(BenchmarkLogTest, PassesOverForeignLinesAndRefusesASecondWriter) {
  std::ofstream(file()) << "no json\n"
                        << R"({"type":"point","of":"another version"})" << "\n"
                        << line(tiny(Task::train, Form::block), "ok", 1).dump() << "\n";
  BenchmarkLog log(folder_.path(), false);
  EXPECT_EQ(log.remarks().size(), 1u);
  EXPECT_TRUE(log.find(tiny(Task::train, Form::block)));
  EXPECT_NE(test::message_of([&] { BenchmarkLog(folder_.path(), false); }).find("is being written by process"),
            std::string::npos);
}

TEST_F(BenchmarkLogTest, PassesOverValuesOfOtherTypes) {
  auto status = line(tiny(Task::train, Form::block), "ok", 1),
       budget = line(tiny(Task::train, Form::running), "memory", 1);
  status["status"] = 7, budget["budget_bytes"] = "x";
  std::ofstream(file()) << status.dump() << "\n"
                        << budget.dump() << "\n"
                        << R"({"type":1})" << "\n"
                        << line(tiny(Task::train, Form::prefix), "ok", 1).dump() << "\n";
  BenchmarkLog log(folder_.path(), false);
  EXPECT_EQ(log.lines().size(), 1u);
  ASSERT_EQ(log.remarks().size(), 3u);
  EXPECT_NE(log.remarks()[1].find("line 2"), std::string::npos);
}

TEST(BenchmarkSettled, MemoryCountsForItsBudgetOnly) {
  EXPECT_TRUE(is_settled({{"status", "ok"}}, 5));
  EXPECT_FALSE(is_settled({{"status", "failed"}}, 5));
  EXPECT_TRUE(is_settled({{"status", "memory"}, {"budget_bytes", 5}}, 5));
  EXPECT_FALSE(is_settled({{"status", "memory"}, {"budget_bytes", 4}}, 5));
}

TEST(BenchmarkSettled, ASmallerBudgetAsksWhatWasTaken) {
  const json line = {{"status", "ok"}, {"budget_bytes", 8}, {"resident_peak_bytes", 7}};
  EXPECT_FALSE(is_settled(line, 5));
  EXPECT_TRUE(is_settled(line, 7));
  // The limit isn't on resident memory, which may be a little more: measured again it would be no less.
  EXPECT_TRUE(is_settled({{"status", "ok"}, {"budget_bytes", 5}, {"resident_peak_bytes", 6}}, 5));
}

json measured(Task task, Form form, std::int64_t length, double seconds, double bytes) {
  auto point = tiny(task, form);
  point.length = length;
  auto line = to_json(point);
  line["status"] = "ok", line["seconds"] = seconds, line["resident_peak_bytes"] = bytes;
  line["allocator_base_bytes"] = 100, line["allocator_peak_bytes"] = bytes;
  return line;
}

TEST(BenchmarkSummary, CrossoverIsWhereAFormStaysAhead) {
  BenchmarkPlan plan{.preset = "crossover"};
  std::vector<json> points;
  const std::vector<double> softmax{1, 2, 4, 8}, prefix{0.9, 3, 3, 3};  // ahead, behind, ahead, ahead
  for (std::size_t i = 0; i < softmax.size(); ++i) {
    const auto length = std::int64_t{100} << i;
    points.push_back(measured(Task::forward, Form::softmax, length, softmax[i], 500));
    points.push_back(measured(Task::forward, Form::prefix, length, prefix[i], i == 3 ? 400 : 600));
  }
  const auto lines = summarise_benchmark(plan, points, 1000);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("time_length"), 400);
  EXPECT_EQ(lines[0].at("memory_length"), 800);
  EXPECT_EQ(lines[0].at("longest_tried"), 800);
  points[6]["status"] = "memory", points[7]["status"] = "memory";
  EXPECT_TRUE(summarise_benchmark(plan, points, 1000)[0].at("time_length").is_null());
}

TEST(BenchmarkSummary, AFailedTransformerIsNotBehindAndRangesMayOverlap) {
  const BenchmarkPlan plan{.preset = "crossover"};
  std::vector<json> points{measured(Task::forward, Form::softmax, 100, 4, 500),
                           measured(Task::forward, Form::prefix, 100, 3, 400)};
  points[0]["low"] = 2.9, points[1]["high"] = 3.1;
  const auto crossing = [&] { return summarise_benchmark(plan, points, 1000).at(0); };
  EXPECT_EQ(crossing().at("time_length"), 100);
  EXPECT_TRUE(crossing().at("time_length_clear").is_null());
  points[0]["low"] = 3.2;
  EXPECT_EQ(crossing().at("time_length_clear"), 100);
  points[0]["status"] = "failed";
  EXPECT_TRUE(crossing().at("time_length").is_null());
  EXPECT_TRUE(crossing().at("memory_length").is_null());
  points[0]["status"] = "memory";
  EXPECT_EQ(crossing().at("memory_length"), 100);
}

TEST(BenchmarkSummary, SavingsAreRatios) {
  BenchmarkPlan plan{.preset = "paper-table3"};
  const std::vector<json> points{measured(Task::forward, Form::bidirectional_softmax, 64, 6, 900),
                                 measured(Task::forward, Form::bidirectional_softmax_plain, 64, 9, 4100),
                                 measured(Task::forward, Form::bidirectional, 64, 3, 300)};
  const auto lines = summarise_benchmark(plan, points, 8100);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("against"), "softmax");
  EXPECT_EQ(lines[0].at("time_saved"), 2);
  EXPECT_EQ(lines[0].at("batch"), 20);            // 8000 bytes left, 400 a sequence
  EXPECT_EQ(lines[0].at("linformer_batch"), 80);  // 100 a sequence
  EXPECT_EQ(lines[0].at("memory_saved"), 4);
  EXPECT_EQ(lines[1].at("time_saved"), 3);
  EXPECT_EQ(lines[1].at("batch"), 4);
}

}  // namespace
}  // namespace linformer
