// Shape letters: B rows of a batch, N length, D pairs.
#include "linformer/data/recall.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "data/draw.hpp"
#include "data/free_places.hpp"
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

/// Where the pairs of a sequence and their queries stand: the place of each key.
struct Layout {
  std::vector<std::int64_t> pairs, queries;
};

Layout pairs_at_start(Draws& draws, std::int64_t pairs, std::int64_t length, double power) {
  const auto start = 2 * pairs;
  Layout layout{.pairs = {}, .queries = places_of(draws, pairs, (length - start) / 2, power)};
  for (auto& query : layout.queries) query = start + 2 * query;
  for (std::int64_t pair = 0; pair < pairs; ++pair) layout.pairs.push_back(2 * pair);
  return layout;
}

/// Σ g^(power − 1) of the first gaps; entry g − 1 has those of 1 to g.
std::vector<double> sums_of_weights(std::int64_t gaps, double power) {
  std::vector<double> sums(static_cast<std::size_t>(gaps));
  double sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = sum += std::pow(static_cast<double>(i + 1), power - 1);
  return sums;
}

/// Pairs anywhere. The sequence is `length` − `pairs` units, of which pairs take two places and all others one.
Layout scattered(Draws& draws, std::int64_t pairs, std::int64_t length, const std::vector<double>& sums) {
  const auto units = length - pairs;
  FreePlaces free(units);
  Layout layout;
  std::vector<std::int64_t> pairs_before(static_cast<std::size_t>(units) + 1);
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const auto rank = draws.below(free.size() - 1);  // one at least stays free behind it
    const auto behind = sums.begin() + (free.size() - 1 - rank);
    const auto gap = std::lower_bound(sums.begin(), behind - 1, draws.unit() * behind[-1]) - sums.begin();
    layout.pairs.push_back(free.take(rank));
    layout.queries.push_back(free.take(rank + gap));
    ++pairs_before[static_cast<std::size_t>(layout.pairs.back()) + 1];
  }
  std::partial_sum(pairs_before.begin(), pairs_before.end(), pairs_before.begin());
  for (auto* places : {&layout.pairs, &layout.queries}) {
    for (auto& place : *places) place += pairs_before[static_cast<std::size_t>(place)];
  }
  return layout;
}

}  // namespace

RecallBatches::RecallBatches(const DataConfig& config, std::int64_t batch, std::int64_t length, std::uint64_t seed,
                             std::int64_t limit)
    : config_(config), batch_(batch), length_(length), limit_(limit), seed_(scramble(seed ^ 0x726563616c6c)) {
  require(batch > 0, "batch is {}, expected 1 or more", batch);
  check(config, length);
  if (config.scatter) sums_of_weights_ = sums_of_weights(length - config.pairs, config.power);
}

std::int64_t RecallBatches::count() const { return batches_of(batch_, limit_); }

Batch RecallBatches::at(std::int64_t index) const {
  const auto rows = rows_of_batch("recall", index, batch_, limit_);
  const auto ids = at::empty({rows, length_}, at::kLong);
  Batch result{ids, at::full_like(ids, kIgnored), /*sparse=*/true, at::zeros_like(ids)};
  const auto vocabulary = config_.keys + config_.values, pairs = config_.pairs;
  for (std::int64_t row = 0; row < rows; ++row) {
    // Draws depend on the number of the sequence, so that another batch size gives the same sequences.
    Draws draws(seed_, index * batch_ + row, 0);
    auto* ids_N = result.ids.mutable_data_ptr<std::int64_t>() + row * length_;
    auto* targets_N = result.targets.mutable_data_ptr<std::int64_t>() + row * length_;
    auto* distances_N = result.distances.mutable_data_ptr<std::int64_t>() + row * length_;
    const auto keys = different(draws, pairs, config_.keys), values = different(draws, pairs, config_.values);
    const auto layout = config_.scatter ? scattered(draws, pairs, length_, sums_of_weights_)
                                        : pairs_at_start(draws, pairs, length_, config_.power);
    std::vector<bool> taken(static_cast<std::size_t>(vocabulary));
    for (const auto key : keys) taken[static_cast<std::size_t>(key)] = true;
    for (auto i = config_.scatter ? 0 : 2 * pairs; i < length_; ++i) {
      do ids_N[i] = draws.below(vocabulary);
      while (taken[static_cast<std::size_t>(ids_N[i])]);
    }
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      const auto at = static_cast<std::size_t>(pair);
      const auto place = layout.pairs[at], query = layout.queries[at], value = config_.keys + values[at];
      ids_N[place] = ids_N[query] = keys[at];
      ids_N[place + 1] = targets_N[query] = value;
      distances_N[query] = query - (place + 1);
    }
  }
  return result;
}

}  // namespace linformer
