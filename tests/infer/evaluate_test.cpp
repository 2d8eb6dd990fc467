#include "linformer/infer/evaluate.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "infer/tiny_models.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "linformer/data/prepare.hpp"
#include "support/errors.hpp"

namespace linformer {
namespace {

using linformer::test::tiny_config;
using linformer::test::tiny_model;

const char* const kText =
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in "
    "want of a wife. — €";

// Sum of −log p over the windows of `text`, one at a time, by whole logits.
double direct_loss(const LanguageModel& model, const std::string& text) {
  const c10::NoGradGuard no_grad;
  std::vector<std::int64_t> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  const auto all = at::tensor(ids, at::kLong);
  const auto targets = all.numel() - 1, length = model.config().length;
  double sum = 0;
  for (std::int64_t first = 0; first < targets; first += length) {
    const auto size = std::min(length, targets - first);
    const auto logits_NV = model.logits(all.narrow(0, first, size).unsqueeze(0)).squeeze(0);
    const auto picked_N1 = at::log_softmax(logits_NV, -1).gather(1, all.narrow(0, first + 1, size).unsqueeze(1));
    sum -= picked_N1.sum().item<double>();
  }
  return sum / static_cast<double>(targets);
}

// −log p of each byte but the first, in one window.
at::Tensor direct_losses(const LanguageModel& model, const std::string& text) {
  const c10::NoGradGuard no_grad;
  std::vector<std::int64_t> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  const auto all = at::tensor(ids, at::kLong);
  const auto logits_NV = model.logits(all.narrow(0, 0, all.numel() - 1).unsqueeze(0)).squeeze(0);
  return at::log_softmax(logits_NV, -1).gather(1, all.narrow(0, 1, all.numel() - 1).unsqueeze(1)).squeeze(1).neg();
}

TEST(EvaluateByPosition, GivesTheLossOfEachOctave) {
  auto config = tiny_config("running");
  config.position = Position::none;
  config.attention.projection = Projection::periodic;
  const auto model = tiny_model(config);
  const auto tokenizer = load_tokenizer("bytes");
  std::string text;
  for (int i = 0; text.size() < 6001; ++i) text += std::to_string(i * i) + " and ";
  text.resize(6001);
  const auto losses_N = direct_losses(model, text);
  const auto result = evaluate(model, *tokenizer, text, {.batch = 2, .length = 6000, .by_position = true});
  EXPECT_NEAR(result.loss, losses_N.mean().item<double>(), 1e-9);  // read in two chunks
  std::int64_t from = 0;
  for (const auto& octave : result.loss_by_position) {
    const auto to = std::min<std::int64_t>(from == 0 ? 128 : 2 * from, 6000);
    EXPECT_EQ(octave.from, from);
    EXPECT_EQ(octave.to, to - 1);
    EXPECT_EQ(octave.tokens, to - from);
    EXPECT_NEAR(octave.loss, losses_N.narrow(0, from, to - from).mean().item<double>(), 1e-9);
    from = to;
  }
  EXPECT_EQ(from, 6000);
  const auto object = to_json(result);
  EXPECT_EQ(object["loss_by_position"].size(), 7U);
  EXPECT_EQ(object["loss_by_position"][6]["to"], 5999);
  // Of windows of the trained length, all together.
  const auto short_ones = evaluate(model, *tokenizer, text, {.by_position = true});
  ASSERT_EQ(short_ones.loss_by_position.size(), 1U);
  EXPECT_EQ(short_ones.loss_by_position[0].tokens, 6000);
  EXPECT_NEAR(short_ones.loss_by_position[0].loss, short_ones.loss, 1e-9);
  EXPECT_TRUE(evaluate(model, *tokenizer, text).loss_by_position.empty());
}

TEST(EvaluateByPosition, RefusesWhatModelOrTextDontReach) {
  const auto tokenizer = load_tokenizer("bytes");
  const auto refusal = [&](const ModelConfig& config, const EvaluateOptions& options) {
    return test::message_of([&] { evaluate(tiny_model(config), *tokenizer, kText, options); });
  };
  auto table = tiny_config("running");
  EXPECT_NE(refusal(table, {.length = 100}).find("periodic"), std::string::npos);
  auto unlimited = table;
  unlimited.position = Position::none;
  EXPECT_NE(refusal(unlimited, {.length = 100}).find("E and F"), std::string::npos);
  unlimited.attention.projection = Projection::periodic;
  EXPECT_NE(refusal(unlimited, {.length = 1000}).find("too few for one window"), std::string::npos);
  EXPECT_NE(refusal(unlimited, {.length = -1}).find("length is -1"), std::string::npos);
  unlimited.length = 2 * unlimited.attention.window.value();
  EXPECT_NE(refusal(unlimited, {.length = 100}).find("two windows"), std::string::npos);
}

// Two windows of 24 and one of 17 targets: the error weights them so, and needs two at least.
TEST(EvaluateByPosition, SequencesAreTheFirstWindowsAndGiveTheError) {
  const auto tokenizer = load_tokenizer("bytes");
  const auto model = tiny_model(tiny_config("running"));
  const auto text = std::string(kText).substr(0, 24 + 24 + 17 + 1);
  const auto of = [&](std::size_t first, std::size_t size) { return direct_loss(model, text.substr(first, size + 1)); };
  for (const std::int64_t batch : {1, 2, 16}) {
    const auto first = evaluate(model, *tokenizer, text, {.batch = batch, .sequences = 1, .by_position = true});
    EXPECT_NEAR(first.loss, of(0, 24), 1e-10) << batch;
    EXPECT_FALSE(first.bits_per_byte);  // the bytes of this window are not known
    ASSERT_EQ(first.loss_by_position.size(), 1u);
    EXPECT_FALSE(first.loss_by_position[0].standard_error);
    const auto two = evaluate(model, *tokenizer, text, {.batch = batch, .sequences = 2, .by_position = true});
    EXPECT_EQ(two.tokens, 48);
    EXPECT_NEAR(two.loss_by_position[0].standard_error.value(), std::abs(of(0, 24) - of(24, 24)) / 2, 1e-8);
    const auto all = evaluate(model, *tokenizer, text, {.batch = batch, .sequences = 9, .by_position = true});
    EXPECT_EQ(all.tokens, 65);
    EXPECT_TRUE(all.bits_per_byte);
    double squares = 0;
    for (const auto& [start, size] : {std::pair<std::size_t, std::size_t>{0, 24}, {24, 24}, {48, 17}})
      squares += std::pow(static_cast<double>(size) * (of(start, size) - all.loss), 2);
    EXPECT_NEAR(all.loss_by_position[0].standard_error.value(), std::sqrt(squares * 3 / 2) / 65, 1e-8);
  }
  EXPECT_THROW(evaluate(model, *tokenizer, text, {.sequences = -1}), UserError);
}

// A batch of longer windows has no more tokens than one of windows of model.length.
TEST(EvaluateByPosition, TheErrorOfWhatIsNoNumberIsNone) {
  const auto model = tiny_model(tiny_config("running"));
  {
    const c10::NoGradGuard no_grad;
    model.parameters().back().second.view(-1)[0] = std::nan("");
  }
  const auto result = evaluate(model, *load_tokenizer("bytes"), kText, {.by_position = true});
  ASSERT_FALSE(result.loss_by_position.empty());
  EXPECT_TRUE(std::isnan(result.loss_by_position[0].loss));
  EXPECT_TRUE(std::isnan(result.loss_by_position[0].standard_error.value()));
}

TEST(EvaluateByPosition, LongWindowsComeInSmallerBatches) {
  auto config = tiny_config("softmax");
  config.position = Position::none;
  const auto model = tiny_model(config);
  std::int64_t batches = 0;
  EvaluateOptions options{.batch = 4, .length = 50};
  options.progress = [&](std::int64_t, std::int64_t all) { batches = all; };
  evaluate(model, *load_tokenizer("bytes"), std::string(50 * 5 + 1, 'x'), options);
  EXPECT_EQ(batches, 5);
  options.length = 24;
  evaluate(model, *load_tokenizer("bytes"), std::string(24 * 8 + 1, 'x'), options);
  EXPECT_EQ(batches, 2);
}

class EvaluateForm : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Forms, EvaluateForm, ::testing::ValuesIn(linformer::test::kForms));

TEST_P(EvaluateForm, EqualsADirectComputationWithAPaddedLastWindow) {
  const auto model = tiny_model(tiny_config(GetParam()));
  const auto tokenizer = load_tokenizer("bytes");
  const std::string text = kText;
  ASSERT_NE((text.size() - 1) % 24, 0u);
  const double expected = direct_loss(model, text);
  for (const std::int64_t batch : {1, 3, 16}) {
    const auto result = evaluate(model, *tokenizer, text, {.batch = batch});
    EXPECT_NEAR(result.loss, expected, 1e-10) << batch;
    EXPECT_NEAR(result.perplexity, std::exp(expected), 1e-8 * std::exp(expected));
    EXPECT_NEAR(result.bits_per_byte.value(), expected / std::log(2.0), 1e-9);
    EXPECT_EQ(result.tokens, static_cast<std::int64_t>(text.size()) - 1);
  }
}

TEST(Evaluate, PreparedDataCountsItsValidationPart) {
  const auto folder = std::filesystem::temp_directory_path() / ("linformer_evaluate_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const std::string text = kText;
  write_atomically(folder / "text.txt", text);
  prepare({.inputs = {(folder / "text.txt").string()},
           .out = folder / "data",
           .tokenizer = "bytes",
           .validation = 0.4,
           .quiet = true});
  const auto data = TokenData::open(folder / "data");
  const auto model = tiny_model(tiny_config("running"));
  const auto validation = text.substr(static_cast<std::size_t>(data.train_size()));
  ASSERT_GT(validation.size(), 25u);
  const auto result = evaluate(model, data, {.batch = 2});
  EXPECT_NEAR(result.loss, direct_loss(model, validation), 1e-10);
  EXPECT_EQ(result.tokens, static_cast<std::int64_t>(validation.size()) - 1);
  std::filesystem::remove_all(folder);
}

// Three bytes a token: what a token costs is shared among its bytes.
class ThreeByteTokenizer : public Tokenizer {
 public:
  std::int64_t size() const override { return 256; }
  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    for (std::size_t at = 0; at < text.size(); at += 3) ids.push_back(static_cast<unsigned char>(text[at]));
    return ids;
  }
  std::size_t safe_cut(std::string_view, std::size_t) const override { return 0; }
  std::string_view bytes_of(std::int32_t) const override { return "..."; }
  std::string name() const override { return "three bytes"; }
  std::string hash() const override { return ""; }
  json to_json() const override { return {}; }
};

TEST(Evaluate, BitsAreSharedAmongTheBytesOfAToken) {
  const auto model = tiny_model(tiny_config("softmax"));
  const auto result = evaluate(model, ThreeByteTokenizer(), std::string(kText).substr(0, 90));
  EXPECT_EQ(result.tokens, 29);
  EXPECT_NEAR(result.bits_per_byte.value(), result.loss / std::log(2.0) / 3, 1e-12);
}

TEST(Evaluate, TakesTheShortestTextAndWholeWindows) {
  const auto model = tiny_model(tiny_config("running"));
  const auto tokenizer = load_tokenizer("bytes");
  for (const std::size_t size : {2u, 24u, 25u, 49u}) {
    const auto text = std::string(kText).substr(0, size);
    const auto result = evaluate(model, *tokenizer, text, {.batch = 2});
    EXPECT_NEAR(result.loss, direct_loss(model, text), 1e-10) << size;
    EXPECT_EQ(result.tokens, static_cast<std::int64_t>(size) - 1);
  }
}

TEST(Evaluate, CountsProgressInBatches) {
  const auto model = tiny_model(tiny_config("softmax"));
  std::vector<std::int64_t> seen;
  std::int64_t total = 0;
  EvaluateOptions options{.batch = 2};
  options.progress = [&](std::int64_t done, std::int64_t all) { seen.push_back(done), total = all; };
  evaluate(model, *load_tokenizer("bytes"), std::string(24 * 5 + 1, 'x'), options);
  EXPECT_EQ(seen, (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(total, 3);
}

TEST(Evaluate, ReturnsALossThatIsNotFinite) {
  const auto model = tiny_model(tiny_config("softmax"));
  {
    const c10::NoGradGuard no_grad;
    model.output_weight().fill_(std::nan(""));
  }
  EXPECT_TRUE(std::isnan(evaluate(model, *load_tokenizer("bytes"), kText).loss));
}

TEST(Evaluate, RefusesWhatItCannotDo) {
  const auto tokenizer = load_tokenizer("bytes");
  auto config = tiny_config("softmax");
  const auto model = tiny_model(config);
  EXPECT_THROW(evaluate(model, *tokenizer, ""), UserError);
  EXPECT_THROW(evaluate(model, *tokenizer, "a"), UserError);
  EXPECT_THROW(evaluate(model, *tokenizer, "abc", {.batch = 0}), UserError);
  config.causal = false;
  EXPECT_THROW(evaluate(tiny_model(config), *tokenizer, "abc"), UserError);
  config.causal = true;
  config.vocabulary = 77;
  EXPECT_THROW(evaluate(tiny_model(config), *tokenizer, "abc"), UserError);
}

}  // namespace
}  // namespace linformer
