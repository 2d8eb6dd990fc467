// Names, shapes and counts of parameters, as the table of tensor names in docs/model_format.md and the design have
// them; seeds. Letters: docs/maths.md.
#include "linformer/nn/language_model.hpp"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers
using Shape = std::vector<std::int64_t>;
using Shapes = std::map<std::string, Shape>;

Shapes shapes_of(const ModelConfig& config) {
  Shapes shapes;
  for (const auto& [name, parameter] : LanguageModel(config).parameters()) {
    EXPECT_TRUE(shapes.emplace(name, parameter.sizes().vec()).second) << name << " twice";
    EXPECT_TRUE(parameter.requires_grad());
  }
  return shapes;
}

// What every model has: P length, d 12, hidden 14, V 19, two layers.
Shapes common(std::int64_t length) {
  Shapes shapes{{"token_embedding.weight", {19, 12}},
                {"position_embedding.weight", {length, 12}},
                {"final_norm.weight", {12}},
                {"final_norm.bias", {12}},
                {"output.weight", {19, 12}}};
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    for (const auto* norm : {"attention_norm", "feed_forward_norm"})
      shapes[block + norm + ".weight"] = shapes[block + norm + ".bias"] = {12};
    for (const auto* linear : {"query", "key", "value", "output"}) {
      shapes[block + "attention." + linear + ".weight"] = {12, 12};
      shapes[block + "attention." + linear + ".bias"] = {12};
    }
    shapes[block + "feed_forward.up.weight"] = {14, 12};
    shapes[block + "feed_forward.up.bias"] = {14};
    shapes[block + "feed_forward.down.weight"] = {12, 14};
    shapes[block + "feed_forward.down.bias"] = {12};
  }
  return shapes;
}

Shapes with(Shapes shapes, const std::string& name, const Shape& first, const Shape& second) {
  shapes["blocks.0.attention." + name] = first;
  shapes["blocks.1.attention." + name] = second;
  return shapes;
}
Shapes with(const Shapes& shapes, const std::string& name, const Shape& both) { return with(shapes, name, both, both); }

TEST(Parameters, OfTheTransformer) {
  EXPECT_EQ(shapes_of(softmax_form(21).config), common(21));
  auto config = softmax_form(21).config;
  config.tied = true;
  config.position = Position::sinusoidal;
  auto expected = common(21);
  expected.erase("output.weight");
  expected.erase("position_embedding.weight");
  EXPECT_EQ(shapes_of(config), expected);
  const LanguageModel tied(config);
  EXPECT_TRUE(tied.output_weight().is_same(tied.parameters().front().second));
}

TEST(Parameters, OfEachSharing) {
  const auto base = common(21);
  const auto shared = with(base, "projection_key", {5, 21});
  auto layerwise = shared;
  layerwise.erase("blocks.1.attention.projection_key");
  const std::map<Sharing, Shapes> expected{
      {Sharing::none, with(with(base, "projection_key", {2, 5, 21}), "projection_value", {2, 5, 21})},
      {Sharing::headwise, with(shared, "projection_value", {5, 21})},
      {Sharing::key_value, shared},
      {Sharing::layerwise, layerwise}};
  for (const auto& [sharing, shapes] : expected) {
    auto config = linformer_form("prefix", 21, 0, 5, sharing).config;
    EXPECT_EQ(shapes_of(config), shapes) << enum_name(sharing);
    config.causal = false;
    EXPECT_EQ(shapes_of(config), shapes) << enum_name(sharing);
    std::int64_t count = 0;
    for (const auto& [name, shape] : shapes) count += c10::multiply_integers(shape);
    EXPECT_EQ(LanguageModel(config).parameter_count(), count);
  }
}

TEST(Parameters, OfWindows) {
  auto config = linformer_form("running", 21, 4, 5, Sharing::key_value).config;
  const auto projected = with(common(21), "projection_key", {5, 21});
  config.attention.slot_bias = std::nan("");
  config.attention.normalise = Normalise::none;
  EXPECT_EQ(shapes_of(config), projected);
  config.attention.slot_bias = -2.5;
  const auto biased = with(projected, "slot_bias", {2});
  EXPECT_EQ(shapes_of(config), biased);
  config.attention.normalise = Normalise::keys;
  auto normalised = biased;
  for (const auto* name : {"slot_key_norm", "window_key_norm"}) {
    for (const auto* part : {".weight", ".bias"}) normalised = with(normalised, std::string(name) + part, {6});
  }
  EXPECT_EQ(shapes_of(config), normalised);
  for (const auto* name : {"slot_value_norm", "window_value_norm"}) {
    for (const auto* part : {".weight", ".bias"}) normalised = with(normalised, std::string(name) + part, {6});
  }
  config.attention.normalise = Normalise::both;
  EXPECT_EQ(shapes_of(config), normalised);
  const LanguageModel model(config);
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_TRUE(!name.ends_with("slot_bias") || parameter.eq(-2.5).all().item<bool>());
  }
}

TEST(Parameters, OfBlockProjections) {
  const auto of = [](Projection projection, Sharing sharing, std::vector<std::int64_t> slots = {}) {
    auto config = linformer_form("block", 48, 6, 2, sharing, Summary::block, projection).config;
    config.attention.normalise = Normalise::none;
    config.attention.slot_bias = std::nan("");
    config.attention.slots_by_layer = std::move(slots);
    return shapes_of(config);
  };
  const auto base = common(48);
  EXPECT_EQ(of(Projection::linear, Sharing::headwise, {24, 8}),
            with(with(base, "projection_key", {3, 6}, {1, 6}), "projection_value", {3, 6}, {1, 6}));
  EXPECT_EQ(of(Projection::linear, Sharing::none),
            with(with(base, "projection_key", {2, 2, 6}), "projection_value", {2, 2, 6}));
  EXPECT_EQ(of(Projection::convolution, Sharing::key_value), with(base, "projection_key", {3}));
  EXPECT_EQ(of(Projection::convolution, Sharing::none),
            with(with(base, "projection_key", {2, 3}), "projection_value", {2, 3}));
  EXPECT_EQ(of(Projection::mean, Sharing::headwise), base);
  EXPECT_EQ(of(Projection::max, Sharing::headwise), base);
  const auto dynamic = with(with(base, "projection.weight", {4, 12}), "projection.bias", {4});
  EXPECT_EQ(of(Projection::dynamic, Sharing::headwise), dynamic);
  auto layerwise = dynamic;
  layerwise.erase("blocks.1.attention.projection.weight");
  layerwise.erase("blocks.1.attention.projection.bias");
  EXPECT_EQ(of(Projection::dynamic, Sharing::layerwise), layerwise);
}

at::Tensor first_projection(ModelConfig config, std::optional<ProjectionStart> start = std::nullopt) {
  config.attention.projection_start = start;
  for (const auto& [name, parameter] : LanguageModel(config, 7).parameters()) {
    if (name == "blocks.0.attention.projection_key") return parameter.detach();
  }
  return {};
}

// Maths 1 and 4 have the deviations.
TEST(Parameters, StartAsTheMathsSays) {
  auto config = linformer_form("prefix", 400, 0, 100, Sharing::headwise).config;
  EXPECT_NEAR(first_projection(config).std().item<double>(), 1 / std::sqrt(400.0), 0.001);
  config.causal = false;
  EXPECT_NEAR(first_projection(config, ProjectionStart::random).std().item<double>(), 1 / std::sqrt(100.0), 0.002);
  EXPECT_LT(largest_difference(first_projection(config).sum(-1), at::ones({100})),
            0.2);  // of segments of four positions
  const auto block = first_projection(linformer_form("block", 48, 6, 2, Sharing::headwise, Summary::block).config);
  const auto third = 1.0 / 3;
  const auto means = at::tensor({third, third, third, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, third, third, third}).view({2, 6});
  EXPECT_LT(largest_difference(block, means), 0.05);
  EXPECT_GT(largest_difference(block, means), 0.0);
}

TEST(Parameters, StartAsAsked) {
  for (const double range : {0.02, 0.1}) {
    auto config = softmax_form(400).config;
    config.initializer_range = range;
    for (const auto& [name, parameter] : LanguageModel(config, 7).parameters()) {
      const auto deviation = parameter.std().item<double>();
      if (name == "position_embedding.weight") {
        EXPECT_NEAR(deviation, range, 0.06 * range);
      } else if (name == "blocks.0.feed_forward.down.weight") {
        EXPECT_NEAR(deviation, range / 2, 0.15 * range);  // two layers
      }
    }
  }
  const auto half = at::tensor({0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5}).view({2, 4}).repeat_interleave(100, 1) / 100;
  const auto running = linformer_form("running", 400, 8, 2, Sharing::headwise).config;
  EXPECT_LT(largest_difference(first_projection(running, ProjectionStart::means), half), 0.0045);
  EXPECT_NEAR(first_projection(running, ProjectionStart::random).std().item<double>(), 1 / std::sqrt(400.0), 0.005);
  const auto block = linformer_form("block", 1600, 400, 4, Sharing::headwise, Summary::block).config;
  EXPECT_NEAR(first_projection(block, ProjectionStart::random).std().item<double>(), 1 / std::sqrt(400.0), 0.005);
  const auto convolution =
      linformer_form("block", 1600, 400, 1, Sharing::headwise, Summary::block, Projection::convolution).config;
  EXPECT_NEAR(first_projection(convolution, ProjectionStart::random).std().item<double>(), 1 / std::sqrt(400.0), 0.01);
  EXPECT_NEAR(first_projection(convolution, ProjectionStart::means).mean().item<double>(), 1 / 400.0, 0.0005);
}

// maths 1: shortening the sequence before the products with the weights, or after.
TEST(Bidirectional, ReassociationChangesNothing) {
  const at::NoGradGuard no_grad;
  const auto ids_BN = random_ids({2, 17}, 19);
  auto mask_BN = at::zeros({2, 17}, at::kBool);
  mask_BN.select(0, 1).narrow(0, 11, 6).fill_(true);
  for (const auto sharing : kSharings) {
    auto config = linformer_form("whole", 21, 0, 3, sharing).config;
    config.causal = false;
    const auto on = lively_model(config);
    config.attention.reassociate = false;
    const auto off = lively_model(config);
    EXPECT_LT(largest_difference(on.logits(ids_BN), off.logits(ids_BN)), 1e-12);
    EXPECT_LT(largest_difference(on.logits(ids_BN, {.padding_mask = mask_BN})[0],
                                 off.logits(ids_BN, {.padding_mask = mask_BN})[0]),
              1e-12);
  }
}

TEST(Seeds, SayWhatAModelIs) {
  const auto config = linformer_form("running", 45, 7, 5, Sharing::none).config;
  const LanguageModel first(config, 5), again(config, 5), other(config, 6), wide(config, 5, at::kDouble);
  for (std::size_t i = 0; i < first.parameters().size(); ++i) {
    const auto [name, value] = first.parameters()[i];
    EXPECT_TRUE(value.equal(again.parameters()[i].second)) << name;
    EXPECT_TRUE(value.to(at::kDouble).equal(wide.parameters()[i].second)) << name;
    const bool drawn = value.detach().std().item<double>() > 0;
    EXPECT_EQ(drawn, !value.equal(other.parameters()[i].second)) << name;
  }
}

TEST(Seeds, DropoutFollowsItsSeedAlone) {
  auto config = linformer_form("running", 45, 7, 5, Sharing::none).config;
  config.dropout = 0.4;
  const auto model = lively_model(config);
  const auto ids_BN = random_ids({2, 33}, 19);
  const auto draw = [&](std::uint64_t seed) {
    at::rand({3});  // what else was drawn doesn't matter
    return model.logits(ids_BN, {.training = true, .dropout_seed = seed}).detach();
  };
  EXPECT_TRUE(draw(1).equal(draw(1)));
  EXPECT_FALSE(draw(1).equal(draw(2)));
  EXPECT_TRUE(model.logits(ids_BN).equal(model.logits(ids_BN)));
}

// Padding of a bidirectional model: what stands at padded positions changes nothing elsewhere.
TEST(Padding, HidesWhatItCovers) {
  const at::NoGradGuard no_grad;
  const auto ids_BN = random_ids({2, 17}, 19);
  auto mask_BN = at::zeros({2, 17}, at::kBool);
  mask_BN.select(0, 1).narrow(0, 11, 6).fill_(true);
  auto changed = ids_BN.clone();
  changed.select(0, 1).narrow(0, 11, 6).add_(3).remainder_(19);
  auto dynamic = linformer_form("whole", 21, 0, 3, Sharing::none, Summary::running, Projection::dynamic).config;
  for (auto config : {linformer_form("whole", 21, 0, 3, Sharing::headwise).config,
                      linformer_form("whole", 21, 0, 3, Sharing::none).config, softmax_form(21).config, dynamic,
                      hybrid(linformer_form("whole", 21, 0, 3, Sharing::headwise), {1}).config}) {
    config.causal = false;
    const auto model = lively_model(config);
    const auto a = model.logits(ids_BN, {.padding_mask = mask_BN}),
               b = model.logits(changed, {.padding_mask = mask_BN});
    EXPECT_LT(largest_difference(a[0], b[0]), 1e-12);
    EXPECT_LT(largest_difference(a[1].narrow(0, 0, 11), b[1].narrow(0, 0, 11)), 1e-12);
    EXPECT_GT(largest_difference(model.logits(ids_BN)[1].narrow(0, 0, 11), a[1].narrow(0, 0, 11)), 1e-4);
  }
  EXPECT_NE(message_of([&] {
              lively_model(softmax_form(21).config).logits(ids_BN, {.padding_mask = mask_BN});
            }).find("padding_mask"),
            std::string::npos);
}

TEST(Convert, MovesParametersAndTable) {
  auto config = softmax_form(21).config;
  config.position = Position::sinusoidal;
  LanguageModel model(config, 2);
  const auto ids_BN = random_ids({1, 21}, 19);
  const auto before = model.logits(ids_BN).detach();
  model.to(at::kCPU, at::kDouble);
  const auto after = model.logits(ids_BN).detach();
  EXPECT_EQ(after.scalar_type(), at::kDouble);
  EXPECT_LT(largest_difference(before, after), 1e-5);
}

TEST(LanguageModel, RefusesAnUnknownVocabulary) {
  auto config = softmax_form(21).config;
  config.vocabulary = 0;
  EXPECT_NE(message_of([&] { LanguageModel model(config); }).find("model.vocabulary"), std::string::npos);
}

}  // namespace
}  // namespace linformer
