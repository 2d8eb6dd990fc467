#include "linformer/report/document.hpp"

#include <algorithm>

#include "folders.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

bool remarks_on(const json& document, std::string_view path, std::string_view text) {
  return std::ranges::any_of(document["remarks"], [&](const json& remark) {
    return remark["path"].get<std::string>().find(path) != std::string::npos &&
           remark["text"].get<std::string>().find(text) != std::string::npos;
  });
}

using Report = Folders;

TEST_F(Report, ReadsARun) {
  const auto document = read_report({run("one", 7)}, {});
  ASSERT_EQ(document["runs"].size(), 1u);
  const auto& read = document["runs"][0];
  EXPECT_EQ(read["name"], "one");
  EXPECT_EQ(read["tokens_per_step"], 3 * 2 * 24);
  EXPECT_EQ(read["finished"], true);
  EXPECT_EQ(read["curve"]["step"].size(), 7u);
  EXPECT_EQ(read["curve"]["seconds"][6], 7 * 144 / 72);
  EXPECT_EQ(read["evaluations"]["step"], json({5}));
  EXPECT_DOUBLE_EQ(read["summary"]["best_bits_per_byte"].get<double>(), 2.2);
  EXPECT_TRUE(document["remarks"].empty()) << document["remarks"].dump();
}

TEST_F(Report, CommandNamesWhatDiffersFromTheDefaults) {
  const auto document = read_report({run("one", 5)}, {});
  const auto command = document["runs"][0]["command"].get<std::string>();
  EXPECT_NE(command.find("--data 'text of mine'"), std::string::npos) << command;
  EXPECT_NE(command.find("--seed 9"), std::string::npos) << command;
  EXPECT_NE(command.find("--attention.kind softmax"), std::string::npos) << command;
  EXPECT_NE(command.find("--train.steps 7"), std::string::npos) << command;
  EXPECT_EQ(command.find("--train.clip"), std::string::npos) << command;
}

TEST_F(Report, CountsParametersOfTheWeights) {
  const auto folder = run("one", 2);
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[3,5],"data_offsets":[0,60]},"b":{"dtype":"F32","shape":[7],"data_offsets":[60,88]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  write("one/model.safetensors", file + header);
  EXPECT_EQ(read_report({folder}, {})["runs"][0]["parameters"], 22);
}

TEST_F(Report, CutAndDamagedLinesAreRemarkedOnAndTheRestIsRead) {
  const auto folder = run("one", 6);
  std::ofstream(folder / "metrics.jsonl", std::ios::app) << "damage\n{\"step\":7,\"loss\":1.5}\n{\"step\":8,\"lo";
  const auto document = read_report({folder}, {});
  EXPECT_EQ(document["runs"][0]["summary"]["step"], 7);
  EXPECT_TRUE(remarks_on(document, "metrics.jsonl", "last line is cut"));
  EXPECT_TRUE(remarks_on(document, "metrics.jsonl", "1 damaged or unknown line left out, the first at line 7"));
}

TEST_F(Report, EachUnusableFolderIsARemark) {
  write("empty_run/config.json", "{}");
  write("empty_run/metrics.jsonl", "");
  write("checkpoint/config.json", "{}");
  write("other/readme", "");
  const auto document = read_report(
      {root / "absent", root / "empty_run", root / "checkpoint", root / "other", root / "other/readme", run("good", 3)},
      {});
  EXPECT_EQ(document["runs"].size(), 1u);
  EXPECT_TRUE(remarks_on(document, "absent", "no such folder"));
  EXPECT_TRUE(remarks_on(document, "empty_run", "no step is recorded"));
  EXPECT_TRUE(remarks_on(document, "checkpoint", "without metrics.jsonl"));
  EXPECT_TRUE(remarks_on(document, "other", "holds no run"));
  EXPECT_TRUE(remarks_on(document, "readme", "is a file"));
}

TEST_F(Report, RunsOfOtherVersionsAndDamagedConfigsAreStillDrawn) {
  const auto newer = run("newer", 3), damaged = run("damaged", 3);
  write("newer/config.json", R"({"format_version":7,"model":{"length":24},"novel":{"x":[]},"train":{"batch":"many"}})");
  write("damaged/config.json", R"({"format_ver)");
  const auto document = read_report({newer, damaged}, {});
  EXPECT_EQ(document["runs"].size(), 2u);
  EXPECT_TRUE(remarks_on(document, "newer", "format version 7"));
  EXPECT_TRUE(remarks_on(document, "damaged", "not valid JSON"));
}

TEST_F(Report, NonFiniteLossesAreLeftOutAndRemarkedOn) {
  const auto folder = run("one", 3);
  std::ofstream(folder / "metrics.jsonl", std::ios::app) << "{\"step\":4,\"loss\":null}\n";
  const auto document = read_report({folder}, {});
  EXPECT_TRUE(document["runs"][0]["curve"]["loss"][3].is_null());
  EXPECT_TRUE(remarks_on(document, "one", "1 steps have no finite loss"));
}

TEST_F(Report, FindsFoldersBelowAndNamesThemApart) {
  run("a/linformer", 3);
  run("b/linformer", 3);
  run("b/softmax", 3);
  const auto document = read_report({root, root / "a"}, {});
  ASSERT_EQ(document["runs"].size(), 3u);
  EXPECT_EQ(document["runs"][0]["name"], "a/linformer");
  EXPECT_EQ(document["runs"][1]["name"], "b/linformer");
  EXPECT_EQ(document["runs"][2]["name"], "softmax");
}

TEST_F(Report, ManyRunsShareTheirPoints) {
  std::vector<std::filesystem::path> folders;
  for (int i = 0; i < 101; ++i) folders.push_back(run("r" + std::to_string(i), 900));
  const auto document = read_report(folders, {});
  EXPECT_LE(document["runs"][0]["curve"]["step"].size(), 60'000u / 101);
  EXPECT_GT(document["runs"][0]["curve"]["step"].size(), 400u);
}

TEST_F(Report, BenchmarkKeepsTheLatestOfEachPoint) {
  write("b/benchmark.jsonl", R"({"type":"machine","processor":"P"}
{"type":"point","task":"train","form":"running","length":64,"seconds":2.0,"status":"ok"}
{"type":"point","task":"train","form":"running","length":64,"seconds":3.123456789,"status":"ok"}
{"type":"point","task":"train","form":"running","length":128,"status":"memory"}
{"type":"point","task":"train","form":"running","length":64,"fields":"model.norm=rms","seconds":1.5,"status":"ok"}
{"type":"crossover","task":"train","form":"running","time_length":1024}
{"type":"novelty"}
{"type":"crossover","task":"train","form":"running","time_length":192}
)");
  const auto document = read_report({root / "b"}, {});
  const auto& crossovers = document["benchmarks"][0]["crossovers"];
  ASSERT_EQ(crossovers.size(), 1u);
  EXPECT_EQ(crossovers[0]["time_length"], 192);
  const auto& points = document["benchmarks"][0]["points"];
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0]["seconds"], 3.12346);
  EXPECT_EQ(points[2]["fields"], "model.norm=rms");
  EXPECT_TRUE(remarks_on(document, "benchmark.jsonl", "type 'novelty'"));
}

TEST_F(Report, AblationBringsItsRowsAndTheCurvesOfItsRuns) {
  write("a/ablation.json", R"({"type":"ablation","name":"kinds","title":"Kinds","base":"p"})");
  write(
      "a/table.jsonl",
      R"({"type":"ablation-row","point":"p","seeds":[{"seed":3}],"validation_loss":{"mean":1.5,"low":1.4,"high":1.6}})"
      "\n");
  run("a/p/seed-3", 20);
  const auto document = read_report({root / "a"}, {});
  EXPECT_TRUE(document["runs"].empty());
  const auto& ablation = document["ablations"][0];
  EXPECT_EQ(ablation["title"], "Kinds");
  EXPECT_EQ(ablation["rows"][0]["validation_loss"]["mean"], 1.5);
  ASSERT_EQ(ablation["curves"].size(), 1u);
  EXPECT_EQ(ablation["curves"][0]["step"], json({5, 10, 15, 20}));
}

TEST_F(Report, NothingUsableIsEmpty) {
  EXPECT_TRUE(is_empty_report(read_report({root}, {})));
  EXPECT_FALSE(is_empty_report(read_report({run("one", 1)}, {})));
}

TEST_F(Report, EvaluationsOfTheSameModelTextAndLengthCountOnce) {
  write("e/evaluate.jsonl", R"({"type":"evaluation","model":"a","data":"t","length":64,"loss":3.0}
{"type":"evaluation","model":"a","data":"t","length":64,"loss":2.123456789}
{"type":"evaluation","model":"a","data":"t","length":128,"loss":2.5}
{"type":"evaluation","model":"b","data":"t","length":64,"loss":2.25}
{"type":"evaluation","model":"b","data":"t","length":64,"loss":2.25,"loss_by_position":[{"from":0,"to":63,"loss":2.25}]}
{"type":"novelty"}
{"type":"evalu
)");
  write("none/evaluate.jsonl", "");
  const auto document = read_report({root / "e", root / "none"}, {});
  ASSERT_EQ(document["evaluations"].size(), 1u);
  const auto& lines = document["evaluations"][0]["lines"];
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["loss"], 2.12346);
  EXPECT_EQ(lines[1]["length"], 128);
  EXPECT_FALSE(lines[2].contains("loss_by_position"));
  EXPECT_EQ(lines[3]["loss_by_position"][0]["to"], 63);
  EXPECT_TRUE(remarks_on(document, "evaluate.jsonl", "type 'novelty'"));
  EXPECT_TRUE(remarks_on(document, "evaluate.jsonl", "damaged"));
  EXPECT_TRUE(remarks_on(document, "none", "nothing is evaluated yet"));
  EXPECT_FALSE(is_empty_report(document));
}

}  // namespace
}  // namespace linformer
