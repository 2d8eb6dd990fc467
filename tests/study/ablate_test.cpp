// Grids and tables; the program itself: tests/python/test_ablate.py.
#include "linformer/study/ablate.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include "core/support.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "study/ablate_read.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::holds;
using test::message_of;

const std::string kBase = R"(
title = "Tiny"
seeds = [0, 3]
[model]
length = 24
width = 12
layers = 2
heads = 2
[attention]
window = 3
slots = 4
[train]
steps = 4
batch = 2
evaluate_every = 2
[data]
source = "recall"
pairs = 3
keys = 7
values = 5
sequences = 4
)";

class Ablate : public testing::Test {
 protected:
  Ablate() { at::set_num_threads(1); }
  fs::path grid(const std::string& points, const std::string& base = kBase) {
    return folder_.write("grid.toml", base + points);
  }
  std::string mistake(const std::string& points, const std::string& base = kBase) {
    return message_of([&] { read_grid(grid(points, base)); });
  }
  AblationResult run(const AblationGrid& grid) {
    remarks_.clear();
    return run_ablation(
        grid, {.out = folder_ / "out", .command = "test", .quiet = true, .remark = [this](const std::string& line) {
                 remarks_ += line + "\n";
               }});
  }
  // The table without what a clock decides.
  std::vector<json> learning(std::vector<json> rows) {
    for (auto& row : rows) {
      row.erase("equal_time");
      for (auto& seed : row["seeds"]) {
        for (const auto* key : {"seconds", "tokens_per_second"}) seed.erase(key);
      }
    }
    return rows;
  }
  test::TemporaryFolder folder_;
  std::string remarks_;
};

TEST_F(Ablate, GridFieldsReachThePoints) {
  folder_.write("base.toml", "[train]\nlearning_rate = 2e-3\nsteps = 9\ndtype = \"auto\"\n[generate]\ntop_k = 3\n");
  const auto grid_file =
      grid("[[point]]\nname = \"one\"\n[[point]]\nname = \"wide\"\nattention.window = 6\nmodel.width = 16\n",
           "config = \"base.toml\"\nbase = \"wide\"\n" + kBase);
  const auto found = read_grid(grid_file);
  EXPECT_EQ(found.name, "grid");
  EXPECT_EQ(found.title, "Tiny");
  EXPECT_EQ(found.base, "wide");
  EXPECT_EQ(found.seeds, (std::vector<std::uint64_t>{0, 3}));
  ASSERT_EQ(found.points.size(), 2u);
  EXPECT_EQ(found.points[0].changes, json::object());
  EXPECT_EQ(found.points[1].changes, (json{{"attention.window", 6}, {"model.width", 16}}));
  EXPECT_EQ(found.points[1].config.model.window(), 6);
  EXPECT_EQ(found.points[0].config.model.window(), 3);
  EXPECT_EQ(found.points[0].config.model.vocabulary, 12);
  EXPECT_EQ(found.points[0].config.train.learning_rate, 2e-3);
  EXPECT_EQ(found.points[0].config.train.steps, 4);
  EXPECT_EQ(found.points[0].config.train.dtype, DType::float32);
}

TEST_F(Ablate, DTypeTakesThePlaceOfTheGridsButNotOfAPointsOwn) {
  const auto found =
      read_grid(grid("[[point]]\nname = \"shared\"\n[[point]]\nname = \"own\"\ntrain.dtype = \"float32\"\n"), "",
                DType::bfloat16);
  EXPECT_EQ(found.points[0].config.train.dtype, DType::bfloat16);
  EXPECT_EQ(found.points[1].config.train.dtype, DType::float32);
}

TEST_F(Ablate, MistakesNamePointAndField) {
  const std::string good = "[[point]]\nname = \"good\"\n";
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\nattention.slotz = 3\n"),
                    {"grid.toml", "point bad", "attention.slotz", "attention.slots"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\nattention.slots = 25\n"),
                    {"point bad", "attention.slots has 25", "model.length = 24"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\ndata.pairs = 6\n"), {"point bad", "data.pairs is 6"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\nmodel.causal = false\nattention.window = 0\n"),
                    {"point bad", "model.causal is false"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\ntrain.objective = \"masked\"\n"),
                    {"point bad", "train.objective is masked"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\ntrain.dtype = \"auto\"\n"),
                    {"point bad", "train.dtype is auto"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"good\"\n"), {"point good", "two of this name"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"../up\"\n"), {"\"../up\"", "folder"}));
  EXPECT_TRUE(holds(mistake("[[point]]\nattention.slots = 3\n"), {"needs a name"}));
  EXPECT_TRUE(holds(mistake("[[point]]\nname = \"table.jsonl\"\n"), {"\"table.jsonl\"", "choose another"}));
  EXPECT_TRUE(
      holds(mistake("[[point]]\nname = \"" + std::string(201, 'x') + "\"\n"), {"has 201 characters", "at most 200"}));
  EXPECT_TRUE(holds(message_of([&] { read_grid(grid(good), "some/folder"); }), {"--data is some/folder", "recall"}));
  EXPECT_TRUE(holds(mistake(""), {"no points"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"bad\"\nfrom = \"later\"\n[[point]]\nname = \"later\"\n"),
                    {"point bad", "from is \"later\"", "before it"}));
  EXPECT_TRUE(holds(mistake("[[point]]\nname = \"bad\"\nfrom = \"bad\"\n"), {"from is \"bad\"", "before it"}));
  EXPECT_TRUE(holds(mistake(good, "base = \"other\"\n" + kBase), {"base is \"other\"", "good"}));
  EXPECT_TRUE(holds(mistake(good, "seedz = [1]\n" + kBase), {"unknown key seedz", "did you mean seeds"}));
  EXPECT_TRUE(holds(mistake(good, "seeds = [1, 1]\n" + kBase.substr(kBase.find("[model]"))), {"seeds is [1,1]"}));
  EXPECT_TRUE(holds(mistake(good + "[[point]]\nname = \"text\"\ndata.source = \"text\"\n"),
                    {"point text", "data.folder is missing"}));
}

TEST_F(Ablate, RunsAreSkippedResumedAndLeftOut) {
  const auto found =
      read_grid(grid("[[point]]\nname = \"slots\"\n[[point]]\nname = \"alone\"\nattention.slots = 0\n[[point]]\nname = "
                     "\"wide\"\nmodel.width = 16\nattention.softmax_layers = [0]\n"));
  const auto first = run(found);
  EXPECT_EQ(first.trained, 6);
  ASSERT_EQ(first.rows.size(), 3u);
  for (const auto& row : first.rows) {
    ASSERT_EQ(row["seeds"].size(), 2u);
    EXPECT_EQ(row["seeds"][1]["seed"], 3);
    EXPECT_NEAR(
        row["validation_loss"]["mean"].get<double>(),
        (row["seeds"][0]["validation_loss"].get<double>() + row["seeds"][1]["validation_loss"].get<double>()) / 2,
        1e-12);
    EXPECT_LE(row["accuracy"]["low"], row["accuracy"]["high"]);
    EXPECT_FALSE(row.contains("bits_per_byte"));
    EXPECT_EQ(row["parameters_differ"], row["point"] == "wide");
    EXPECT_GT(row["seeds"][0]["state_bytes"], 0);
    EXPECT_EQ(row["seeds"][0].contains("slot_bias"), row["point"] != "alone");
  }
  EXPECT_EQ(first.rows[0]["seeds"][0]["slot_bias"].size(), 2u);
  EXPECT_EQ(first.rows[2]["seeds"][0]["slot_bias"][0].size(), 0u);  // a hybrid: softmax first, then slots
  EXPECT_EQ(first.rows[2]["seeds"][0]["slot_bias"][1].size(), 2u);
  EXPECT_TRUE(holds(ablation_table(found, first.rows), {"  - -2."}));
  EXPECT_EQ(read_json(folder_ / "out/ablation.json")["base"], "slots");
  std::string table;
  for (const auto& row : first.rows) table += dump(row) + "\n";
  EXPECT_EQ(read_file(folder_ / "out/table.jsonl"), table);
  EXPECT_TRUE(holds(ablation_table(found, first.rows), {"Tiny", "slots (base)", "alone", "* more than 10 %"}));

  // One run back at half its way, one of which only the start is there, one damaged beyond use, and one of another
  // version.
  const auto out = folder_ / "out";
  const auto copy_back = [&](const std::string& run) {
    fs::remove_all(out / run / "checkpoints");
    fs::remove(out / run / "metrics.jsonl");
    fs::remove(out / run / "model.safetensors");
  };
  copy_back("slots/seed-0");
  fs::remove_all(out / "slots/seed-3");
  fs::create_directories(out / "slots/seed-3");
  write_atomically(out / "alone/seed-3/config.json", "{\"half");
  auto newer = read_json(out / "wide/seed-0/config.json");
  newer["format_version"] = 2;
  write_atomically(out / "wide/seed-0/config.json", dump(newer));
  const auto second = run(found);
  EXPECT_EQ(second.trained, 2);
  EXPECT_EQ(second.skipped, 2);
  EXPECT_EQ(second.left_out, 2);
  EXPECT_TRUE(
      holds(remarks_, {"point alone, seed 3 is left out", "point wide, seed 0 is left out", "format_version is 2"}));
  EXPECT_EQ(learning(second.rows)[0], learning(first.rows)[0]);
  EXPECT_EQ(second.rows[1]["seeds"].size(), 1u);
}

TEST_F(Ablate, APointMayBeginWithTheWeightsOfOneBeforeIt) {
  const auto found =
      read_grid(grid("[[point]]\nname = \"alone\"\nattention.slots = 0\n"
                     "[[point]]\nname = \"slots\"\nfrom = \"alone\"\ntrain.steps = 2\n"
                     "[[point]]\nname = \"softmax\"\nfrom = \"slots\"\nattention.kind = \"softmax\"\n"));
  EXPECT_EQ(found.points[1].changes, (json{{"train.steps", 2}, {"from", "alone"}}));
  const auto first = run(found);
  EXPECT_EQ(first.trained, 6) << remarks_;
  const auto out = folder_ / "out";
  for (const auto* seed : {"seed-0", "seed-3"}) {
    const auto slots = read_run_config(out / "slots" / seed), softmax = read_run_config(out / "softmax" / seed);
    EXPECT_EQ(fs::path(slots.from->folder), fs::absolute(out / "alone" / seed).lexically_normal());
    EXPECT_EQ(fs::path(softmax.from->folder), fs::absolute(out / "slots" / seed).lexically_normal());
    const auto own = read_run_config(out / "alone" / seed).seed;
    EXPECT_EQ(slots.seed, own + 1000);
    EXPECT_EQ(softmax.seed, own + 2000);
  }
  for (const auto& row : first.rows) {
    EXPECT_EQ(row["seeds"][0]["seed"], 0);
    EXPECT_EQ(row["seeds"][1]["seed"], 3);
  }
  // Killed before its end, a run is taken up by what it was begun with.
  fs::remove(out / "softmax/seed-3/model.safetensors");
  const auto again = run(found);
  EXPECT_EQ(again.skipped, 5) << remarks_;
  EXPECT_EQ(learning(again.rows), learning(first.rows));
  // Other weights under the same name are not what it has begun with; without them it has nothing to begin with.
  fs::copy_file(out / "alone/seed-0/model.safetensors", out / "alone/seed-3/model.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(run(found).left_out, 2);
  EXPECT_TRUE(holds(remarks_, {"point slots, seed 3", "begun with other weights than", "point softmax, seed 3",
                               "point slots, which was not trained with this seed"}));
}

TEST_F(Ablate, AnotherGridsFolderIsRefused) {
  const auto found = read_grid(
      grid("[[point]]\nname = \"a\"\ntrain.steps = 1\n", "seeds = [1]\n" + kBase.substr(kBase.find("[model]"))));
  fs::create_directories(folder_ / "out");
  write_atomically(folder_ / "out/notes.txt", "mine");
  EXPECT_TRUE(holds(message_of([&] { run(found); }), {"not empty", "no ablation"}));
  fs::remove(folder_ / "out/notes.txt");
  EXPECT_EQ(run(found).trained, 1);
  auto other = found;
  other.name = "other";
  EXPECT_TRUE(holds(message_of([&] { run(other); }), {"the ablation \"grid\"", "\"other\""}));
  auto changed = found;
  changed.points[0].config.train.batch = 3;
  EXPECT_EQ(run(changed).left_out, 1);
  EXPECT_TRUE(holds(remarks_, {"point a", "train.batch is 3"}));
}

TEST_F(Ablate, UnequalPointsAreMarked) {
  const auto found =
      read_grid(grid("[[point]]\nname = \"base\"\n[[point]]\nname = \"longer\"\ntrain.steps = 6\n[[point]]\nname = "
                     "\"other\"\ndata.keys = 9\n"));
  const auto rows = run(found).rows;
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["tokens"], 4 * 2 * 24);
  for (const auto& row : rows) {
    EXPECT_EQ(row["tokens_differ"], row["point"] == "longer");
    EXPECT_EQ(row["vocabulary_differs"], row["point"] == "other");
  }
  EXPECT_FALSE(rows[2].contains("equal_time"));
  EXPECT_TRUE(holds(ablation_table(found, rows), {"longer †", "other ‡", "† other number", "‡ other vocabulary"}));
}

TEST_F(Ablate, AFullDiskEndsTheGrid) {
  const auto found = read_grid(grid("[[point]]\nname = \"a\"\n[[point]]\nname = \"b\"\n"));
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4000, before.rlim_max};  // enough for ablation.json, not for weights
  setrlimit(RLIMIT_FSIZE, &small);
  const auto message = message_of([&] { run(found); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(holds(message, {"a/seed-0", "can't be written", "the same command"}));
  EXPECT_FALSE(fs::exists(folder_ / "out/b"));
}

TEST_F(Ablate, WhatCantBeHealedSaysTheWayOut) {
  const auto found = read_grid(grid("[[point]]\nname = \"a\"\n"));
  run(found);
  const auto out = folder_ / "out";
  fs::remove_all(out / "a/seed-0/checkpoints");
  EXPECT_EQ(run(found).left_out, 1);
  EXPECT_TRUE(holds(remarks_, {"checkpoints are missing", "remove the folder"}));
  EXPECT_EQ(remarks_.find("--"), std::string::npos) << remarks_;
  write_atomically(out / "ablation.json", "{\"na");
  EXPECT_TRUE(holds(message_of([&] { run(found); }), {"ablation.json", "remove it"}));
  fs::remove(out / "ablation.json");
  EXPECT_EQ(run(found).skipped, 1);
}

TEST(LossAt, InterpolatesAndNeverGuesses) {
  const std::vector<TimedLoss> losses{{1, 8}, {3, 4}, {4, 3}};
  EXPECT_FALSE(loss_at(losses, 0.5).has_value());
  EXPECT_FALSE(loss_at({}, 1).has_value());
  EXPECT_DOUBLE_EQ(loss_at(losses, 1).value(), 8);
  EXPECT_DOUBLE_EQ(loss_at(losses, 2).value(), 6);
  EXPECT_DOUBLE_EQ(loss_at(losses, 3.5).value(), 3.5);
  EXPECT_DOUBLE_EQ(loss_at(losses, 9).value(), 3);
}

}  // namespace
}  // namespace linformer
