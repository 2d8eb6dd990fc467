// The audit catches what it should, at the right place, and nothing else. Shape letters: B batch, N length, V
// vocabulary, X channels.
#include "linformer/study/audit.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "linformer/core/json.hpp"
#include "linformer/nn/decode_state.hpp"
#include "nn/forms.hpp"
#include "study/audit_subject.hpp"
#include "support/errors.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers

// Outputs are the mean of the inputs so far, plus `leak` times the input `distance` later.
class Leaky final : public study::AuditSubject {
 public:
  Leaky(double leak, std::int64_t distance, at::ScalarType dtype = at::kDouble)
      : leak_(leak),
        distance_(distance),
        embedding_(at::randn({kVocabulary, kVocabulary}, at::detail::createCPUGenerator(1), at::kDouble).to(dtype)) {
    embedding_.requires_grad_();
  }
  at::ScalarType dtype() const override { return embedding_.scalar_type(); }
  std::int64_t vocabulary() const override { return kVocabulary; }
  std::int64_t parameter_count() const override { return embedding_.numel(); }
  std::vector<std::int64_t> lengths() const override { return {11, 20}; }
  at::Tensor outputs(const at::Tensor& ids_BN) const override {
    const auto x_BNX = at::embedding(embedding_, ids_BN);
    const auto count_N1 = at::arange(1, ids_BN.size(1) + 1, x_BNX.options().requires_grad(std::nullopt)).unsqueeze(1);
    const auto later_BNX =
        at::constant_pad_nd(x_BNX.slice(1, distance_), {0, 0, 0, std::min(distance_, ids_BN.size(1))});
    return x_BNX.cumsum(1) / count_N1 + leak_ * later_BNX.slice(1, 0, ids_BN.size(1));
  }
  at::Tensor logits(const at::Tensor& ids_BN) const override { return outputs(ids_BN); }
  std::vector<std::pair<at::Tensor, int>> embeddings() const override { return {{embedding_, 0}}; }
  bool outputs_are_logits() const override { return true; }
  std::vector<Streamed> stream(const at::Tensor& ids_BN) const override {
    std::vector<std::int64_t> places;
    std::vector<at::Tensor> logits;
    for (std::int64_t place = 0; place + 1 < ids_BN.size(1); ++place) {
      places.push_back(place);
      logits.push_back(outputs(ids_BN.narrow(1, 0, place + 1)).select(1, place));
    }
    return {{"prefixes", places, at::stack(logits, 1), 1e-10}};
  }

 private:
  static constexpr std::int64_t kVocabulary = 24;
  double leak_;
  std::int64_t distance_;
  at::Tensor embedding_;
};

AuditPass audited(const study::AuditSubject& subject, const AuditOptions& options = {}) {
  AuditPass pass;
  pass.lengths = subject.lengths();
  pass.threshold = study::change_threshold(subject.dtype());
  std::int64_t passes = 0;
  const study::AuditContext context{subject, options, &passes};
  study::check_changes(context, pass);
  study::check_gradient(context, pass);
  study::check_streaming(context, pass);
  return pass;
}

TEST(AuditChecks, APlainCausalModelIsClean) {
  const auto pass = audited(Leaky(0, 3));
  EXPECT_FALSE(pass.leaks());
  EXPECT_LT(pass.largest_change, 1e-13);
  EXPECT_LT(pass.gradient.largest, 1e-13);
  EXPECT_EQ(pass.gradient.obstacle, "");
  ASSERT_EQ(pass.streaming.size(), 1U);
  EXPECT_LT(pass.streaming[0].largest_difference, 1e-12);
  EXPECT_EQ(pass.changes, 11 + 20);  // every token
}

TEST(AuditChecks, AMillionthIsSeenByEachCheckAndAtItsPlace) {
  const auto pass = audited(Leaky(1e-6, 3));
  ASSERT_TRUE(pass.first_leak);
  EXPECT_EQ(pass.first_leak->length, 11);
  EXPECT_EQ(pass.first_leak->changed, 3);  // the first token that anything before it can see
  EXPECT_EQ(pass.first_leak->seen_at, 0);
  for (const auto& entry : pass.by_distance) {
    if (entry.distance == 3) {
      EXPECT_GT(entry.change, 1e-7);
    } else {
      EXPECT_LT(entry.change, 1e-13) << entry.distance;
    }
  }
  EXPECT_GT(pass.gradient.largest, 1e-7);
  EXPECT_EQ(pass.gradient.input - pass.gradient.output, 3);
  EXPECT_GT(pass.streaming.at(0).largest_difference, pass.streaming.at(0).threshold);
}

TEST(AuditChecks, Float32HasTheThresholdOfItsRounding) {
  EXPECT_FALSE(audited(Leaky(0, 3, at::kFloat)).leaks());
  EXPECT_TRUE(audited(Leaky(1e-3, 3, at::kFloat)).leaks());
}

TEST(AuditChecks, TextIsCheckedBesideRandomIds) {
  AuditOptions options{.text = std::vector<std::int64_t>(15, 7)};
  EXPECT_EQ(audited(Leaky(0, 3), options).changes, 11 + 11 + 20);  // too short for 20
}

TEST(AuditChecks, DifferencesOfInfinities) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto a = at::tensor({-kInfinite, 1.0, kNaN, 2.0}, at::kDouble).view({4, 1}),
             b = at::tensor({-kInfinite, kInfinite, 1.0, 1.5}, at::kDouble).view({4, 1});
  const auto apart = study::differences(a, b);
  EXPECT_EQ(apart[0].item<double>(), 0);
  EXPECT_GT(apart[1].item<double>(), 1e300);
  EXPECT_GT(apart[2].item<double>(), 1e300);
  EXPECT_EQ(apart[3].item<double>(), 0.5);
  EXPECT_EQ(study::range_of(at::tensor({-kInfinite, 1.0, -kInfinite, 4.0}, at::kDouble).view({2, 2})), 3);
}

TEST(AuditChecks, PositionsAreSpread) {
  EXPECT_EQ(study::spread_positions(5, 9, 0), (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  const auto some = study::spread_positions(1000, 50, 1);
  EXPECT_EQ(some.size(), 50U);
  EXPECT_EQ(some.back(), 999);
  std::set<std::int64_t> inside;  // of blocks of 8: no one place alone, least of all their borders
  for (std::size_t i = 0; i < some.size(); ++i) {
    EXPECT_EQ(some[i] / 20, static_cast<std::int64_t>(i));
    inside.insert(some[i] % 8);
  }
  EXPECT_EQ(inside.size(), 8U);
}

// One of each kind, projection and sharing; the others differ in norms and biases, which act on each position alone.
std::vector<FormCase> forms() {
  std::vector<FormCase> chosen;
  for (const auto& form : causal_forms()) {
    const bool other =
        form.name.find("_none_") != std::string::npos || form.name.find("keys_unbiased") != std::string::npos ||
        form.name.find("both_biased") != std::string::npos || form.name.find("keys_biased") != std::string::npos;
    if (!other) chosen.push_back(form);
  }
  return chosen;
}

class EveryCausalForm : public ::testing::TestWithParam<FormCase> {};
INSTANTIATE_TEST_SUITE_P(Audit, EveryCausalForm, ::testing::ValuesIn(forms()),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryCausalForm, IsClean) {
  const auto model = lively_model(GetParam().config, at::kFloat);
  const auto report = audit(model, {.text = std::vector<std::int64_t>(200, 5)});
  EXPECT_FALSE(report.leaks()) << to_json(report).dump(1);
  ASSERT_EQ(report.passes.size(), 2U);
  const auto& fine = report.passes[0];
  EXPECT_EQ(fine.dtype, "float64");
  EXPECT_EQ(report.passes[1].dtype, "float32");
  EXPECT_EQ(static_cast<std::int64_t>(fine.by_layer.size()), GetParam().config.layers);
  EXPECT_EQ(fine.gradient.obstacle, "");
  EXPECT_EQ(fine.streaming.size(), 2U);  // the packed decoder has float32 alone
  EXPECT_EQ(report.passes[1].streaming.size(), 3U);
  for (const auto& way : fine.streaming) EXPECT_LT(way.largest_difference, 1e-11) << way.way;
  const auto& config = GetParam().config;
  if (!config.is_softmax(config.layers - 1) && config.window() > 0) {
    EXPECT_EQ(report.passes[1].path, "kernel");  // what training runs
    EXPECT_NE(fine.path, "kernel");
  }
}

// A model that is read in chunks. Shifted: each chunk begins with the state at its own end, where the one before
// belongs.
class InChunks final : public study::AuditSubject {
 public:
  InChunks(const LanguageModel& model, std::int64_t chunk, bool shifted)
      : model_(model), chunk_(chunk), shifted_(shifted) {}
  at::ScalarType dtype() const override { return at::kDouble; }
  std::int64_t vocabulary() const override { return model_.config().vocabulary; }
  std::int64_t parameter_count() const override { return model_.parameter_count(); }
  std::vector<std::int64_t> lengths() const override { return {model_.config().length}; }
  at::Tensor outputs(const at::Tensor& ids_BN) const override {
    std::vector<at::Tensor> hidden;
    DecodeState before;
    for (std::int64_t first = 0; first < ids_BN.size(1); first += chunk_) {
      const auto ids = ids_BN.narrow(1, first, std::min(chunk_, ids_BN.size(1) - first));
      auto after = model_.read(ids, before).second;
      const bool wrong = shifted_ && first > 0;
      hidden.push_back(model_.read(ids, before.with(wrong ? after.tensors() : before.tensors())).first);
      before = std::move(after);
    }
    return at::cat(hidden, 1);
  }
  at::Tensor logits(const at::Tensor& ids_BN) const override { return model_.head().logits(outputs(ids_BN)); }
  std::vector<std::pair<at::Tensor, int>> embeddings() const override {
    for (const auto& [name, tensor] : model_.parameters()) {
      if (name == "token_embedding.weight") return {{tensor, 0}};
    }
    return {};
  }
  bool outputs_are_logits() const override { return false; }
  std::vector<Streamed> stream(const at::Tensor& ids_BN) const override {
    std::vector<std::int64_t> places;
    for (std::int64_t place = 0; place + 1 < ids_BN.size(1); ++place) places.push_back(place);
    return {{"whole", places, model_.logits(ids_BN).narrow(1, 0, ids_BN.size(1) - 1), 1e-10}};
  }

 private:
  const LanguageModel& model_;
  std::int64_t chunk_;
  bool shifted_;
};

TEST(Audit, AShiftedStateIsCaught) {
  for (const auto& form : forms()) {
    if (form_of(form.config) != Form::running) continue;
    const auto model = lively_model(form.config);
    const auto chunk = 2 * form.config.window();
    const auto right = audited(InChunks(model, chunk, false)), wrong = audited(InChunks(model, chunk, true));
    EXPECT_FALSE(right.leaks()) << form.name;
    EXPECT_LT(right.streaming.at(0).largest_difference, right.streaming.at(0).threshold) << form.name;
    ASSERT_TRUE(wrong.first_leak) << form.name;
    EXPECT_GT(wrong.largest_change, 1e-3) << form.name;
    EXPECT_GT(wrong.gradient.largest, 1e-3) << form.name;
    EXPECT_GT(wrong.streaming.at(0).largest_difference, wrong.streaming.at(0).threshold) << form.name;
  }
}

TEST(Audit, ABidirectionalModelLeaks) {
  for (auto form : {softmax_form(33), linformer_form("bidirectional", 33, 0, 5, Sharing::headwise)}) {
    form.config.causal = false;
    const auto report = audit(lively_model(form.config, at::kFloat));
    EXPECT_TRUE(report.leaks());
    for (const auto& pass : report.passes) {
      ASSERT_TRUE(pass.first_leak);
      EXPECT_LT(pass.first_leak->seen_at, pass.first_leak->changed);
      EXPECT_GT(pass.by_layer.front(), pass.threshold);
      EXPECT_GT(pass.gradient.largest, 1e-4);
      EXPECT_TRUE(pass.streaming.empty());
    }
    EXPECT_NE(report.remarks.at(0).find("bidirectional"), std::string::npos);
    const auto object = to_json(report);
    EXPECT_EQ(object["verdict"], "leaks");
    EXPECT_EQ(object["layers_checked"], 2);
    EXPECT_EQ(object["passes"].size(), 2U);
  }
}

TEST(Audit, TheModelItselfStaysAsItIs) {
  const auto model = lively_model(softmax_form(9).config, at::kFloat);
  const auto before = model.logits(random_ids({1, 9}, 19)).detach();
  audit(model);
  EXPECT_EQ(model.output_weight().scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(before, model.logits(random_ids({1, 9}, 19))));
}

TEST(Audit, SameSeedSameReport) {
  auto form = linformer_form("bidirectional", 33, 0, 5, Sharing::headwise);
  form.config.causal = false;
  const auto model = lively_model(form.config, at::kFloat);
  EXPECT_EQ(to_json(audit(model, {.seed = 4})), to_json(audit(model, {.seed = 4})));
}

TEST(Audit, WrongRequests) {
  const auto model = lively_model(softmax_form(9).config, at::kFloat);
  const auto says = [](const auto& action, const std::string& part) {
    const auto message = message_of(action);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  says([&] { audit(model, {.length = 10}); }, "at most 9");
  says([&] { audit(model, {.text = {3, 19}}); }, "id 19");
  says([&] { audit(lively_model(softmax_form(1).config, at::kFloat)); }, "at least 2 tokens");
  says([&] { audit_file("no/such/file.pt"); }, "no/such/file.pt");
  auto config = softmax_form(9).config;
  config.vocabulary = 2;
  says([&] { audit(lively_model(config, at::kFloat)); }, "2 ids");
  LanguageModel still(softmax_form(9).config);
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, parameter] : still.parameters()) parameter.zero_();
  }
  says([&] { audit(still); }, "does not read its text");
}

}  // namespace
}  // namespace linformer
