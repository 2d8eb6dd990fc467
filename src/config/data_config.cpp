#include "linformer/config/data_config.hpp"

#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kMostCount = std::int64_t{1} << 24, kLongestSequence = std::int64_t{1} << 30;

void check_count(std::string_view name, std::int64_t value) {
  require(value >= 1 && value <= kMostCount, "{} is {}, expected a whole number from 1 to {}", name, value, kMostCount);
}

// Pairs at the start leave every other position behind them to queries; scattered ones leave any position.
void check_recall(const DataConfig& config, std::int64_t length) {
  require(config.folder.empty(), "data.folder is {}, but data.source = recall is generated; leave one of them out",
          config.folder);
  check_count("data.pairs", config.pairs);
  require(config.pairs <= config.keys,
          "data.pairs is {}, but there are only data.keys = {} different keys; use at most that many", config.pairs,
          config.keys);
  require(config.pairs <= config.values,
          "data.pairs is {}, but there are only data.values = {} different values; use at most that many", config.pairs,
          config.values);
  const std::int64_t each = config.scatter ? 3 : 4;
  require(
      each * config.pairs <= length,
      "data.pairs is {}: their {} tokens and a query{} for each need {} positions, more than model.length = {}; use "
      "at most data.pairs = {}",
      config.pairs, 2 * config.pairs, config.scatter ? "" : " with its gap", each * config.pairs, length,
      length / each);
  require(std::isfinite(config.power) && std::abs(config.power) <= 16,
          "data.power is {}, expected a number from -16 to 16, such as 0.01", config.power);
}

void check_passkey(const DataConfig& config) {
  check_count("data.key_length", config.key_length);
  if (config.depth)
    require(*config.depth >= 0 && *config.depth <= 1,
            "data.depth is {}, expected the share of the filler that stands before the key, from 0 to 1, or auto",
            std::isnan(*config.depth) ? std::string("none") : formatted("{}", *config.depth));
}

}  // namespace

void check(const DataConfig& config, std::int64_t length) {
  require(!config.scatter || config.source == DataSource::recall,
          "data.scatter is true, but data.source = {} has no pairs to scatter; leave it false, or set data.source to "
          "recall",
          enum_name(config.source));
  if (config.source == DataSource::text) {
    require(!config.folder.empty(),
            "data.folder is missing: expected the folder that `linformer prepare` made (--data)");
    return;
  }
  require(config.order == DataOrder::random,
          "data.order is sequential, but data.source = {} has no text that goes on; leave it random",
          enum_name(config.source));
  require(length <= kLongestSequence, "a sequence of {} tokens can't be made; use at most {}", length,
          kLongestSequence);
  check_count("data.keys", config.keys);
  check_count("data.values", config.values);
  check_count("data.sequences", config.sequences);
  config.source == DataSource::recall ? check_recall(config, length) : check_passkey(config);
  require(config.seed >= 0, "data.seed is {}, expected 0 or more", config.seed);
}

}  // namespace linformer
