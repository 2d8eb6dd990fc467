// Legend: B rows, N length, D pairs.
#include "linformer/data/recall.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "core/support.hpp"
#include "data/draw.hpp"
#include "data/free_places.hpp"
#include "linformer/core/json.hpp"
#include "linformer/data/dataset.hpp"
#include "linformer/data/prepare.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

DataConfig recall() {
  DataConfig config;
  config.source = DataSource::recall;
  config.pairs = 5, config.keys = 11, config.values = 7, config.power = 0.3, config.sequences = 13;
  return config;
}

struct Row {
  const std::int64_t *ids, *targets, *distances;
};
Row row_of(const Batch& batch, std::int64_t row) {
  const auto at = row * batch.ids.size(1);
  return {batch.ids.const_data_ptr<std::int64_t>() + at, batch.targets.const_data_ptr<std::int64_t>() + at,
          batch.distances.const_data_ptr<std::int64_t>() + at};
}

TEST(Recall, IsThePublishedTask) {
  const std::int64_t length_N = 31;  // odd: the last position is no place for a query
  const RecallBatches batches(recall(), 4, length_N, 3);
  for (std::int64_t index = 0; index < 20; ++index) {
    const auto batch = batches.at(index);
    ASSERT_EQ(batch.ids.sizes(), at::IntArrayRef({4, length_N}));
    EXPECT_TRUE(batch.sparse);
    for (std::int64_t row = 0; row < 4; ++row) {
      const auto [ids, targets, distances] = row_of(batch, row);
      std::map<std::int64_t, std::int64_t> place_of_key;
      std::set<std::int64_t> values;
      for (std::int64_t pair = 0; pair < 5; ++pair) {
        ASSERT_TRUE(ids[2 * pair] >= 0 && ids[2 * pair] < 11);
        ASSERT_TRUE(ids[2 * pair + 1] >= 11 && ids[2 * pair + 1] < 18);
        place_of_key[ids[2 * pair]] = 2 * pair;
        values.insert(ids[2 * pair + 1]);
      }
      EXPECT_EQ(place_of_key.size(), 5u);
      EXPECT_EQ(values.size(), 5u);
      std::set<std::int64_t> asked;
      for (std::int64_t i = 0; i < length_N; ++i) {
        ASSERT_TRUE(ids[i] >= 0 && ids[i] < 18);
        if (targets[i] == kIgnored) {
          EXPECT_TRUE(i < 10 || !place_of_key.contains(ids[i])) << "a key with a second value at " << i;
          continue;
        }
        ASSERT_TRUE(i >= 10 && (i - 10) % 2 == 0) << i;
        ASSERT_TRUE(place_of_key.contains(ids[i]));
        const auto value = place_of_key[ids[i]] + 1;
        EXPECT_EQ(targets[i], ids[value]);
        EXPECT_EQ(distances[i], i - value);
        asked.insert(ids[i]);
      }
      EXPECT_EQ(asked.size(), 5u);  // each key once
    }
  }
}

// Old runs are resumed and old results compared: the sequences of a seed stay what they were.
TEST(Recall, PairsAtTheStartKeepTheirBits) {
  const auto batch = RecallBatches(recall(), 2, 23, 3).at(1);
  const auto numbers = [](const at::Tensor& row) {
    const auto* first = row.const_data_ptr<std::int64_t>();
    return std::vector<std::int64_t>(first, first + row.numel());
  };
  EXPECT_EQ(numbers(batch.ids[1]),
            (std::vector<std::int64_t>{7, 11, 8, 16, 3, 17, 9, 15, 0, 12, 9, 16, 3, 13, 0, 4, 8, 15, 2, 13, 7, 4, 17}));
  EXPECT_EQ(numbers(batch.distances[1]),
            (std::vector<std::int64_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 7, 0, 5, 0, 13, 0, 0, 0, 19, 0, 0}));
}

TEST(Recall, ScatteredPairsStandAnywhereWithTheirQueriesBehind) {
  auto config = recall();
  config.scatter = true;
  for (const std::int64_t length_N : {15, 16, 31, 64}) {  // 15: no room for filler
    const RecallBatches batches(config, 4, length_N, 3);
    std::set<std::int64_t> pair_places, query_places;
    for (std::int64_t index = 0; index < 200; ++index) {
      const auto batch = batches.at(index);
      EXPECT_TRUE(batch.sparse);
      for (std::int64_t row = 0; row < 4; ++row) {
        const auto [ids, targets, distances] = row_of(batch, row);
        std::map<std::int64_t, std::int64_t> place_of_key;
        std::set<std::int64_t> values, taken;
        std::int64_t queries = 0;
        for (std::int64_t i = 0; i < length_N; ++i) {
          ASSERT_TRUE(ids[i] >= 0 && ids[i] < 18);
          if (targets[i] == kIgnored) continue;
          ++queries;
          const auto value = i - distances[i], key = value - 1;
          ASSERT_TRUE(key >= 0 && value < i) << "the pair stands before its query";
          EXPECT_EQ(ids[key], ids[i]);
          EXPECT_EQ(ids[value], targets[i]);
          ASSERT_TRUE(ids[key] < 11 && ids[value] >= 11);
          EXPECT_TRUE(place_of_key.emplace(ids[i], key).second);
          EXPECT_TRUE(values.insert(ids[value]).second);
          for (const auto place : {key, value, i}) EXPECT_TRUE(taken.insert(place).second) << "places overlap";
          pair_places.insert(key), query_places.insert(i);
        }
        EXPECT_EQ(queries, 5);
        for (std::int64_t i = 0; i < length_N; ++i)
          EXPECT_TRUE(taken.contains(i) || !place_of_key.contains(ids[i])) << "a key with a second value at " << i;
      }
    }
    // The whole text but for its ends, where none fits. Without filler, the first pair stands at 0 and the last query
    // at the end, so that no key stands at 1 and no query at 3.
    const auto places = length_N - (length_N == 15 ? 3 : 2);
    EXPECT_EQ(static_cast<std::int64_t>(pair_places.size()), places) << length_N;
    EXPECT_EQ(static_cast<std::int64_t>(query_places.size()), places) << length_N;
    EXPECT_EQ(*query_places.begin(), 2);
  }
}

// One pair in eight places: evenly over those with one behind, and then by gap.
TEST(Recall, ScatteredPlacesFollowTheirLaws) {
  auto config = recall();
  config.scatter = true, config.pairs = 1;
  for (const double power : {0.01, 1.0, 3.0}) {
    config.power = power;
    const std::int64_t rows = 20'000, units = 8;
    const auto batch = RecallBatches(config, rows, units + 1, 8).at(0);
    std::map<std::pair<std::int64_t, std::int64_t>, double> seen;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto [ids, targets, distances] = row_of(batch, row);
      for (std::int64_t i = 0; i <= units; ++i) {
        if (targets[i] != kIgnored) seen[{i - distances[i] - 1, distances[i]}] += 1.0 / static_cast<double>(rows);
      }
    }
    for (std::int64_t pair = 0; pair < units - 1; ++pair) {
      double total = 0;
      const auto most = units - 1 - pair;
      for (std::int64_t gap = 1; gap <= most; ++gap) total += std::pow(gap, power - 1);
      for (std::int64_t gap = 1; gap <= most; ++gap) {
        const auto share = std::pow(gap, power - 1) / total / static_cast<double>(units - 1);
        EXPECT_NEAR((seen[{pair, gap}]), share, 5 * std::sqrt(share / static_cast<double>(rows))) << pair << " " << gap;
      }
    }
  }
}

TEST(Recall, ScatteredSequencesDependOnTheirNumberAndTheSeed) {
  auto config = recall();
  config.scatter = true;
  const RecallBatches four(config, 4, 31, 3), two(config, 2, 31, 3), other(config, 4, 31, 4);
  EXPECT_TRUE(at::equal(four.at(1).ids.narrow(0, 2, 2), two.at(3).ids));
  EXPECT_TRUE(at::equal(four.at(1).distances.narrow(0, 2, 2), two.at(3).distances));
  EXPECT_FALSE(at::equal(four.at(0).ids, other.at(0).ids));
  const auto data = open_dataset(config, 31);
  const auto validation = data->validation({.batch = 4, .length = 31});
  EXPECT_EQ(validation->count(), 4);
  EXPECT_FALSE(at::equal(data->train({.batch = 4, .length = 31}, 0)->at(0).ids, validation->at(0).ids));
}

TEST(FreePlaces, AreTakenByRank) {
  for (const std::int64_t size : {1, 2, 7, 8, 1000}) {
    std::vector<std::int64_t> plain(static_cast<std::size_t>(size));
    std::iota(plain.begin(), plain.end(), 0);
    FreePlaces free(size);
    Draws draws(1, size, 0);
    while (!plain.empty()) {
      ASSERT_EQ(free.size(), static_cast<std::int64_t>(plain.size()));
      const auto rank = draws.below(free.size());
      ASSERT_EQ(free.take(rank), plain[static_cast<std::size_t>(rank)]);
      plain.erase(plain.begin() + rank);
    }
  }
}

TEST(Recall, GapsFollowThePowerLaw) {
  auto config = recall();
  config.pairs = 1;
  for (const double power : {0.01, 1.0}) {
    config.power = power;
    const std::int64_t length = 2 + 2 * 6, rows = 6000;
    const auto batch = RecallBatches(config, rows, length, 8).at(0);
    double total = 0;
    for (int gap = 1; gap <= 6; ++gap) total += std::pow(gap, power - 1);
    for (int gap = 1; gap <= 6; ++gap) {
      const auto share =
          batch.targets.select(1, std::int64_t{2} * gap).ne(kIgnored).to(at::kDouble).mean().item<double>();
      EXPECT_NEAR(share, std::pow(gap, power - 1) / total, 0.025) << power << " " << gap;  // four deviations
    }
  }
}

TEST(Recall, SequencesDependOnTheirNumberAndTheSeed) {
  const RecallBatches four(recall(), 4, 31, 3), two(recall(), 2, 31, 3), other(recall(), 4, 31, 4);
  EXPECT_TRUE(at::equal(four.at(1).ids.narrow(0, 2, 2), two.at(3).ids));
  EXPECT_TRUE(at::equal(four.at(7).targets, four.at(7).targets));
  EXPECT_FALSE(at::equal(four.at(0).ids, four.at(1).ids));
  EXPECT_FALSE(at::equal(four.at(0).ids, other.at(0).ids));
  const RecallBatches ending(recall(), 4, 31, 3, 13);
  EXPECT_EQ(ending.count(), 4);
  EXPECT_EQ(ending.at(3).ids.size(0), 1);
  EXPECT_EQ(four.count(), -1);
}

TEST(Recall, DatasetValidatesOnWhatNoSeedTrainsOn) {
  const auto data = open_dataset(recall(), 31);
  EXPECT_EQ(data->tokenizer()->size(), 18);
  const auto validation = data->validation({.batch = 4, .length = 31});
  EXPECT_EQ(validation->count(), 4);
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    EXPECT_FALSE(at::equal(data->train({.batch = 4, .length = 31}, seed)->at(0).ids, validation->at(0).ids));
  EXPECT_TRUE(holds(message_of([&] { data->train({.batch = 4, .length = 31, .objective = Objective::masked}, 1); }),
                    {"masked", "recall"}));
}

TEST(Recall, ImpossibleFieldsAreNamed) {
  const auto mistake = [](auto change, std::int64_t length = 31) {
    auto config = recall();
    change(config);
    return message_of([&] { open_dataset(config, length); });
  };
  EXPECT_TRUE(holds(mistake([](auto& c) { c.pairs = 0; }), {"data.pairs is 0"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.pairs = 8; }), {"data.pairs is 8", "data.values = 7"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.pairs = 12; }), {"data.pairs is 12", "data.keys = 11"}));
  EXPECT_TRUE(
      holds(mistake([](auto&) {}, 19), {"data.pairs is 5", "20 positions", "model.length = 19", "data.pairs = 4"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.scatter = true; }, 14),
                    {"data.pairs is 5", "15 positions", "model.length = 14", "data.pairs = 4"}));
  auto tight = recall();
  tight.scatter = true;
  EXPECT_NO_THROW(open_dataset(tight, 15));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.scatter = true, c.source = DataSource::text, c.folder = "x"; }),
                    {"data.scatter is true", "data.source = text"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.power = std::nan(""); }), {"data.power"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.sequences = 0; }), {"data.sequences is 0"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.seed = -1; }), {"data.seed is -1"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.folder = "x"; }), {"data.folder is x", "recall"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.source = DataSource::text; }), {"data.folder is missing"}));
}

TEST(Numbers, AreTheirOwnIds) {
  const auto tokenizer = numbers_tokenizer(120);
  const std::vector<std::int32_t> ids{3, 119, 0};
  EXPECT_EQ(tokenizer->decode(ids), "3 119 0 ");
  EXPECT_EQ(tokenizer->encode(" 3 119\n0"), ids);
  const auto large = numbers_tokenizer(12'345);
  for (std::int32_t id = 0; id < 12'345; ++id) ASSERT_EQ(large->bytes_of(id), std::to_string(id) + " ");
  EXPECT_EQ(tokenizer->encode("3 119 0 "), ids);
  for (const auto* wrong : {"120", "-1", "1.5", "four", "1 2,3", "010", "0x10", "+1"})
    EXPECT_TRUE(holds(message_of([&] { tokenizer->encode(wrong); }), {"from 0 to 119"})) << wrong;
  const auto again = tokenizer_from_json(tokenizer->to_json());
  EXPECT_EQ(again->hash(), tokenizer->hash());
  EXPECT_EQ(again->size(), 120);
  EXPECT_NE(numbers_tokenizer(121)->hash(), tokenizer->hash());
  EXPECT_TRUE(holds(message_of([] { tokenizer_from_json({{"format_version", 1}, {"kind", "numbers"}, {"size", 0}}); }),
                    {"size"}));
  std::vector<std::int32_t> streamed;
  StreamEncoder encoder(*tokenizer, [&](std::span<const std::int32_t> part) {
    streamed.insert(streamed.end(), part.begin(), part.end());
  });
  for (const char letter : std::string("3 119 0")) encoder.push({&letter, 1});
  encoder.finish();
  EXPECT_EQ(streamed, ids);
}

TEST(Masked, FollowsBertsShares) {
  const test::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 9000; ++i) text += static_cast<char>('a' + i * i % 23);
  prepare({.inputs = {folder.write("text.txt", text).string()},
           .out = folder / "data",
           .tokenizer = "bytes",
           .quiet = true});
  const auto data = TokenData::open(folder / "data");
  const auto whole = TrainBatches(data, 40, 101, 7).at(2);
  const MaskedBatches batches(std::make_unique<TrainBatches>(data, 40, 101, 7), 256, 5),
      other(std::make_unique<TrainBatches>(data, 40, 101, 7), 256, 6);
  const auto batch = batches.at(2);
  const auto counted = batch.targets.ne(kIgnored);
  EXPECT_TRUE(at::equal(batch.targets.masked_select(counted), whole.ids.masked_select(counted)));
  EXPECT_TRUE(
      at::equal(batch.ids.masked_select(counted.logical_not()), whole.ids.masked_select(counted.logical_not())));
  const auto share = [](const at::Tensor& truth) { return truth.to(at::kDouble).mean().item<double>(); };
  const auto seen = batch.ids.masked_select(counted);
  EXPECT_NEAR(share(counted), 0.15, 0.022);  // 4040 positions: four deviations
  EXPECT_NEAR(share(seen.eq(256)), 0.8, 0.065);
  EXPECT_NEAR(share(seen.eq(whole.ids.masked_select(counted))), 0.1, 0.05);
  EXPECT_TRUE(at::equal(batch.ids, batches.at(2).ids));
  EXPECT_FALSE(at::equal(batch.targets, other.at(2).targets));
  const auto short_ones =
      MaskedBatches(std::make_unique<TrainBatches>(data, 200, 2, 7), 256, 5).at(0);  // 72 % would have no target
  EXPECT_TRUE(short_ones.targets.ne(kIgnored).any(1).all().item<bool>());

  // The last window of the validation is padded: nothing of it counts.
  const auto set = dataset_of(data)->validation({.batch = 3, .length = 101, .objective = Objective::masked});
  ASSERT_NE((data.validation_size() - 1) % 101, 0);
  const auto last = set->at(set->count() - 1).targets;
  EXPECT_TRUE(last[-1].eq(kIgnored).all().item<bool>());
  EXPECT_TRUE(last[-2].ne(kIgnored).any().item<bool>());
  EXPECT_TRUE(holds(
      message_of([&] { dataset_of(data)->validation({.batch = 4, .length = 1000, .objective = Objective::masked}); }),
      {"model.length 1000"}));
}

}  // namespace
}  // namespace linformer
