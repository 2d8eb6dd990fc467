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

LanguageModel with_config(const LanguageModel& model, const ModelConfig& config, const StartWeights& weights) {
  return linformer::with_config(model, config, weights, 5, [](const std::string&) {});
}

TEST(StartWeights, EveryFieldOutsideAttentionHasToAgree) {
  const auto config = resolved(tiny_model(AttentionKind::linformer, 0.2));
  const LanguageModel model(config, 3);
  const StartWeights weights{.folder = "THERE", .sha256 = ""};
  auto other = config;
  int refused = 0, taken = 0;
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
      if (field.name == "model.dropout" || field.name.starts_with("attention.")) {
        auto begun = with_config(model, other, weights).config();
        EXPECT_EQ(to_json(fields_of(begun)), to_json(fields_of(other)));
        ++taken;
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
  EXPECT_GE(refused, 8);
  EXPECT_GE(taken, 9);
}

TEST(StartWeights, TheMessageNamesFieldAndBothValues) {
  const auto config = resolved(tiny_model(AttentionKind::linformer));
  const LanguageModel model(config, 3);
  const auto message = [&](const auto& change) {
    auto other = config;
    change(other);
    return message_of([&] { with_config(model, other, {.folder = "THERE", .sha256 = ""}); });
  };
  EXPECT_TRUE(holds(message([](auto& c) { c.width = 24; }),
                    {"model.width is 24, but the weights of THERE were trained with 12;"}));
  EXPECT_TRUE(holds(message([](auto& c) { c.length = 26; }),
                    {"model.length is 26, but", "trained with 13", "table of positions is neither stretched"}));
}

TEST(StartWeights, AnotherAttentionTakesWhatItSharesAndTellsTheRest) {
  auto config = tiny_model(AttentionKind::softmax);
  config.position = Position::rotary, config.width = 12, config.heads = 3;
  config = resolved(config);
  const LanguageModel model(config, 3);
  auto other = config;
  other.length = 40;
  other.attention.kind = AttentionKind::linformer;
  other.attention.projection = Projection::gated;
  std::string told;
  const auto begun = linformer::with_config(model, other, {.folder = "THERE", .sha256 = ""}, 8,
                                            [&](const std::string& line) { told += line + "\n"; });
  std::map<std::string, at::Tensor> own, drawn;
  for (const auto& [name, tensor] : model.parameters()) own[name] = tensor;
  for (const auto& [name, tensor] : LanguageModel(other, 8).parameters()) drawn[name] = tensor;
  int fresh = 0;
  for (const auto& [name, tensor] : begun.parameters()) {
    const bool shared = own.contains(name);
    fresh += !shared;
    EXPECT_TRUE(at::equal(tensor, shared ? own[name] : drawn[name])) << name;
    const auto part = name.find(".attention.");
    const bool named = part != std::string::npos && told.find("blocks.*" + name.substr(part)) != std::string::npos;
    EXPECT_EQ(named, !shared) << name;
  }
  EXPECT_GT(fresh, 0);
  EXPECT_TRUE(holds(told, {"blocks.*.attention.gate.weight", "THERE"}));
  EXPECT_TRUE(!holds(told, {"not taken"}));

  told.clear();
  const auto back = linformer::with_config(begun, config, {.folder = "HERE", .sha256 = ""}, 9,
                                           [&](const std::string& line) { told += line + "\n"; });
  for (const auto& [name, tensor] : back.parameters()) EXPECT_TRUE(at::equal(tensor, own[name])) << name;
  EXPECT_TRUE(holds(told, {"not taken from HERE", "blocks.*.attention.gate.bias"}));
  EXPECT_TRUE(!holds(told, {"begin anew"}));
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
