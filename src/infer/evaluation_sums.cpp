#include "infer/evaluation_sums.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "linformer/data/batches.hpp"

namespace linformer {
namespace {

double share(std::int64_t part, std::int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

}  // namespace

void Answers::add(const at::Tensor& right_Q, const at::Tensor& distances_Q) {
  const auto right = right_Q.cpu().contiguous();
  for (std::int64_t i = 0; i < right.numel(); ++i) {
    auto& [queries, answered] =
        counts_.at(static_cast<std::size_t>(distances_Q.const_data_ptr<std::int64_t>()[i] / range_));
    ++queries;
    answered += right.const_data_ptr<bool>()[i];
  }
}

void Answers::report(Evaluation& result) const {
  std::int64_t all = 0, all_answered = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    const auto [queries, answered] = counts_[i];
    all += queries, all_answered += answered;
    const auto first = static_cast<std::int64_t>(i) * range_;
    if (queries > 0)
      result.accuracy_by_distance.push_back({first, first + range_ - 1, queries, share(answered, queries)});
  }
  if (all > 0) result.accuracy = share(all_answered, all);
}

void Keys::add(const at::Tensor& right_Q, const at::Tensor& targets_BN) {
  const auto rows_Q = targets_BN.ne(kIgnored).nonzero().select(1, 0).contiguous();
  const auto right = right_Q.cpu().contiguous();
  asked_.resize(static_cast<std::size_t>(targets_BN.size(0)));
  for (std::int64_t i = 0; i < right.numel(); ++i) {
    auto& key = asked_[static_cast<std::size_t>(rows_Q.const_data_ptr<std::int64_t>()[i])];
    ++key.tokens;
    key.right += right.const_data_ptr<bool>()[i];
  }
}

void Keys::end_batch(const at::Tensor& depths_B) {
  for (std::size_t row = 0; row < asked_.size(); ++row) {
    const auto depth = depths_B.const_data_ptr<double>()[row];
    const auto range = std::min(static_cast<std::int64_t>(depth * kRanges), kRanges - 1);
    auto& sum = sums_.at(static_cast<std::size_t>(range));
    ++sum.keys;
    sum.tokens += asked_[row].tokens, sum.right += asked_[row].right;
    sum.found += asked_[row].right == asked_[row].tokens;
  }
  asked_.clear();
}

void Keys::report(Evaluation& result) const {
  std::int64_t keys = 0, found = 0;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const auto& sum = sums_[i];
    if (sum.keys == 0) continue;
    keys += sum.keys, found += sum.found;
    result.accuracy_by_depth.push_back({.from = static_cast<double>(i) / kRanges,
                                        .to = static_cast<double>(i + 1) / kRanges,
                                        .keys = sum.keys,
                                        .accuracy = share(sum.right, sum.tokens),
                                        .found = share(sum.found, sum.keys)});
  }
  if (keys > 0) result.found = share(found, keys);
}

void Octaves::end_batch() {
  for (const auto& window : windows_) {
    if (window.size() > sums_.size()) sums_.resize(window.size());
    for (std::size_t i = 0; i < window.size(); ++i) sums_[i].add(window[i]);
  }
  windows_.clear();
}

std::vector<PositionLoss> Octaves::losses(std::int64_t length) const {
  std::vector<PositionLoss> found;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const auto& sum = sums_[i];
    if (sum.targets == 0) continue;
    const auto mean = sum.loss / static_cast<double>(sum.targets);
    found.push_back({.from = i == 0 ? 0 : kFirst << (i - 1),
                     .to = std::min(length, kFirst << i) - 1,
                     .tokens = sum.targets,
                     .loss = mean,
                     .standard_error = sum.error(mean)});
  }
  return found;
}

void Octaves::Sum::add(const Score& window) {
  if (window.targets == 0) return;
  const auto count = static_cast<double>(window.targets);
  loss += window.loss, squares += window.loss * window.loss;
  products += window.loss * count, counts += count * count;
  targets += window.targets, ++windows;
}

// Windows are weighted by their targets: the last one may be shorter. A spread that is NaN stays NaN: max() returns its
// first argument then.
std::optional<double> Octaves::Sum::error(double mean) const {
  if (windows < 2) return std::nullopt;
  const auto n = static_cast<double>(windows), all = static_cast<double>(targets);
  const auto spread = std::max(squares - 2 * mean * products + mean * mean * counts, 0.0);
  return std::sqrt(spread * n / (n - 1)) / all;
}

}  // namespace linformer
