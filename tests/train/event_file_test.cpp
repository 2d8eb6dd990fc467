// Event files and metrics.jsonl. What TensorBoard reads in them: tests/python/test_train.py.
#include "train/event_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <csignal>
#include <cstring>

#include "core/support.hpp"
#include "linformer/core/file.hpp"
#include "train/metrics.hpp"

namespace linformer {
namespace {

std::uint32_t masked(std::uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

template <class Integer>
Integer integer_at(const std::string& bytes, std::size_t offset) {
  Integer value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// The records of an event file; a failed test when a length or checksum is wrong.
std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < file.size();) {
    const auto length = integer_at<std::uint64_t>(file, at);
    EXPECT_EQ(integer_at<std::uint32_t>(file, at + 8), masked_crc32c(file.substr(at, 8)));
    records.push_back(file.substr(at + 12, length));
    EXPECT_EQ(integer_at<std::uint32_t>(file, at + 12 + length), masked_crc32c(records.back()));
    at += 16 + length;
  }
  return records;
}

// RFC 3720, B.4, and the usual check value.
TEST(Crc32c, KnownVectors) {
  EXPECT_EQ(masked_crc32c(""), masked(0));
  EXPECT_EQ(masked_crc32c("123456789"), masked(0xe3069283u));
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), masked(0x8a9136aau));
  EXPECT_EQ(masked_crc32c(std::string(32, '\xff')), masked(0x62a8ab43u));
}

TEST(EventFile, HeaderNamesTheVersion) {
  const auto records = records_of(event_file_header(1.5));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].substr(0, 1), "\x09");  // field 1, eight bytes
  EXPECT_EQ(integer_at<double>(records[0], 1), 1.5);
  EXPECT_EQ(records[0].substr(9),
            "\x1a\x0d"
            "brain.Event:2");
}

TEST(EventFile, RecordHoldsStepTagAndValue) {
  const auto records = records_of(event_record({.time = 2, .step = 300, .values = {{"loss", 0.5}}}));
  ASSERT_EQ(records.size(), 1u);
  // step: field 2, varint 300; summary: field 5, 13 bytes; value: field 1, 11 bytes; tag: field 1; simple_value: field
  // 2, 0.5f.
  EXPECT_EQ(records[0].substr(9), std::string("\x10\xac\x02"
                                              "\x2a\x0d"
                                              "\x0a\x0b"
                                              "\x0a\x04"
                                              "loss"
                                              "\x15\x00\x00\x00\x3f",
                                              18));
}

TEST(MetricsLog, WritesBothFiles) {
  const test::TemporaryFolder folder;
  {
    MetricsLog log(folder.path(), 0);
    log.write({{"step", 1}, {"loss", 2.5}});
    log.write({{"step", 2}, {"loss", 2.25}, {"validation_loss", 3}});
  }
  const auto text = read_file(folder / "metrics.jsonl");
  const auto second = parse_json(text.substr(text.find('\n') + 1), "second");
  EXPECT_EQ(second["loss"], 2.25);
  EXPECT_GT(second["time"], 1e9);
  const auto events = std::filesystem::directory_iterator(folder / "tensorboard")->path();
  EXPECT_EQ(records_of(read_file(events)).size(), 3u);
}

TEST(MetricsLog, ResumeCutsLaterStepsHalfLinesAndNonsense) {
  const test::TemporaryFolder folder;
  folder.write("metrics.jsonl",
               "{\"step\":1,\"loss\":3}\nnonsense\n{\"loss\":3}\n{\"step\":\"x\"}\n{\"step\":2,\"loss\":2}\n{\"step\":"
               "3,\"loss\":1}\n{\"step\":2,\"lo");
  std::filesystem::create_directory(folder / "tensorboard");
  folder.write("tensorboard/events.out.tfevents.17.linformer", "old");
  folder.write("tensorboard/mine", "mine");
  {
    const MetricsLog log(folder.path(), 2);
  }
  EXPECT_EQ(read_file(folder / "metrics.jsonl"), "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n");
  EXPECT_EQ(read_file(folder / "tensorboard/mine"), "mine");
  std::size_t event_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "tensorboard")) {
    if (entry.path().filename() == "mine") continue;
    ++event_files;
    EXPECT_EQ(records_of(read_file(entry.path())).size(), 3u);
  }
  EXPECT_EQ(event_files, 1u);
}

TEST(MetricsLog, AFullDiskIsAnError) {
  const test::TemporaryFolder folder;
  MetricsLog log(folder.path(), 0);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{60, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto message = test::message_of([&] {
    for (int step = 1; step < 9; ++step) log.write({{"step", step}});
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(test::holds(message, {folder.path().string(), "File too large", "can be resumed"}));
}

}  // namespace
}  // namespace linformer
