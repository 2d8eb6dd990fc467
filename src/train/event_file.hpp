// TensorBoard event files: numbers in TFRecord frames, written without TensorFlow or protobuf.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace linformer {

/// The masked CRC-32C (Castagnoli) with which TFRecords are checked.
std::uint32_t masked_crc32c(std::string_view bytes);

struct ScalarEvent {
  double time = 0;  ///< seconds since 1970
  std::int64_t step = 0;
  std::vector<std::pair<std::string, double>> values;  ///< tag and value (stored as float32)
};
/// The record that starts every event file, and a record of numbers. Both are complete frames; append them to the file.
std::string event_file_header(double time);
std::string event_record(const ScalarEvent& event);

}  // namespace linformer
