// Runs that begin with given weights.
#include "train/start_weights.hpp"

#include <ATen/ATen.h>

#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "train/support.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::holds;
using test::message_of;
using test::tiny_model;

TEST(StartWeights, EveryFieldThatDefinesThemHasToAgree) {
  const auto config = resolved(tiny_model(AttentionKind::linformer, 0.2));
  const LanguageModel model(config, 3);
  const StartWeights weights{.folder = "THERE", .sha256 = ""};
  auto other = config;
  int refused = 0;
  for (auto& field : fields_of(other)) {
    const auto before = field.text();
    for (const auto* value : {"1", "2", "4", "24", "257", "0.5", "false", "true", "none", "softmax", "sinusoidal",
                              "rotary", "block", "layerwise", "both", "means", "8,8"}) {
      try {
        other = config;
        field.parse(value);
        other = resolved(other);
      } catch (const UserError&) {
        continue;
      }
      if (field.text() == before) continue;
      if (field.name == "model.dropout") {
        EXPECT_EQ(with_config(model, other, weights).config().dropout, other.dropout);
      } else {
        const auto message = message_of([&] { with_config(model, other, weights); });
        EXPECT_TRUE(holds(message, {"weights of THERE", "without --from"})) << field.name << " " << value;
        // Another field may follow from it, and come first.
        EXPECT_TRUE(holds(message, {" is ", ", but the weights"}));
        ++refused;
      }
      break;
    }
  }
  EXPECT_GE(refused, 14);
}

TEST(StartWeights, TheMessageNamesFieldAndBothValues) {
  const auto config = resolved(tiny_model(AttentionKind::linformer));
  const LanguageModel model(config, 3);
  const auto message = [&](const auto& change) {
    auto other = config;
    change(other);
    return message_of([&] { with_config(model, other, {.folder = "THERE", .sha256 = ""}); });
  };
  EXPECT_TRUE(holds(message([](auto& c) { c.attention.slots = 6; }),
                    {"attention.slots is 6, but the weights of THERE were trained with 5;"}));
  EXPECT_TRUE(holds(message([](auto& c) { c.length = 26; }),
                    {"model.length is 26, but", "with 13, and are neither stretched"}));
  EXPECT_TRUE(
      holds(message([](auto& c) { c.attention.slot_bias = std::nullopt, c.attention.normalise = Normalise::both; }),
            {"attention.normalise is both, but", "with keys"}));
}

TEST(StartWeights, StandardAttentionIgnoresTheOtherFieldsOfAttention) {
  const LanguageModel model(tiny_model(AttentionKind::softmax), 3);
  auto other = tiny_model(AttentionKind::softmax);
  other.attention.slots = 9, other.attention.window = 1;
  EXPECT_NO_THROW(with_config(model, other, {}));
}

TEST(StartWeights, AreCopiedToTheLastBit) {
  const auto config = resolved(tiny_model(AttentionKind::linformer));
  const LanguageModel model(config, 3);
  auto other = config;
  other.dropout = 0.3;
  const auto copy = with_config(model, other, {});
  const auto expected = model.parameters(), found = copy.parameters();
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].first, expected[i].first);
    EXPECT_TRUE(at::equal(found[i].second, expected[i].second));
    EXPECT_TRUE(found[i].second.requires_grad());
  }
}

class StartWeightsFolder : public testing::Test {
 protected:
  StartWeightsFolder() : model_(tiny_model(AttentionKind::linformer), 3) {
    for (const auto* name : {"model", "run"}) fs::create_directory(folder_ / name);
    save_model(folder_ / "model", model_, json());
  }
  test::TemporaryFolder folder_;
  LanguageModel model_;
};

TEST_F(StartWeightsFolder, AreFoundByTheirHash) {
  const auto weights = name_start_weights(folder_ / "model", folder_ / "run");
  EXPECT_EQ(weights.folder, (folder_ / "model").string());
  EXPECT_EQ(weights.sha256.size(), 64u);
  EXPECT_NO_THROW(load_start_weights(weights, folder_ / "run"));
  // Once the model has been trained on, the run's own copy stands in.
  fs::copy(folder_ / "model", folder_ / "run", fs::copy_options::recursive);
  const LanguageModel later(model_.config(), 4);
  save_model(folder_ / "model", later, json());
  const auto loaded = load_start_weights(weights, folder_ / "run");
  EXPECT_TRUE(at::equal(loaded.model.output_weight(), model_.output_weight()));
  fs::remove(folder_ / "run/model.safetensors");
  EXPECT_TRUE(holds(message_of([&] { load_start_weights(weights, folder_ / "run"); }),
                    {(folder_ / "model").string(), "is missing or is not the one", weights.sha256, "--overwrite"}));
}

TEST_F(StartWeightsFolder, WhatTheRunWouldReplaceIsRefused) {
  for (const auto& inside : {folder_ / "model", folder_ / "model/../model/"})
    EXPECT_TRUE(
        holds(message_of([&] { name_start_weights(inside, folder_ / "model"); }), {"lies in", "another --out"}));
  EXPECT_NO_THROW(name_start_weights(folder_ / "model", folder_ / "model2"));
  EXPECT_TRUE(
      holds(message_of([&] { name_start_weights(folder_ / "nothing", folder_ / "run"); }), {"nothing", "expected"}));
  EXPECT_TRUE(holds(message_of([&] { name_start_weights(folder_ / "run", folder_ / "new"); }), {"model.safetensors"}));
}

TEST_F(StartWeightsFolder, ConfigJsonKeepsThem) {
  RunConfig config;
  config.model = model_.config();
  config.from = StartWeights{.folder = "/there", .sha256 = "0123"};
  write_run_config(folder_ / "run", config, {{"name", "bytes"}, {"hash", "x"}});
  const auto read = read_run_config(folder_ / "run");
  EXPECT_EQ(read.from, config.from);
  EXPECT_NO_THROW(check_resumable(config, read));
  config.from.reset();
  EXPECT_TRUE(holds(message_of([&] { check_resumable(read, config); }), {"none", "started with /there"}));
  write_run_config(folder_ / "run", config, {{"name", "bytes"}, {"hash", "x"}});
  EXPECT_EQ(read_file(folder_ / "run/config.json").find("from"), std::string::npos);
}

}  // namespace
}  // namespace linformer
