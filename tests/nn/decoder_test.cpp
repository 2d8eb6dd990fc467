// The fast decode step against LanguageModel::step, which the tests of the models hold against whole forward passes.
#include "linformer/nn/decoder.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/kernels/isa.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

using Ids = std::vector<std::int64_t>;
using test::message_of;

struct FormCase {
  std::string name;
  std::function<void(ModelConfig&)> change;
};
std::ostream& operator<<(std::ostream& out, const FormCase& form) { return out << form.name; }

constexpr std::int64_t kLength = 26, kWindow = 4;

ModelConfig base() {
  auto config = test::small_config(kLength);
  config.feed_forward = 37;
  config.vocabulary = 61;
  config.attention.window = kWindow;
  config.attention.slots = 5;
  return config;
}

std::vector<FormCase> forms() {
  std::vector<FormCase> all{
      {"softmax", [](auto& c) { c.attention.kind = AttentionKind::softmax; }},
      {"softmax_tied_sinusoidal",
       [](auto& c) { c.attention.kind = AttentionKind::softmax, c.tied = true, c.position = Position::sinusoidal; }},
      {"softmax_no_position", [](auto& c) { c.attention.kind = AttentionKind::softmax, c.position = Position::none; }},
      {"softmax_rotary", [](auto& c) { c.attention.kind = AttentionKind::softmax, c.position = Position::rotary; }},
      {"running_rotary", [](auto& c) { c.position = Position::rotary, c.rotary_base = 30; }},
      {"running_rotary_unnormalised",
       [](auto& c) { c.position = Position::rotary, c.attention.normalise = Normalise::none; }},
      {"window_alone_rotary", [](auto& c) { c.position = Position::rotary, c.attention.slots = 0; }},
      {"running_no_bias", [](auto& c) { c.attention.slot_bias = std::nan(""); }},
      {"running_no_slots", [](auto& c) { c.attention.slots = 0; }},
      {"running_slots_by_layer", [](auto& c) { c.attention.slots_by_layer = {7, 3}; }}};
  const auto block = [](ModelConfig& c, Projection projection) {
    c.length = 24;
    c.attention.slots = 12;  // r = 2
    c.attention.summary = Summary::block;
    c.attention.projection = projection;
  };
  for (const auto sharing : {Sharing::none, Sharing::headwise, Sharing::key_value, Sharing::layerwise}) {
    const auto suffix = "_sharing" + std::to_string(static_cast<int>(sharing));
    all.push_back({"prefix" + suffix, [sharing](auto& c) { c.attention.window = 0, c.attention.sharing = sharing; }});
    all.push_back({"running" + suffix, [sharing](auto& c) { c.attention.sharing = sharing; }});
    all.push_back({"block" + suffix, [=](auto& c) { block(c, Projection::linear), c.attention.sharing = sharing; }});
    all.push_back(
        {"convolution" + suffix, [=](auto& c) { block(c, Projection::convolution), c.attention.sharing = sharing; }});
  }
  for (const auto normalise : {Normalise::none, Normalise::keys, Normalise::both}) {
    const auto suffix = "_normalise" + std::to_string(static_cast<int>(normalise));
    all.push_back({"running" + suffix, [normalise](auto& c) { c.attention.normalise = normalise; }});
    for (const auto projection : {Projection::linear, Projection::dynamic, Projection::mean, Projection::max}) {
      all.push_back({"block" + suffix + "_projection" + std::to_string(static_cast<int>(projection)),
                     [=](auto& c) { block(c, projection), c.attention.normalise = normalise; }});
    }
  }
  for (const auto& [name, norm, kind, bias] :
       {std::tuple{"rms", NormKind::rms, FeedForwardKind::gelu, true},
        std::tuple{"swiglu", NormKind::layer, FeedForwardKind::swiglu, true},
        std::tuple{"no_bias", NormKind::layer, FeedForwardKind::gelu, false},
        std::tuple{"rms_swiglu_no_bias", NormKind::rms, FeedForwardKind::swiglu, false}}) {
    all.push_back({name, [=](auto& c) {
                     c.norm = norm, c.feed_forward_kind = kind, c.bias = bias;
                     c.attention.normalise = Normalise::both;
                   }});
  }
  for (const std::int64_t window : {0, 4}) {
    for (const auto sharing : {Sharing::none, Sharing::headwise}) {
      all.push_back({formatted("grouped_window{}_sharing{}", window, static_cast<int>(sharing)), [=](auto& c) {
                       c.key_value_heads = 1;
                       c.attention.window = window, c.attention.sharing = sharing;
                     }});
    }
  }
  all.push_back({"grouped_softmax", [](auto& c) { c.attention.kind = AttentionKind::softmax, c.key_value_heads = 1; }});
  all.push_back({"grouped_dynamic", [=](auto& c) { block(c, Projection::dynamic), c.key_value_heads = 1; }});
  all.push_back({"periodic", [](auto& c) {
                   c.attention.projection = Projection::periodic;
                   c.attention.period = 2 * c.window();
                 }});
  const auto gated = [](ModelConfig& c) { c.attention.projection = Projection::gated; };
  all.push_back({"gated", gated});
  all.push_back({"gated_grouped", [=](auto& c) { gated(c), c.key_value_heads = 1; }});
  all.push_back({"gated_no_bias", [=](auto& c) { gated(c), c.bias = false; }});
  all.push_back({"gated_by_layer", [=](auto& c) { gated(c), c.attention.slots_by_layer = {2, 9}; }});
  all.push_back({"gated_layerwise", [=](auto& c) {
                   gated(c), c.attention.sharing = Sharing::layerwise;
                   c.layers = 3, c.attention.softmax_layers = {0};
                 }});
  const auto cluster = [](ModelConfig& c) { c.attention.projection = Projection::cluster; };
  for (const auto normalise : {Normalise::none, Normalise::keys, Normalise::both}) {
    all.push_back({formatted("cluster_normalise{}", static_cast<int>(normalise)),
                   [=](auto& c) { cluster(c), c.attention.normalise = normalise; }});
  }
  all.push_back({"cluster_grouped", [=](auto& c) { cluster(c), c.key_value_heads = 1; }});
  all.push_back({"cluster_rotary", [=](auto& c) { cluster(c), c.position = Position::rotary, c.rotary_base = 30; }});
  all.push_back({"cluster_by_layer", [=](auto& c) { cluster(c), c.attention.slots_by_layer = {2, 25}; }});
  all.push_back({"cluster_layerwise", [=](auto& c) {
                   cluster(c), c.attention.sharing = Sharing::layerwise;
                   c.layers = 3, c.attention.softmax_layers = {0};
                 }});
  for (const std::int64_t sinks : {1, 3, 4}) {
    for (const bool rotary : {false, true}) {
      const auto suffix = formatted("_{}{}", sinks, rotary ? "_rotary" : "");
      const auto set = [=](ModelConfig& c) {
        c.attention.sinks = sinks;
        c.attention.normalise = sinks == 1 ? Normalise::none : sinks == 3 ? Normalise::keys : Normalise::both;
        if (rotary) c.position = Position::rotary, c.rotary_base = 30;
      };
      all.push_back({"sinks_running" + suffix, set});
      all.push_back({"sinks_alone" + suffix, [=](auto& c) { set(c), c.attention.slots = 0; }});
      all.push_back({"sinks_grouped" + suffix, [=](auto& c) { set(c), c.key_value_heads = 1; }});
      all.push_back(
          {"sinks_periodic" + suffix, [=](auto& c) { set(c), c.attention.projection = Projection::periodic; }});
      all.push_back({"sinks_gated" + suffix, [=](auto& c) { set(c), gated(c); }});
      all.push_back({"sinks_cluster" + suffix, [=](auto& c) { set(c), cluster(c); }});
      for (const auto projection :
           {Projection::linear, Projection::dynamic, Projection::mean, Projection::convolution}) {
        if (projection == Projection::dynamic && sinks == 4) continue;
        all.push_back({formatted("sinks_block_{}{}", enum_name(projection), suffix),
                       [=](auto& c) { block(c, projection), set(c); }});
      }
    }
  }
  for (const std::int64_t layer : {0, 1}) {
    all.push_back({formatted("hybrid_{}", layer), [=](auto& c) { c.attention.softmax_layers = {layer}; }});
    all.push_back({formatted("hybrid_rotary_{}", layer), [=](auto& c) {
                     c.attention.softmax_layers = {layer}, c.position = Position::rotary, c.attention.sinks = 2;
                   }});
  }
  all.push_back({"hybrid_layerwise", [=](auto& c) {
                   block(c, Projection::dynamic), c.attention.sharing = Sharing::layerwise;
                   c.layers = 3, c.attention.softmax_layers = {0};
                 }});
  all.push_back({"dynamic_by_layer", [=](auto& c) {
                   block(c, Projection::dynamic);
                   c.attention.slots_by_layer = {6, 24};
                 }});
  all.push_back(
      {"dynamic_layerwise", [=](auto& c) { block(c, Projection::dynamic), c.attention.sharing = Sharing::layerwise; }});
  return all;
}

/// Weights and biases far from where training starts, so that every parameter counts.
LanguageModel model_of(ModelConfig config) {
  LanguageModel model(config, 3);
  const c10::NoGradGuard no_grad;
  auto generator = at::detail::createCPUGenerator(5);
  for (auto& [name, parameter] : model.parameters()) {
    const bool matrix = parameter.dim() == 2 && name.find("projection_") == std::string::npos;
    parameter.mul_(matrix ? 10 : 1).add_(at::randn(parameter.sizes(), generator, at::kFloat), matrix ? 0 : 0.2);
  }
  return model;
}

Ids some_ids(std::int64_t count, std::int64_t seed, std::int64_t vocabulary) {
  Ids ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((7 * i * i + 13 * seed + i * seed) % vocabulary);
  return ids;
}

at::Tensor logits_of(const Decoder& decoder) {
  std::vector<at::Tensor> rows;
  for (std::size_t row = 0; row < decoder.positions().size(); ++row) {
    const auto logits = decoder.logits(row);
    rows.push_back(
        at::from_blob(const_cast<float*>(logits.data()), {static_cast<std::int64_t>(logits.size())}, at::kFloat)
            .clone());
  }
  return at::stack(rows);
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).pow(2).mean().sqrt() / b.pow(2).mean().sqrt()).item<double>();
}

/// The weights of a linear layer as a decoder's format holds them (PackedLinear::set_rows).
at::Tensor as_held(const at::Tensor& weight, WeightFormat format) {
  if (format == WeightFormat::float32) return weight;
  if (format == WeightFormat::bfloat16) return weight.to(at::kBFloat16).to(at::kFloat);
  const auto largest = weight.abs().amax(1, true);
  const auto integers = ((weight / largest).clamp(-1, 1) * 127).round();
  return integers * (largest / 127);
}

/// The model whose linear layers have the numbers that a decoder of `format` multiplies by.
LanguageModel dequantised(const LanguageModel& model, WeightFormat format) {
  auto config = model.config();
  config.tied = false;  // the embedding itself is read as it is
  LanguageModel copy(config, 1);
  const c10::NoGradGuard no_grad;
  for (const auto& [name, parameter] : copy.parameters()) {
    at::Tensor source = model.output_weight();
    for (const auto& [own_name, own] : model.parameters()) {
      if (own_name == name) source = own;
    }
    const bool linear = name == "output.weight" || (name.starts_with("blocks.") && name.ends_with(".weight"));
    parameter.copy_(linear && source.dim() == 2 ? as_held(source, format) : source);
  }
  return copy;
}

/// The largest relative difference of the logits over all steps until the longest sequence is full, between a decoder
/// and the general step on the numbers that the decoder holds.
double largest_logit_difference(const LanguageModel& packed, const DecoderOptions& options) {
  const auto model = dequantised(packed, options.format);
  const c10::NoGradGuard no_grad;
  const auto& config = model.config();
  std::vector<Ids> prompts;
  for (const std::int64_t count : {1, 4, 9, 13}) prompts.push_back(some_ids(count, count, config.vocabulary));
  auto state = model.prefill(prompts).second;
  // First the one, then the other: LibTorch's threads spin for a while after each operation.
  std::vector<at::Tensor> expected;
  const auto ids_at = [&](std::int64_t step) { return some_ids(4, step + 3, config.vocabulary); };
  for (std::int64_t step = 0; step < config.length - 13; ++step)
    expected.push_back(model.step(at::tensor(ids_at(step), at::kLong), state));
  Decoder decoder(packed, options);
  decoder.load(model.prefill(prompts).second);
  double worst = 0;
  for (std::size_t step = 0; step < expected.size(); ++step) {
    decoder.step(ids_at(static_cast<std::int64_t>(step)));
    worst = std::max(worst, difference(logits_of(decoder), expected[step]));
  }
  return worst;
}

class EachForm : public ::testing::TestWithParam<FormCase> {};
INSTANTIATE_TEST_SUITE_P(Forms, EachForm, ::testing::ValuesIn(forms()),
                         [](const auto& form) { return form.param.name; });

TEST_P(EachForm, LogitsAreThoseOfTheGeneralStep) {
  auto config = base();
  GetParam().change(config);
  const auto model = model_of(config);
  EXPECT_LT(largest_logit_difference(model, {.threads = 1}), 2e-5);
  EXPECT_LT(largest_logit_difference(model, {.format = WeightFormat::bfloat16, .threads = 1}), 2e-5);
  // What is multiplied has 16 bits.
  EXPECT_LT(largest_logit_difference(model, {.format = WeightFormat::int8, .threads = 1}), 1e-3);
}

TEST_P(EachForm, LongSequencesOneByOne) {
  auto config = base();
  GetParam().change(config);
  config.length *= 4;
  if (config.attention.summary == Summary::block) {
    config.attention.slots *= 4;
    for (auto& slots : config.attention.slots_by_layer) slots *= 4;
  }
  const auto model = model_of(config);
  for (const std::int64_t start : {1, 12}) {
    const auto ids = some_ids(config.length, 5, config.vocabulary);
    const c10::NoGradGuard no_grad;
    const auto expected = model.logits(at::tensor(ids, at::kLong).unsqueeze(0))[0];
    Decoder decoder(model, {.threads = 1});
    decoder.load(model.prefill({Ids(ids.begin(), ids.begin() + start)}).second);
    for (auto position = start; position < config.length; ++position) {
      decoder.step(std::span(ids).subspan(static_cast<std::size_t>(position), 1));
      ASSERT_LT(difference(logits_of(decoder)[0], expected[position]), 1e-4) << position;
    }
  }
}

ModelConfig running() { return base(); }

TEST(Decoder, ThreadsAndInstructionSetsAgree) {
  const auto model = model_of(running());
  for (const int threads : {2, 3}) EXPECT_LT(largest_logit_difference(model, {.threads = threads}), 2e-5) << threads;
  auto modern = running();
  modern.norm = NormKind::rms, modern.feed_forward_kind = FeedForwardKind::swiglu, modern.bias = false;
  modern.feed_forward = 75;  // no whole number of vectors
  for (const int threads : {1, 2, 3})
    EXPECT_LT(largest_logit_difference(model_of(modern), {.threads = threads}), 2e-5) << threads;
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    EXPECT_LT(largest_logit_difference(model, {.threads = 1}), 2e-5);
    EXPECT_LT(largest_logit_difference(model, {.format = WeightFormat::bfloat16, .threads = 1}), 2e-5);
    EXPECT_LT(largest_logit_difference(model, {.format = WeightFormat::int8, .threads = 1}), 1e-3);
    EXPECT_NE(Decoder(model, {.threads = 1}).description().find(kernels::isa_name(isa)), std::string::npos);
  }
}

TEST(Decoder, SequencesThatEndLeaveTheOthersAlone) {
  for (const auto kind : {AttentionKind::softmax, AttentionKind::linformer}) {
    auto config = running();
    config.attention.kind = kind;
    const auto model = model_of(config);
    const std::vector<Ids> prompts{some_ids(3, 1, 61), some_ids(11, 2, 61), some_ids(7, 3, 61)};
    Decoder all(model, {.threads = 1}), one(model, {.threads = 1});
    all.load(model.prefill(prompts).second);
    one.load(model.prefill({prompts[2]}).second);
    all.step(Ids{1, 2, 3});
    one.step(Ids{3});
    all.keep(Ids{2, 0});
    EXPECT_EQ(all.positions(), (Ids{8, 4}));
    for (std::int64_t i = 0; i < 15; ++i) {
      all.step(Ids{5 + i, 9});
      one.step(Ids{5 + i});
      ASSERT_LT(difference(logits_of(all)[0], logits_of(one)[0]), 1e-6) << i;
    }
    all.keep(Ids{0});
    EXPECT_EQ(all.state_bytes(), one.state_bytes());
  }
}

TEST(Decoder, MemoryAndWeights) {
  auto config = running();
  config.length = 400;
  const auto bytes_at = [&](const ModelConfig& c, std::int64_t count) {
    const auto model = model_of(c);
    Decoder decoder(model, {.threads = 1});
    decoder.load(model.prefill({some_ids(count, 1, 61)}).second);
    for (int i = 0; i < 3; ++i) decoder.step(Ids{1});
    return decoder.state_bytes();
  };
  EXPECT_EQ(bytes_at(config, 5), bytes_at(config, 390));
  auto prefix = config;
  prefix.attention.window = 0;
  EXPECT_EQ(bytes_at(prefix, 5), bytes_at(prefix, 390));
  auto softmax = config;
  softmax.attention.kind = AttentionKind::softmax;
  EXPECT_GT(bytes_at(softmax, 390), 3 * bytes_at(softmax, 5));

  config.width = 64;  // no padding
  const auto model = model_of(config);
  const auto size = [&](WeightFormat format) {
    return static_cast<double>(Decoder(model, {.format = format, .threads = 1}).weight_bytes());
  };
  EXPECT_NEAR(size(WeightFormat::float32) / size(WeightFormat::bfloat16), 2, 0.1);
  EXPECT_NEAR(size(WeightFormat::float32) / size(WeightFormat::int8), 4, 0.4);
}

// Sentences of a few words in random order, always the same ones: a model of a few thousand parameters learns their
// spelling.
Ids text_bytes() {
  const std::vector<std::string> words = {"a",    "bird", "called", "evening", "from",  "garden", "her",   "house",
                                          "into", "king", "letter", "morning", "never", "old",    "quiet", "river",
                                          "said", "the",  "to",     "under",   "was",   "white",  "wind",  "wrote"};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < 100'000) {
    for (auto left = 4 + random() % 6; left > 0; --left)
      text += words[random() % words.size()] + (left > 1 ? " " : ".\n");
  }
  Ids bytes;
  for (const char character : text) bytes.push_back(static_cast<unsigned char>(character));
  return bytes;
}

// Adam (Kingma and Ba 2015, arXiv 1412.6980) for a few steps on random pieces.
void train_briefly(LanguageModel& model, const at::Tensor& text, std::int64_t steps) {
  const auto length = model.config().length;
  std::vector<std::array<at::Tensor, 2>> moments;
  for (const auto& [name, parameter] : model.parameters())
    moments.push_back({at::zeros_like(parameter), at::zeros_like(parameter)});
  auto generator = at::detail::createCPUGenerator(1);
  for (std::int64_t step = 1; step <= steps; ++step) {
    const auto starts = at::randint(text.size(0) - length - 1, {8, 1}, generator, at::kLong);
    const auto places = starts + at::arange(length + 1);
    const auto pieces = text.index_select(0, places.flatten()).view({8, length + 1});
    const auto logits = model.logits(pieces.narrow(1, 0, length));
    at::cross_entropy_loss(logits.flatten(0, 1), pieces.narrow(1, 1, length).flatten()).backward();
    const c10::NoGradGuard no_grad;
    for (std::size_t i = 0; i < moments.size(); ++i) {
      const auto parameter = model.parameters()[i].second;
      auto& [mean, square] = moments[i];
      mean.mul_(0.9).add_(parameter.grad(), 0.1);
      square.mul_(0.99).addcmul_(parameter.grad(), parameter.grad(), 0.01);
      const auto size = static_cast<double>(step);
      const auto rate = 3e-3 / (1 - std::pow(0.9, size));
      parameter.sub_(mean / ((square / (1 - std::pow(0.99, size))).sqrt() + 1e-8), rate);
      parameter.mutable_grad() = at::Tensor();
    }
  }
}

// Bits a byte of what follows each sequence's first `start` bytes, made token by token.
double bits_a_byte(const LanguageModel& model, const std::vector<Ids>& sequences, std::int64_t start,
                   WeightFormat format) {
  std::vector<Ids> prompts;
  for (const auto& sequence : sequences) prompts.emplace_back(sequence.begin(), sequence.begin() + start);
  Decoder decoder(model, {.format = format, .threads = 1});
  decoder.load(model.prefill(prompts).second);
  double nats = 0, count = 0;
  for (auto position = start; position + 1 < static_cast<std::int64_t>(sequences[0].size()); ++position) {
    Ids ids, next;
    for (const auto& sequence : sequences) {
      ids.push_back(sequence[static_cast<std::size_t>(position)]);
      next.push_back(sequence[static_cast<std::size_t>(position + 1)]);
    }
    decoder.step(ids);
    nats += at::cross_entropy_loss(logits_of(decoder).to(at::kDouble), at::tensor(next), {}, at::Reduction::Sum)
                .item<double>();
    count += static_cast<double>(ids.size());
  }
  return nats / count / std::log(2.0);
}

TEST(Decoder, QualityOfShortWeights) {
  ModelConfig config;
  config.length = 128;
  config.width = 64;
  config.layers = 2;
  config.heads = 2;
  config.vocabulary = 256;
  config.attention.window = 16;
  config.attention.slots = 16;
  LanguageModel model(config, 1);
  const auto bytes = text_bytes();
  const auto held_out = bytes.size() - 16 * 128;
  train_briefly(model, at::tensor(Ids(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(held_out))), 100);
  const c10::NoGradGuard no_grad;
  std::vector<Ids> sequences;
  for (auto first = bytes.begin() + static_cast<std::ptrdiff_t>(held_out); first != bytes.end(); first += 128)
    sequences.emplace_back(first, first + 128);
  const double wide = bits_a_byte(model, sequences, 8, WeightFormat::float32);
  EXPECT_LT(wide, 4) << "it has learnt little";
  const double bfloat16 = bits_a_byte(model, sequences, 8, WeightFormat::bfloat16),
               int8 = bits_a_byte(model, sequences, 8, WeightFormat::int8);
  RecordProperty("bits_a_byte", formatted("float32 {:.5f}, bfloat16 {:.5f}, int8 {:.5f}", wide, bfloat16, int8));
  EXPECT_NEAR(bfloat16 / wide, 1, 0.005);
  EXPECT_NEAR(int8 / wide, 1, 0.005);
}

TEST(Decoder, SaysWhatItCannotDo) {
  auto config = running();
  const auto model = model_of(config);
  EXPECT_EQ(Decoder::obstacle(model), "");
  Decoder decoder(model, {.threads = 1});
  decoder.load(model.prefill({some_ids(kLength - 1, 1, 61)}).second);
  EXPECT_NE(message_of([&] { decoder.step(Ids{61}); }).find("outside the vocabulary of 61"), std::string::npos);
  EXPECT_NE(message_of([&] { decoder.step(Ids{1, 2}); }).find("each of the 1 sequences"), std::string::npos);
  EXPECT_NE(message_of([&] { decoder.keep(Ids{1}); }).find("there are 1"), std::string::npos);
  decoder.step(Ids{60});
  EXPECT_NE(message_of([&] { decoder.step(Ids{1}); }).find("past model.length 26"), std::string::npos);
  EXPECT_NE(message_of([&] { Decoder(model, {.threads = -1}); }).find("threads -1"), std::string::npos);
  auto wide = model_of(config);
  wide.to(at::kCPU, at::kDouble);
  EXPECT_NE(message_of([&] { Decoder d(wide); }).find("Double"), std::string::npos);
  config.causal = false;
  config.attention.window = 0;
  EXPECT_NE(message_of([&] { Decoder d(model_of(config)); }).find("bidirectional"), std::string::npos);
}

}  // namespace
}  // namespace linformer
