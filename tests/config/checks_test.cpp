// Sizes and combinations: what is filled in, and the message of each mistake.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/support.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

using Settings = std::vector<std::pair<std::string, std::string>>;

template <class Config>
Config with(Config config, const Settings& settings) {
  auto fields = fields_of(config);
  for (const auto& [name, value] : settings) {
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
    if (field == fields.end()) throw std::logic_error(name);
    field->parse(value);
  }
  return config;
}

ModelConfig model_with(const Settings& settings) {
  ModelConfig small;
  small.length = 24, small.width = 12, small.layers = 3, small.heads = 2, small.vocabulary = 11;
  small.attention.slots = 6, small.attention.window = 4;
  return with(small, settings);
}

struct Mistake {
  Settings settings;
  std::vector<std::string> parts;  ///< of the message: the field, its value, what was expected or what to change
};

TEST(ModelConfig, EachMistakeNamesFieldValueAndChange) {
  const std::vector<Mistake> mistakes = {
      {{{"model.length", "0"}}, {"model.length is 0", "from 1 to"}},
      {{{"model.width", "-12"}}, {"model.width is -12", "from 1"}},
      {{{"model.layers", "0"}}, {"model.layers is 0"}},
      {{{"model.layers", "1073741824"}}, {"model.layers is 1073741824", "from 1 to 4096"}},
      {{{"model.heads", "0"}}, {"model.heads is 0"}},
      {{{"model.feed_forward", "-1"}}, {"model.feed_forward is -1", "from 0"}},
      {{{"model.vocabulary", "-1"}}, {"model.vocabulary is -1"}},
      {{{"model.length", "9223372036854775807"}}, {"model.length is 9223372036854775807", "to 1073741824"}},
      {{{"model.heads", "5"}}, {"model.width is 12", "model.heads = 5", "set model.width to 15"}},
      {{{"model.dropout", "1"}}, {"model.dropout is 1", "below 1", "0.1"}},
      {{{"model.dropout", "-0.1"}}, {"model.dropout is -0.1"}},
      {{{"model.initializer_range", "0"}}, {"model.initializer_range is 0", "above 0", "0.02"}},
      {{{"model.width", "15"}, {"model.heads", "3"}, {"model.position", "sinusoidal"}},
       {"sinusoidal", "even model.width", "15"}},
      {{{"model.rotary_base", "500"}}, {"model.rotary_base is 500", "model.position = rotary", "leave it at 0"}},
      {{{"model.position", "rotary"}, {"model.rotary_base", "1"}}, {"model.rotary_base is 1", "above 1", "10000"}},
      {{{"model.position", "rotary"}, {"model.rotary_base", "-3"}}, {"model.rotary_base is -3"}},
      {{{"model.position", "rotary"}, {"model.heads", "4"}}, {"even width", "= 3", "set model.width to 16"}},
      {{{"model.position", "rotary"}, {"attention.window", "0"}}, {"rotary", "prefix", "set attention.window"}},
      {{{"model.position", "rotary"}, {"attention.window", "0"}, {"model.causal", "false"}},
       {"rotary", "bidirectional", "attention.kind = softmax"}},
      {{{"attention.slots", "-1"}}, {"attention.slots is -1", "from 0"}},
      {{{"attention.slots", "0"}, {"attention.window", "0"}}, {"attention.slots is 0", "from 1"}},
      {{{"attention.slots", "0"}, {"attention.summary", "block"}}, {"attention.slots is 0", "from 1"}},
      {{{"attention.slots", "25"}}, {"attention.slots has 25", "model.length = 24", "at most 24"}},
      {{{"attention.slots_by_layer", "6,6"}}, {"attention.slots_by_layer holds 2", "model.layers = 3"}},
      {{{"attention.slots_by_layer", "6,0,6"}, {"attention.window", "0"}}, {"attention.slots_by_layer is 0"}},
      {{{"attention.slots_by_layer", "6,5,6"}, {"attention.sharing", "layerwise"}},
       {"layerwise", "6 and 5", "equal numbers"}},
      {{{"attention.sinks", "-1"}}, {"attention.sinks is -1", "from 0"}},
      {{{"attention.sinks", "5"}}, {"attention.sinks is 5", "attention.window = 4", "at most 4"}},
      {{{"attention.sinks", "1"}, {"attention.window", "0"}}, {"attention.sinks = 1", "causal window", "to 0"}},
      {{{"attention.sinks", "1"}, {"attention.window", "0"}, {"model.causal", "false"}}, {"attention.sinks = 1"}},
      {{{"attention.sinks", "1"}, {"attention.summary", "block"}, {"attention.projection", "max"}},
       {"attention.sinks = 1", "attention.projection = max", "mean or linear"}},
      {{{"attention.sinks", "4"}, {"attention.summary", "block"}, {"attention.projection", "dynamic"}},
       {"attention.sinks = 4", "attention.projection = dynamic", "at most 3"}},
      {{{"attention.softmax_layers", "0,3"}}, {"attention.softmax_layers names layer 3", "from 0 to 2"}},
      {{{"attention.softmax_layers", "-1"}}, {"attention.softmax_layers names layer -1", "from 0 to 2"}},
      {{{"attention.softmax_layers", "1,1"}}, {"names layer 1 twice"}},
      {{{"attention.softmax_layers", "2,0"}}, {"names layer 0 after 2", "rising order"}},
      {{{"attention.softmax_layers", "0,1,2"}}, {"names all 3 layers", "attention.kind = softmax"}},
      {{{"attention.softmax_layers", "0"}, {"attention.kind", "softmax"}},
       {"attention.softmax_layers", "attention.kind = linformer", "leave it empty"}},
      {{{"attention.softmax_layers", "1"}, {"attention.slots_by_layer", "6,6,6"}},
       {"attention.slots_by_layer gives layer 1 6 slots", "give it 0"}},
      {{{"attention.softmax_layers", "0"}, {"attention.slots_by_layer", "0,6,5"}, {"attention.sharing", "layerwise"}},
       {"layerwise", "6 and 5", "equal numbers"}},
      {{{"attention.window", "-1"}}, {"attention.window is -1"}},
      {{{"attention.window", "25"}}, {"attention.window is 25", "model.length = 24", "such as 3"}},
      {{{"model.causal", "false"}}, {"attention.window is 4", "model.causal = true", "set attention.window to 0"}},
      {{{"attention.window", "0"}, {"attention.summary", "block"}},
       {"attention.summary = block", "attention.window, such as 64"}},
      {{{"attention.window", "0"}, {"attention.normalise", "both"}}, {"attention.normalise = both", "auto"}},
      {{{"attention.window", "0"}, {"attention.slot_bias", "-4"}}, {"attention.slot_bias = -4", "auto"}},
      {{{"attention.summary", "block"}, {"attention.slots", "5"}},
       {"block", "5·4/24", "0.8333", "attention.slots = 6 gives 1"}},
      {{{"attention.summary", "block"}, {"attention.slots", "7"}}, {"block", "7·4/24"}},
      {{{"attention.projection", "mean"}}, {"attention.projection = mean", "running", "block"}},
      {{{"attention.window", "0"}, {"attention.projection", "dynamic"}}, {"attention.projection = dynamic", "prefix"}},
      {{{"attention.summary", "block"}, {"attention.projection", "dynamic"}, {"attention.sharing", "key-value"}},
       {"key-value", "dynamic", "use headwise, none or layerwise"}},
      {{{"model.causal", "false"},
        {"attention.window", "0"},
        {"attention.projection", "max"},
        {"attention.slots", "7"}},
       {"attention.projection = max", "model.length = 24", "7 equal parts"}},
      {{{"attention.summary", "block"}, {"attention.projection", "convolution"}, {"attention.slots", "18"}},
       {"attention.projection = convolution", "attention.window = 4", "3 equal parts"}},
      {{{"model.key_value_heads", "-1"}}, {"model.key_value_heads is -1"}},
      {{{"model.heads", "6"}, {"model.width", "24"}, {"model.key_value_heads", "4"}},
       {"model.key_value_heads is 4", "model.heads = 6", "such as 3"}},
      {{{"attention.summary", "block"}, {"attention.projection", "periodic"}},
       {"attention.projection = periodic", "block", "only: running"}},
      {{{"attention.projection", "periodic"}, {"attention.period", "9"}},
       {"attention.period is 9", "such as 8", "0 takes 16"}},
      {{{"attention.projection", "periodic"}, {"attention.period", "20"}},
       {"attention.period is 20", "its first 16 positions", "use 16 or less"}},
      {{{"attention.projection", "periodic"}, {"attention.period", "-4"}}, {"attention.period is -4"}},
      {{{"attention.period", "8"}}, {"attention.period = 8", "attention.projection = periodic"}},
      {{{"attention.summary", "block"}, {"attention.projection", "dynamic"}, {"attention.projection_start", "means"}},
       {"attention.projection_start = means", "dynamic", "linear, periodic or convolution"}},
      {{{"attention.summary", "block"}, {"attention.projection", "gated"}},
       {"attention.projection = gated", "block", "only: running"}},
      {{{"attention.projection", "gated"}, {"attention.sharing", "key-value"}},
       {"key-value", "gated", "use headwise, none or layerwise"}},
      {{{"attention.projection", "gated"}, {"attention.projection_start", "random"}},
       {"attention.projection_start = random", "gated", "linear, periodic or convolution"}},
      {{{"attention.summary", "block"}, {"attention.projection", "cluster"}},
       {"attention.projection = cluster", "block", "only: running"}},
      {{{"attention.window", "0"}, {"attention.projection", "cluster"}},
       {"attention.projection = cluster", "prefix", "only: running"}},
      {{{"attention.projection", "cluster"}, {"attention.sharing", "key-value"}},
       {"key-value", "cluster", "use headwise, none or layerwise"}},
      {{{"attention.projection", "cluster"}, {"attention.projection_start", "random"}},
       {"attention.projection_start = random", "cluster", "linear, periodic or convolution"}},
      {{{"attention.projection", "cluster"}, {"attention.period", "8"}},
       {"attention.period = 8", "attention.projection = periodic"}},
      {{{"attention.reassociate", "false"}}, {"attention.reassociate = false", "model.causal = false"}},
  };
  for (const auto& mistake : mistakes) {
    EXPECT_TRUE(holds(message_of([&] { resolved(model_with(mistake.settings)); }), mistake.parts))
        << mistake.settings[0].first;
  }
}

TEST(ModelConfig, AutomaticValuesAreFilledIn) {
  ModelConfig config;
  const auto filled = resolved(config);
  EXPECT_EQ(filled.feed_forward, 4 * 384);
  EXPECT_EQ(filled.attention.window, 64);
  EXPECT_EQ(filled.attention.normalise, Normalise::keys);
  EXPECT_EQ(filled.attention.slot_bias, -2.0);
  EXPECT_EQ(filled.attention.projection_start, ProjectionStart::random);
  EXPECT_TRUE(resolved(filled) == filled);

  for (const Settings& without :
       {Settings{{"attention.window", "0"}}, Settings{{"model.causal", "false"}, {"attention.window", "auto"}}}) {
    const auto other = resolved(model_with(without));
    EXPECT_EQ(other.attention.window, 0);
    EXPECT_EQ(other.attention.normalise, Normalise::none);
    EXPECT_EQ(other.attention.projection_start, other.causal ? ProjectionStart::random : ProjectionStart::means);
    EXPECT_TRUE(std::isnan(other.attention.slot_bias.value()));
    EXPECT_FALSE(other.slot_bias().has_value());
    EXPECT_TRUE(resolved(other) == other);
  }
  EXPECT_FALSE(resolved(model_with({{"attention.slot_bias", "none"}})).slot_bias().has_value());
  EXPECT_EQ(resolved(model_with({{"attention.slot_bias", "0"}})).slot_bias(), 0.0);
}

std::int64_t automatic_window(const Settings& settings) {
  auto all = settings;
  all.emplace_back("attention.window", "auto");
  const auto filled = resolved(model_with(all));
  EXPECT_TRUE(resolved(filled) == filled);
  return filled.attention.window.value();
}

TEST(ModelConfig, AutomaticWindowsFitTheModel) {
  for (std::int64_t length = 6; length < 64; ++length) {
    const auto window = automatic_window({{"model.length", formatted("{}", length)}});
    EXPECT_EQ(window, std::max<std::int64_t>(length / 4, 1));
    EXPECT_LT(2 * window, length) << "no position would read a slot";
  }
  for (const auto* length : {"64", "65", "100", "512"}) EXPECT_EQ(automatic_window({{"model.length", length}}), 64);
  EXPECT_EQ(automatic_window({{"model.length", "1"}, {"attention.slots", "1"}}), 1);

  // Block slots: K·W/P has to be whole in every layer, and with segments to divide W.
  const Settings block{{"attention.summary", "block"}};
  const auto block_with = [&](Settings more) {
    more.insert(more.begin(), block.begin(), block.end());
    return automatic_window(more);
  };
  EXPECT_EQ(block_with({{"model.length", "32"}, {"attention.slots", "8"}}), 8);
  EXPECT_EQ(block_with({{"model.length", "63"}, {"attention.slots", "7"}}), 9);
  EXPECT_EQ(block_with({{"model.length", "60"}, {"attention.slots", "10"}}), 12);
  EXPECT_EQ(block_with({{"model.length", "60"}, {"attention.slots_by_layer", "10,5,20"}}), 12);
  EXPECT_EQ(block_with({{"model.length", "100"}, {"attention.slots", "10"}}), 60);
  EXPECT_EQ(block_with({{"model.length", "512"}, {"attention.slots", "64"}}), 64);
  EXPECT_EQ(block_with({{"model.length", "48"}, {"attention.slots", "32"}, {"attention.projection", "dynamic"}}), 12);
  EXPECT_EQ(block_with({{"model.length", "36"}, {"attention.slots", "24"}, {"attention.projection", "dynamic"}}), 9);
  EXPECT_TRUE(holds(message_of([&] { block_with({{"model.length", "32"}, {"attention.slots", "5"}}); }),
                    {"block", "5·8/32", "gives 1"}));
  EXPECT_TRUE(holds(message_of([&] {
                      block_with({{"model.length", "36"}, {"attention.slots", "24"}, {"attention.projection", "mean"}});
                    }),
                    {"attention.projection = mean", "attention.window = 9"}));
}

TEST(ModelConfig, SoftmaxIgnoresTheRestOfAttention) {
  const auto config =
      resolved(model_with({{"attention.kind", "softmax"}, {"attention.slots", "9999"}, {"attention.window", "77"}}));
  EXPECT_EQ(config.window(), 0);
  EXPECT_FALSE(config.slot_bias().has_value());
  EXPECT_THROW(resolved(model_with({{"attention.kind", "softmax"}, {"model.heads", "5"}})), UserError);
}

TEST(ModelConfig, SizesOfLayers) {
  const auto config = resolved(model_with({{"attention.slots_by_layer", "6,12,24"}, {"attention.summary", "block"}}));
  EXPECT_EQ(config.slots_of(1), 12);
  EXPECT_EQ(config.block_slots_of(0), 1);
  EXPECT_EQ(config.block_slots_of(2), 4);
  EXPECT_EQ(config.head_width(), 6);
}

TEST(ModelConfig, EqualityKnowsNoBias) {
  const auto none = model_with({{"attention.slot_bias", "none"}});
  EXPECT_TRUE(none == model_with({{"attention.slot_bias", "none"}}));
  EXPECT_FALSE(none == model_with({{"attention.slot_bias", "auto"}}));
  EXPECT_FALSE(none == model_with({{"attention.slot_bias", "-4"}}));
}

template <class Config>
void expect_mistakes(const std::vector<Mistake>& mistakes) {
  EXPECT_NO_THROW(check(Config()));
  for (const auto& mistake : mistakes) {
    EXPECT_TRUE(holds(message_of([&] { check(with(Config(), mistake.settings)); }), mistake.parts))
        << mistake.settings[0].first;
  }
}

TEST(TrainConfig, EachMistakeNamesFieldValueAndChange) {
  expect_mistakes<TrainConfig>({
      {{{"train.steps", "0"}}, {"train.steps is 0", "at least 1"}},
      {{{"train.batch", "-5"}}, {"train.batch is -5", "at least 1"}},
      {{{"train.accumulate", "0"}}, {"train.accumulate is 0"}},
      {{{"train.evaluate_every", "-1"}}, {"train.evaluate_every is -1", "at least 0"}},
      {{{"train.save_every", "-1"}}, {"train.save_every is -1"}},
      {{{"train.keep", "0"}}, {"train.keep is 0", "at least 1"}},
      {{{"train.learning_rate", "0"}}, {"train.learning_rate is 0", "positive", "5e-4"}},
      {{{"train.learning_rate_start", "-0.5"}}, {"train.learning_rate_start is -0.5", "train.learning_rate = 0.0005"}},
      {{{"train.learning_rate_start", "0.5"}}, {"train.learning_rate_start is 0.5", "raise the peak"}},
      {{{"train.learning_rate_end", "0.5"}}, {"train.learning_rate_end is 0.5", "raise the peak"}},
      {{{"train.warmup_fraction", "1.5"}}, {"train.warmup_fraction is 1.5", "from 0 to 1"}},
      {{{"train.weight_decay", "-1"}}, {"train.weight_decay is -1", "at least 0"}},
      {{{"train.slot_bias_rate", "-1"}}, {"train.slot_bias_rate is -1", "at least 0"}},
      {{{"train.beta1", "1"}}, {"train.beta1 is 1", "below 1"}},
      {{{"train.beta2", "-0.1"}}, {"train.beta2 is -0.1", "0.95"}},
      {{{"train.clip", "-1"}}, {"train.clip is -1", "0 for no clipping"}},
  });
  EXPECT_NO_THROW(
      check(with(TrainConfig(), {{"train.schedule", "constant"}, {"train.learning_rate_end", "0.5"}})));  // not used
}

TEST(SamplingConfig, EachMistakeNamesFieldValueAndChange) {
  expect_mistakes<SamplingConfig>({
      {{{"generate.max_tokens", "0"}}, {"generate.max_tokens is 0", "at least 1"}},
      {{{"generate.temperature", "-1"}}, {"generate.temperature is -1", "greedy"}},
      {{{"generate.top_k", "-1"}}, {"generate.top_k is -1", "0 (off)"}},
      {{{"generate.top_p", "0"}}, {"generate.top_p is 0", "above 0"}},
      {{{"generate.top_p", "1.1"}}, {"generate.top_p is 1.1", "at most 1"}},
      {{{"generate.min_p", "1.1"}}, {"generate.min_p is 1.1", "0.05"}},
      {{{"generate.repetition_penalty", "0"}}, {"generate.repetition_penalty is 0", "positive"}},
  });
  SamplingConfig empty_stop;
  empty_stop.stop = {"a", ""};
  EXPECT_TRUE(holds(message_of([&] { check(empty_stop); }), {"stop", "empty"}));
}

}  // namespace
}  // namespace linformer
