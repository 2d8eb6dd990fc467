// Shape letters: B rows of a batch, N length, D pairs.
#include "linformer/data/recall.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "data/draw.hpp"
#include "linformer/core/error.hpp"

namespace linformer {
namespace {

/// `count` different numbers below `bound`, in random order: the first steps of a Fisher–Yates shuffle.
std::vector<std::int64_t> different(Draws& draws, std::int64_t count, std::int64_t bound) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(bound));
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t i = 0; i < count; ++i)
    std::swap(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(i + draws.below(bound - i))]);
  all.resize(static_cast<std::size_t>(count));
  return all;
}

/// Draws `count` different places out of `places`, one after the other, with weight (place + 1)^(power − 1). Each place
/// gets a random waiting time, exponentially distributed with its weight as rate; the shortest ones are taken
/// (Efraimidis and Spirakis 2006).
std::vector<std::int64_t> places_of(Draws& draws, std::int64_t count, std::int64_t places, double power) {
  std::vector<std::pair<double, std::int64_t>> waits;
  for (std::int64_t place = 0; place < places; ++place) {
    waits.emplace_back(-std::log(draws.unit()) * std::pow(static_cast<double>(place + 1), 1 - power), place);
  }
  std::partial_sort(waits.begin(), waits.begin() + count, waits.end());
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i) chosen.push_back(waits[static_cast<std::size_t>(i)].second);
  return chosen;
}

}  // namespace

RecallBatches::RecallBatches(const DataConfig& config, std::int64_t batch, std::int64_t length, std::uint64_t seed,
                             std::int64_t limit)
    : config_(config), batch_(batch), length_(length), limit_(limit), seed_(scramble(seed ^ 0x726563616c6c)) {
  require(batch > 0, "batch is {}, expected 1 or more", batch);
  check(config, length);
}

std::int64_t RecallBatches::count() const { return limit_ < 0 ? -1 : (limit_ + batch_ - 1) / batch_; }

Batch RecallBatches::at(std::int64_t index) const {
  require(limit_ < 0 || (index >= 0 && index < count()), "recall batch {} asked, there are {}", index, count());
  const auto rows = limit_ < 0 ? batch_ : std::min(batch_, limit_ - index * batch_);
  const auto ids = at::empty({rows, length_}, at::kLong);
  Batch result{ids, at::full_like(ids, kIgnored), /*sparse=*/true, at::zeros_like(ids)};
  const auto vocabulary = config_.keys + config_.values, pairs = config_.pairs, start = 2 * pairs;
  for (std::int64_t row = 0; row < rows; ++row) {
    // Draws depend on the number of the sequence, so that another batch size gives the same sequences.
    Draws draws(seed_, index * batch_ + row, 0);
    auto* ids_N = result.ids.mutable_data_ptr<std::int64_t>() + row * length_;
    auto* targets_N = result.targets.mutable_data_ptr<std::int64_t>() + row * length_;
    auto* distances_N = result.distances.mutable_data_ptr<std::int64_t>() + row * length_;
    const auto keys = different(draws, pairs, config_.keys), values = different(draws, pairs, config_.values);
    const auto places = places_of(draws, pairs, (length_ - start) / 2, config_.power);
    std::vector<bool> taken(static_cast<std::size_t>(vocabulary));
    for (const auto key : keys) taken[static_cast<std::size_t>(key)] = true;
    for (auto i = start; i < length_; ++i) {
      do ids_N[i] = draws.below(vocabulary);
      while (taken[static_cast<std::size_t>(ids_N[i])]);
    }
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      const auto at = static_cast<std::size_t>(pair);
      const auto query = start + 2 * places[at], value = config_.keys + values[at];
      ids_N[2 * pair] = ids_N[query] = keys[at];
      ids_N[2 * pair + 1] = targets_N[query] = value;
      distances_N[query] = query - (2 * pair + 1);
    }
  }
  return result;
}

}  // namespace linformer
