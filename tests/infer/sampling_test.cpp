#include "linformer/infer/sampling.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

std::vector<double> logs(std::vector<double> probabilities) {
  for (auto& value : probabilities) value = std::log(value);
  return probabilities;
}

std::vector<std::int64_t> ids(const std::vector<Candidate>& kept) {
  std::vector<std::int64_t> result;
  for (const auto& candidate : kept) result.push_back(candidate.id);
  return result;
}

using Ids = std::vector<std::int64_t>;
const std::vector<double> kSeven = logs({0.05, 0.30, 0.10, 0.25, 0.05, 0.15, 0.10});

SamplingConfig plain() { return {.temperature = 1.0}; }

TEST(Candidates, KeepTheDistributionWithoutFilters) {
  const auto kept = candidates(kSeven, plain());
  ASSERT_EQ(kept.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) EXPECT_NEAR(kept[i].probability, std::exp(kSeven[i]), 1e-12) << i;
}

TEST(Candidates, TemperatureIsAPowerOfTheProbabilities) {
  auto config = plain();
  config.temperature = 0.5;
  const auto kept = candidates(logs({0.2, 0.8}), config);
  EXPECT_NEAR(kept[0].probability, 0.04 / 0.68, 1e-12);
  config.temperature = 1e-300;  // must not overflow
  EXPECT_NEAR(candidates(kSeven, config)[1].probability, 1.0, 1e-12);
}

TEST(Candidates, GreedyTakesTheFirstOfTheLikeliest) {
  const SamplingConfig config{.temperature = 0, .top_k = 3, .top_p = 0.5};
  EXPECT_EQ(candidates(std::vector<double>{-1, 4, 2, 4}, config), (std::vector<Candidate>{{1, 1.0}}));
}

TEST(Candidates, TopKKeepsExactlyKAndTheLowerIdsOfTies) {
  auto config = plain();
  for (const auto& [k, expected] : std::vector<std::pair<std::int64_t, Ids>>{{1, {1}},
                                                                             {3, {1, 3, 5}},
                                                                             {4, {1, 2, 3, 5}},
                                                                             {5, {1, 2, 3, 5, 6}},
                                                                             {6, {0, 1, 2, 3, 5, 6}},
                                                                             {7, {0, 1, 2, 3, 4, 5, 6}},
                                                                             {99, {0, 1, 2, 3, 4, 5, 6}}}) {
    config.top_k = k;
    EXPECT_EQ(ids(candidates(kSeven, config)), expected) << k;
  }
  config.top_k = 2;
  const auto kept = candidates(kSeven, config);
  EXPECT_NEAR(kept[0].probability, 0.30 / 0.55, 1e-12);
}

TEST(Candidates, TopPKeepsTheFewestThatReachTheShare) {
  auto config = plain();
  for (const auto& [p, expected] : std::vector<std::pair<double, Ids>>{{1e-9, {1}},
                                                                       {0.30, {1}},
                                                                       {0.31, {1, 3}},
                                                                       {0.55, {1, 3}},
                                                                       {0.70, {1, 3, 5}},
                                                                       {0.75, {1, 2, 3, 5}},
                                                                       {0.90, {1, 2, 3, 5, 6}},
                                                                       {0.95, {0, 1, 2, 3, 5, 6}}}) {
    config.top_p = p;
    EXPECT_EQ(ids(candidates(kSeven, config)), expected) << p;
  }
}

TEST(Candidates, MinPIsAShareOfTheLikeliest) {
  auto config = plain();
  for (const auto& [p, expected] : std::vector<std::pair<double, Ids>>{
           {0.1, {0, 1, 2, 3, 4, 5, 6}}, {0.3, {1, 2, 3, 5, 6}}, {0.5, {1, 3, 5}}, {1.0, {1}}}) {
    config.min_p = p;
    EXPECT_EQ(ids(candidates(kSeven, config)), expected) << p;
  }
}

TEST(Candidates, TopPCountsWhatTopKLeft) {
  auto config = plain();
  config.top_k = 3;  // 0.30 0.25 0.15 of 0.70: shares 0.43 0.36 0.21
  config.top_p = 0.78;
  EXPECT_EQ(ids(candidates(kSeven, config)), (Ids{1, 3}));
  config.top_k = 0;
  EXPECT_EQ(ids(candidates(kSeven, config)), (Ids{1, 2, 3, 5}));
}

// A plain sort as the law, over sizes that make top_k shrink its buffer and top_p halve many times, with many
// ties.
TEST(Candidates, AgreeWithASortOnALargeVocabulary) {
  std::mt19937_64 random(7);
  for (const std::size_t size : {1u, 2u, 63u, 5003u}) {
    std::vector<double> logits(size);
    for (auto& value : logits) value = 0.25 * static_cast<double>(random() % 41);
    for (const std::int64_t k : {0, 1, 17, 400}) {
      for (const double p : {0.05, 0.5, 0.93, 1.0}) {
        auto config = plain();
        config.top_k = k;
        config.top_p = p;
        Ids order(size);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
        if (k > 0) order.resize(std::min(size, static_cast<std::size_t>(k)));
        double total = 0, sum = 0;
        for (const auto id : order) total += std::exp(logits[id]);
        std::size_t count = 0;
        while (count < order.size() && (count == 0 || sum < p * total * (1 - 1e-12)))
          sum += std::exp(logits[order[count++]]);
        order.resize(count);
        std::sort(order.begin(), order.end());
        EXPECT_EQ(ids(candidates(logits, config)), order) << size << ' ' << k << ' ' << p;
      }
    }
  }
}

TEST(Candidates, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  auto config = plain();
  config.repetition_penalty = 2;
  const Ids seen{0, 2};
  const auto kept = candidates(std::vector<double>{1, 1, -1, -1}, config, seen);
  const std::vector<double> expected{std::exp(0.5), std::exp(1.0), std::exp(-2.0), std::exp(-1.0)};
  const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(kept[i].probability, expected[i] / total, 1e-12) << i;
  config.temperature = 0;
  EXPECT_EQ(ids(candidates(std::vector<double>{5, 3, 0}, config, Ids{0})), (Ids{1}));
}

TEST(Candidates, RefuseLogitsThatAreNotFinite) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    const SamplingConfig config{.temperature = temperature};
    EXPECT_THROW(candidates(std::vector<double>{0, nan, 1}, config), UserError);
    EXPECT_THROW(candidates(std::vector<double>{0, infinity}, config), UserError);
    EXPECT_THROW(candidates(std::vector<double>{-infinity, -infinity}, config), UserError);
    EXPECT_EQ(candidates(std::vector<double>{-infinity, 3}, config).back().id, 1);
  }
}

TEST(Sampler, DrawsFollowTheDistribution) {
  Sampler sampler(plain(), {.seed = 11});
  constexpr int kDraws = 70000;
  std::vector<double> counts(7);
  for (int i = 0; i < kDraws; ++i) counts[static_cast<std::size_t>(sampler.draw(kSeven))] += 1;
  double chi_square = 0;
  for (std::size_t i = 0; i < 7; ++i) {
    const double expected = kDraws * std::exp(kSeven[i]);
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  // 6 degrees of freedom: the 0.999 quantile is 22.5; the lower bound tells a random stream from an
  // equidistributed one.
  EXPECT_LT(chi_square, 22.5);
  EXPECT_GT(chi_square, 0.2);
}

TEST(Sampler, StreamsDifferBySeedPromptAndSampleAndRepeatThemselves) {
  const std::vector<double> flat(97, 0.0);
  const auto draws = [&](const Sampler::Stream& stream) {
    Sampler sampler(plain(), stream);
    Ids result;
    for (int i = 0; i < 20; ++i) result.push_back(sampler.draw(flat));
    return result;
  };
  const std::vector<Sampler::Stream> streams{{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1},
                                             {1, 1, 0}, {1, 0, 1}, {0, 1, 1}};
  for (std::size_t i = 0; i < streams.size(); ++i) {
    EXPECT_EQ(draws(streams[i]), draws(streams[i]));
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(draws(streams[i]), draws(streams[j])) << i << ' ' << j;
  }
}

TEST(Sampler, DrawsTheSameWithAndWithoutAListOfCandidates) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::vector<double> logits(1001);
  for (double& logit : logits) logit = 3 * normal(random);
  for (const double penalty : {1.0, 1.3}) {
    const SamplingConfig bare{.temperature = 0.8, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = penalty};
    auto listed = bare;
    listed.top_k = 1001;
    Sampler one(bare, {.seed = 5}), other(listed, {.seed = 5});
    for (int i = 0; i < 200; ++i) EXPECT_EQ(one.draw(logits), other.draw(logits)) << i << ' ' << penalty;
  }
}

TEST(Sampler, FindsNaNAndTheLikeliestAtEveryPlace) {
  for (std::size_t place = 0; place < 21; ++place) {
    std::vector<double> logits(21, -1.0);
    logits[place] = 2;
    for (const double temperature : {0.0, 1e-3}) {
      const SamplingConfig config{.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0};
      logits[place] = 2;
      EXPECT_EQ(Sampler(config, {}).draw(logits), static_cast<std::int64_t>(place));
      logits[place] = std::nan("");
      EXPECT_THROW(Sampler(config, {}).draw(logits), UserError) << place;
    }
  }
}

TEST(Sampler, PenalisesWhatItObservedAndWhatItDrew) {
  const SamplingConfig config{.temperature = 0, .repetition_penalty = 1.5};
  Sampler sampler(config, {});
  sampler.observe(2);
  const std::vector<double> logits{2.0, 2.5, 2.9};
  EXPECT_EQ(sampler.draw(logits), 1);  // 2 is down to 1.93
  EXPECT_EQ(sampler.draw(logits), 0);  // 1 is down to 1.67
  EXPECT_EQ(sampler.draw(logits), 2);  // all are penalised, once each
  EXPECT_EQ(sampler.draw(logits), 2);
}

TEST(SamplingConfig, ChecksEveryValue) {
  const auto message = [](const SamplingConfig& config) -> std::string {
    try {
      check(config);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  const double nan = std::nan("");
  EXPECT_EQ(message({}), "");
  EXPECT_NE(message({.max_tokens = 0}).find("generate.max_tokens is 0"), std::string::npos);
  EXPECT_NE(message({.temperature = -1}).find("temperature is -1"), std::string::npos);
  EXPECT_NE(message({.temperature = nan}).find("temperature"), std::string::npos);
  EXPECT_NE(message({.top_k = -2}).find("generate.top_k is -2"), std::string::npos);
  EXPECT_NE(message({.top_p = 0}).find("generate.top_p is 0"), std::string::npos);
  EXPECT_NE(message({.top_p = nan}).find("generate.top_p"), std::string::npos);
  EXPECT_NE(message({.min_p = 1.5}).find("generate.min_p is 1.5"), std::string::npos);
  EXPECT_NE(message({.repetition_penalty = 0}).find("generate.repetition_penalty is 0"), std::string::npos);
  EXPECT_NE(message({.stop = {"a", ""}}).find("stop"), std::string::npos);
}

TEST(SamplingConfig, ReadsItsSectionOfAConfigFile) {
  SamplingConfig config;
  from_json(config, json::parse(R"({"model":{"length":9},"generate":{"temperature":1,"top_k":40,"stop":["a","b"]}})"),
            "x.toml");
  EXPECT_EQ(config, (SamplingConfig{.temperature = 1, .top_k = 40, .stop = {"a", "b"}}));
  for (const char* wrong :
       {R"({"generate":{"top_q":1}})", R"({"generate":{"top_k":1.5}})", R"({"generate":{"top_p":"x"}})",
        R"({"generate":{"stop":"a"}})", R"({"generate":3})", R"({"generat":{}})"}) {
    EXPECT_THROW(from_json(config, json::parse(wrong), "x.toml"), UserError) << wrong;
  }
}

TEST(Sampler, FloatLogitsDrawWhatDoubleOnesDo) {
  std::vector<float> logits(1037);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1031) / 64.0F;
  const std::vector<double> wide(logits.begin(), logits.end());
  for (const double temperature : {0.0, 0.8}) {
    for (const double penalty : {1.0, 1.3}) {
      SamplingConfig config;
      config.temperature = temperature;
      config.repetition_penalty = penalty;
      Sampler narrow_one(config, {.seed = 3}), wide_one(config, {.seed = 3});
      for (int i = 0; i < 20; ++i)
        EXPECT_EQ(narrow_one.draw(std::span<const float>(logits)), wide_one.draw(std::span<const double>(wide)));
    }
  }
  SamplingConfig greedy;
  greedy.temperature = 0;
  logits[500] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(Sampler(greedy, {}).draw(std::span<const float>(logits)), UserError);
}

}  // namespace
}  // namespace linformer
