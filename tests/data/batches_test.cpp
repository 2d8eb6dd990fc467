// Legend: B rows, N window length.
#include "linformer/data/batches.hpp"

#include <ATen/ATen.h>

#include <numeric>
#include <set>

#include "data/support.hpp"
#include "linformer/core/error.hpp"
#include "linformer/data/prepare.hpp"

namespace linformer {
namespace {

/// `tokens` ids in bytes, of which the last tenth validates.
TokenData byte_data(const test::TemporaryFolder& folder, std::int64_t tokens) {
  std::string text;
  std::mt19937_64 random(9);
  for (std::int64_t i = 0; i < tokens; ++i) text += static_cast<char>('0' + random() % 70);
  const auto out = folder.path() / ("out" + std::to_string(tokens));
  prepare({.inputs = {folder.write("text.txt", text).string()}, .out = out, .tokenizer = "bytes", .quiet = true});
  return TokenData::open(out);
}

TEST(TrainBatches, DependOnSeedAndIndexAlone) {
  const test::TemporaryFolder folder;
  const TokenData data = byte_data(folder, 1000);
  const TrainBatches batches(data, 3, 7, 42), same(data, 3, 7, 42), other(data, 3, 7, 43);
  const Batch fifth = batches.at(5);
  same.at(0);
  EXPECT_TRUE(at::equal(fifth.ids, same.at(5).ids));
  EXPECT_TRUE(at::equal(fifth.targets, same.at(5).targets));
  EXPECT_FALSE(at::equal(fifth.ids, batches.at(6).ids));
  EXPECT_FALSE(at::equal(fifth.ids, other.at(5).ids));
  EXPECT_FALSE(at::equal(fifth.ids[0], fifth.ids[1]));
}

TEST(TrainBatches, AreWindowsOfTheTrainingPartWithTargetsOnePositionLater) {
  const test::TemporaryFolder folder;
  const TokenData data = byte_data(folder, 60);
  std::vector<std::int64_t> train(static_cast<std::size_t>(data.train_size()));
  data.copy_train(0, data.train_size(), train.data());
  const std::int64_t length_N = 9;
  const TrainBatches batches(data, 2, length_N, 1);
  std::set<std::ptrdiff_t> starts;
  for (std::int64_t index = 0; index < 400; ++index) {
    const Batch batch = batches.at(index);
    ASSERT_EQ(batch.ids.sizes(), at::IntArrayRef({2, length_N}));
    for (std::int64_t row = 0; row < 2; ++row) {
      const auto* ids_N = batch.ids[row].const_data_ptr<std::int64_t>();
      const auto* targets_N = batch.targets[row].const_data_ptr<std::int64_t>();
      const auto place = std::search(train.begin(), train.end(), ids_N, ids_N + length_N);
      ASSERT_LE(place + length_N + 1, train.end());
      ASSERT_TRUE(std::equal(targets_N, targets_N + length_N, place + 1));
      starts.insert(place - train.begin());
    }
  }
  EXPECT_EQ(static_cast<std::int64_t>(starts.size()), data.train_size() - length_N);  // every window, the last one too
}

TEST(TrainBatches, TooLittleTextIsAnError) {
  const test::TemporaryFolder folder;
  const TokenData data = byte_data(folder, 30);
  EXPECT_EQ(data.train_size(), 27);
  EXPECT_NO_THROW(TrainBatches(data, 1, 26, 0).at(3));
  EXPECT_THROW(TrainBatches(data, 1, 27, 0), UserError);
  EXPECT_THROW(TrainBatches(data, 0, 5, 0), UserError);
  EXPECT_THROW(TrainBatches(data, 1, 0, 0), UserError);
}

TEST(SequentialBatches, ReadEachStretchFromStartToEnd) {
  const test::TemporaryFolder folder;
  const TokenData data = byte_data(folder, 200);
  ASSERT_EQ(data.train_size(), 180);
  const SequentialBatches batches(data, 4, 11);  // stretches of 45 tokens: 4 windows
  for (std::int64_t row = 0; row < 4; ++row) {
    std::vector<std::int64_t> stretch(45);
    data.copy_train(45 * row, 45, stretch.data());
    for (std::int64_t index = 0; index < 9; ++index) {
      EXPECT_EQ(batches.continues(index), index % 4 != 0);
      const auto batch = batches.at(index);
      const auto* first = stretch.data() + 11 * (index % 4);
      const auto *ids_N = batch.ids[row].const_data_ptr<std::int64_t>(),
                 *targets_N = batch.targets[row].const_data_ptr<std::int64_t>();
      EXPECT_TRUE(std::equal(first, first + 11, ids_N));
      EXPECT_TRUE(std::equal(first + 1, first + 12, targets_N));
    }
  }
  EXPECT_NO_THROW(SequentialBatches(data, 4, 44));
  EXPECT_THROW(SequentialBatches(data, 4, 45), UserError);
  EXPECT_FALSE(TrainBatches(data, 4, 11, 1).continues(1));
}

TEST(ValidationBatches, CoverEachTokenButTheFirstOnce) {
  const test::TemporaryFolder folder;
  for (const std::int64_t tokens : {20, 630, 640, 650, 710}) {
    const TokenData data = byte_data(folder, tokens);
    std::vector<std::int64_t> validation(static_cast<std::size_t>(data.validation_size()));
    data.copy_validation(0, data.validation_size(), validation.data());
    for (const auto& [batch_B, length_N] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {2, 7}, {3, 21}, {4, 500}}) {
      const ValidationBatches batches(data, batch_B, length_N);
      std::vector<std::int64_t> ids, targets;
      for (std::int64_t index = 0; index < batches.count(); ++index) {
        const Batch batch = batches.at(index);
        ASSERT_LE(batch.ids.size(0), batch_B);
        ASSERT_EQ(batch.ids.size(1), length_N);
        for (std::int64_t i = 0; i < batch.ids.numel(); ++i) {
          const std::int64_t target = batch.targets.view(-1)[i].item<std::int64_t>();
          if (target == -100) continue;
          targets.push_back(target);
          ids.push_back(batch.ids.view(-1)[i].item<std::int64_t>());
        }
      }
      EXPECT_EQ(ids, std::vector<std::int64_t>(validation.begin(), validation.end() - 1));
      EXPECT_EQ(targets, std::vector<std::int64_t>(validation.begin() + 1, validation.end()));
      EXPECT_THROW(batches.at(batches.count()), UserError);
      EXPECT_THROW(batches.at(-1), UserError);
    }
  }
  EXPECT_THROW(ValidationBatches(byte_data(folder, 10), 1, 1), UserError);
}

}  // namespace
}  // namespace linformer
