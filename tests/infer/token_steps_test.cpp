// Generation through the fast decoder, whose logits tests/nn/decoder_test.cpp holds against the general step.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "infer/tiny_models.hpp"
#include "linformer/core/error.hpp"
#include "linformer/infer/generate.hpp"

namespace linformer {
namespace {

using linformer::test::kForms;
using linformer::test::tiny_config;
using linformer::test::tiny_model;

LanguageModel float_model(const std::string& form) {
  auto model = tiny_model(tiny_config(form));
  model.to(at::kCPU, at::kFloat);
  return model;
}

Generation generated(const LanguageModel& model, const std::vector<std::string>& prompts,
                     const SamplingConfig& sampling, const GenerateOptions& options) {
  static const auto tokenizer = load_tokenizer("bytes");
  return generate(model, *tokenizer, prompts, sampling, options);
}

TEST(TokenSteps, SaysWhichPathRan) {
  const auto model = float_model("running");
  const SamplingConfig sampling{.max_tokens = 3};
  EXPECT_EQ(generated(model, {"a"}, sampling, {}).path.rfind("decoder: float32 weights", 0), 0u);
  EXPECT_EQ(generated(model, {"a"}, sampling, {.weights = WeightFormat::int8}).path.rfind("decoder: int8 weights", 0),
            0u);
  const auto wide = tiny_model(tiny_config("running"));
  EXPECT_EQ(generated(wide, {"a"}, sampling, {}).path, "general step, since the model's weights are Double");
  EXPECT_THROW(generated(wide, {"a"}, sampling, {.weights = WeightFormat::int8}), UserError);
}

// Bit for bit, so that what a sequence draws does not depend on those beside it; some stop before the others.
TEST(TokenSteps, ASequenceDoesNotDependOnItsBatch) {
  const std::vector<std::string> prompts{"The first", "b", "the third one", "and"};
  const SamplingConfig sampling{.max_tokens = 11, .temperature = 1, .top_k = 9, .stop = {"e", "\x7f"}};
  for (const auto& form : kForms) {
    const auto model = float_model(form);
    for (const auto weights : {WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8}) {
      const GenerateOptions one{.seed = 5, .weights = weights};
      auto three = one;
      three.samples = 3;
      const auto together = generated(model, prompts, sampling, three),
                 single = generated(model, prompts, sampling, one);
      EXPECT_GT(together.decoded_tokens, single.decoded_tokens);
      for (std::size_t i = 0; i < prompts.size(); ++i)
        EXPECT_EQ(single.sequences[i].tokens, together.sequences[3 * i].tokens) << form << i;
      EXPECT_EQ(generated(model, {prompts[0]}, sampling, one).sequences[0].tokens, single.sequences[0].tokens) << form;
    }
  }
}

}  // namespace
}  // namespace linformer
