#include "linformer/config/data_config.hpp"

#include <cmath>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kMostOfRecall = std::int64_t{1} << 24;

void check_count(std::string_view name, std::int64_t value) {
  require(value >= 1 && value <= kMostOfRecall, "{} is {}, expected a whole number from 1 to {}", name, value,
          kMostOfRecall);
}

}  // namespace

void check(const DataConfig& config, std::int64_t length) {
  if (config.source == DataSource::text) {
    require(!config.folder.empty(),
            "data.folder is missing: expected the folder that `linformer prepare` made (--data)");
    return;
  }
  require(config.folder.empty(), "data.folder is {}, but data.source = recall is generated; leave one of them out",
          config.folder);
  require(config.order == DataOrder::random,
          "data.order is sequential, but data.source = recall has no text that goes on; leave it random");
  check_count("data.pairs", config.pairs);
  check_count("data.keys", config.keys);
  check_count("data.values", config.values);
  check_count("data.sequences", config.sequences);
  require(config.pairs <= config.keys,
          "data.pairs is {}, but there are only data.keys = {} different keys; use at most that many", config.pairs,
          config.keys);
  require(config.pairs <= config.values,
          "data.pairs is {}, but there are only data.values = {} different values; use at most that many", config.pairs,
          config.values);
  require(4 * config.pairs <= length,
          "data.pairs is {}: their {} tokens and a query with its gap for each need {} positions, more than "
          "model.length = {}; use at most "
          "data.pairs = {}",
          config.pairs, 2 * config.pairs, 4 * config.pairs, length, length / 4);
  require(std::isfinite(config.power) && std::abs(config.power) <= 16,
          "data.power is {}, expected a number from -16 to 16, such as 0.01", config.power);
  require(config.seed >= 0, "data.seed is {}, expected 0 or more", config.seed);
}

}  // namespace linformer
