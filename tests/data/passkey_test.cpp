// Legend: B rows, N length.
#include "linformer/data/passkey.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/support.hpp"
#include "linformer/data/dataset.hpp"
#include "linformer/data/prepare.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

DataConfig passkey() {
  DataConfig config;
  config.source = DataSource::passkey;
  config.keys = 7, config.values = 4, config.key_length = 3, config.sequences = 13;
  return config;
}

std::vector<std::int64_t> list_of(const at::Tensor& row_N) {
  const auto row = row_N.contiguous();
  return {row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + row.numel()};
}

TEST(Passkey, AKeyIsHiddenInFillerAndAskedForAtTheEnd) {
  const std::int64_t length_N = 20, filler = 20 - 2 - 5, mark = 11;
  const PasskeyBatches batches(passkey(), {.batch = 4, .length = length_N, .seed = 3});
  std::map<std::int64_t, int> depths;
  std::set<std::vector<std::int64_t>> keys;
  for (std::int64_t index = 0; index < 300; ++index) {
    const auto batch = batches.at(index);
    ASSERT_EQ(batch.ids.sizes(), at::IntArrayRef({4, length_N}));
    EXPECT_TRUE(batch.sparse);
    for (std::int64_t row = 0; row < 4; ++row) {
      const auto ids = list_of(batch.ids[row]), targets = list_of(batch.targets[row]),
                 distances = list_of(batch.distances[row]);
      const std::vector<std::int64_t> key(targets.end() - 3, targets.end());
      keys.insert(key);
      std::int64_t before = 0;
      while (ids[static_cast<std::size_t>(before)] != mark) ++before;
      ++depths[before];
      EXPECT_DOUBLE_EQ(batch.depths[row].item<double>(), static_cast<double>(before) / filler);
      // What the text has to be, put together again.
      std::vector<std::int64_t> expected(ids.begin(), ids.begin() + before);
      expected.push_back(mark);
      expected.insert(expected.end(), key.begin(), key.end());
      expected.insert(expected.end(), ids.begin() + before + 4, ids.begin() + filler + 4);
      expected.push_back(mark);
      expected.insert(expected.end(), key.begin(), key.end() - 1);
      EXPECT_EQ(ids, expected);
      for (const auto token : key) EXPECT_TRUE(token >= 0 && token < 7);
      for (std::int64_t i = 0; i < filler + 4; ++i) {
        const bool is_filler = i < before || i >= before + 4;
        const auto id = ids[static_cast<std::size_t>(i)];
        EXPECT_TRUE(!is_filler || (id >= 7 && id < 11)) << i;
      }
      for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_EQ(targets[i] == kIgnored, i < 17);
        EXPECT_TRUE(i < 17 || ids[i - static_cast<std::size_t>(distances[i])] == targets[i]) << i;
      }
    }
  }
  // 1200 keys of 343, at 14 depths: each some 86 times.
  EXPECT_GT(keys.size(), 300u);
  EXPECT_EQ(depths.size(), 14u);
  for (const auto& [before, count] : depths) EXPECT_NEAR(count, 1200.0 / 14, 45) << before;
}

TEST(Passkey, DepthSaysWhere) {
  for (const auto& [depth, before] : {std::pair{0.0, 0}, {0.5, 7}, {0.2, 3}, {1.0, 13}}) {
    auto config = passkey();
    config.depth = depth;
    const auto batch = PasskeyBatches(config, {.batch = 9, .length = 20, .seed = 3}).at(0);
    EXPECT_TRUE(batch.ids.select(1, before).eq(11).all().item<bool>()) << depth;
    EXPECT_NEAR(batch.depths[4].item<double>(), before / 13.0, 1e-12);
  }
}

TEST(Passkey, SequencesDependOnTheirNumberAndTheSeed) {
  const PasskeyBatches four(passkey(), {.batch = 4, .length = 20, .seed = 3}),
      two(passkey(), {.batch = 2, .length = 20, .seed = 3}), other(passkey(), {.batch = 4, .length = 20, .seed = 4});
  EXPECT_TRUE(at::equal(four.at(1).ids.narrow(0, 2, 2), two.at(3).ids));
  EXPECT_TRUE(at::equal(four.at(1).depths.narrow(0, 2, 2), two.at(3).depths));
  EXPECT_FALSE(at::equal(four.at(0).ids, other.at(0).ids));
  const auto data = open_dataset(passkey(), 20);
  EXPECT_EQ(data->tokenizer()->size(), 12);
  const auto validation = data->validation({.batch = 4, .length = 20});
  EXPECT_EQ(validation->count(), 4);
  EXPECT_EQ(validation->at(3).ids.size(0), 1);
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    EXPECT_FALSE(at::equal(data->train({.batch = 4, .length = 20}, seed)->at(0).ids, validation->at(0).ids));
}

class PasskeyInText : public testing::Test {
 protected:
  PasskeyInText() {
    for (int i = 0; i < 900; ++i) text_ += static_cast<char>('a' + i * i % 23);
    for (int i = 0; i < 400; ++i) text_ += static_cast<char>('A' + i * i % 23);
    prepare({.inputs = {folder_.write("text.txt", text_).string()},
             .out = folder_ / "data",
             .tokenizer = "bytes",
             .validation = 400.0 / 1300,
             .quiet = true});
  }
  DataConfig config() const {
    auto config = passkey();
    config.folder = (folder_ / "data").string();
    return config;
  }
  test::TemporaryFolder folder_;
  std::string text_;
};

TEST_F(PasskeyInText, HidesDigitsInAStretchOfText) {
  const std::int64_t length_N = 200;
  const auto data = open_dataset(config(), length_N);
  EXPECT_EQ(data->tokenizer()->size(), 256);
  const auto part = TokenData::open(folder_ / "data");
  const auto training = text_.substr(0, static_cast<std::size_t>(part.train_size())),
             validation = text_.substr(static_cast<std::size_t>(part.train_size()));
  for (const bool train : {true, false}) {
    const Dataset::Sizes sizes{.batch = 5, .length = length_N};
    const auto batches = train ? data->train(sizes, 1) : data->validation(sizes);
    std::set<std::string> keys;
    for (const std::int64_t index : {0, 1, 2}) {
      const auto batch = batches->at(index);
      for (std::int64_t row = 0; row < batch.ids.size(0); ++row) {
        std::string text, key;
        for (const auto id : list_of(batch.ids[row])) text += static_cast<char>(id);
        for (const auto id : list_of(batch.targets[row].narrow(0, length_N - 3, 3))) key += static_cast<char>(id);
        EXPECT_EQ(key.find_first_not_of("0123456789"), std::string::npos);
        keys.insert(key);
        const auto hidden = "\nThe pass key is " + key + ". Remember it.\n",
                   question = "\nWhat is the pass key? The pass key is " + key.substr(0, 2);
        const auto place = text.find(hidden);
        ASSERT_NE(place, std::string::npos) << text;
        ASSERT_TRUE(text.ends_with(question)) << text;
        const auto filler = text.substr(0, place) +
                            text.substr(place + hidden.size(), text.size() - place - hidden.size() - question.size());
        EXPECT_NE((train ? training : validation).find(filler), std::string::npos);
        EXPECT_DOUBLE_EQ(batch.depths[row].item<double>(),
                         static_cast<double>(place) / static_cast<double>(filler.size()));
        const auto distances = list_of(batch.distances[row]);
        EXPECT_EQ(distances.back(), static_cast<std::int64_t>(length_N - 3 - (place + 17)));
      }
    }
    EXPECT_GT(keys.size(), 8u);
  }
}

TEST_F(PasskeyInText, WhatCantBeIsNamed) {
  const auto mistake = [&](const DataConfig& config, std::int64_t length) {
    return message_of([&] { open_dataset(config, length)->validation({.batch = 2, .length = length}); });
  };
  EXPECT_NO_THROW(open_dataset(config(), 200)->validation({.batch = 2, .length = 200}));
  EXPECT_TRUE(holds(mistake(config(), 76), {"data.key_length is 3", "76"}));
  EXPECT_TRUE(holds(mistake(config(), 5000), {"validation part", "400 tokens", "leave data.folder out"}));
  auto wrong = config();
  wrong.folder = (folder_ / "nothing").string();
  EXPECT_TRUE(holds(mistake(wrong, 200), {"nothing"}));
}

TEST(Passkey, ImpossibleFieldsAreNamed) {
  const auto mistake = [](auto change, std::int64_t length = 20) {
    auto config = passkey();
    change(config);
    return message_of([&] { open_dataset(config, length)->train({.batch = 2, .length = length}, 1); });
  };
  EXPECT_NO_THROW(open_dataset(passkey(), 8)->train({.batch = 2, .length = 8}, 1));
  EXPECT_TRUE(holds(mistake([](auto&) {}, 7), {"data.key_length is 3", "8 positions", "length 7"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.key_length = 0; }), {"data.key_length is 0"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.key_length = 1 << 20; }), {"data.key_length is 1048576"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.depth = 1.5; }), {"data.depth is 1.5", "from 0 to 1"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.depth = std::nan(""); }), {"data.depth"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.keys = 0; }), {"data.keys is 0"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.values = 0; }), {"data.values is 0"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.scatter = true; }), {"data.scatter", "passkey"}));
  EXPECT_TRUE(holds(mistake([](auto& c) { c.order = DataOrder::sequential; }), {"data.order", "passkey"}));
  EXPECT_TRUE(holds(message_of([] {
                      open_dataset(passkey(), 20)->train({.batch = 4, .length = 20, .objective = Objective::masked}, 1);
                    }),
                    {"masked", "passkey"}));
}

}  // namespace
}  // namespace linformer
