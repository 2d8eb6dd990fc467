// Changes token t and looks for outputs before t that move. Shape letters: B rows at once, N length, X channels.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <random>

#include "linformer/core/error.hpp"
#include "study/audit_subject.hpp"

namespace linformer::study {
namespace {

constexpr std::int64_t kFewest = 8, kMost = 512;  // tokens changed in one text
constexpr int kReplacements = 4;                  // ids tried where one has no effect at all

std::int64_t changes_of(const AuditSubject& subject, std::int64_t length) {
  // Short texts are checked at every token. Long texts of large models are checked at fewer, within about 2e10
  // multiply-adds.
  const auto tokens =
      std::clamp<std::int64_t>(20'000'000'000 / std::max<std::int64_t>(subject.parameter_count(), 1), 2048, 8192);
  return std::clamp(tokens / length, kFewest, kMost);
}

// The text as it is, in row 0, and with one token replaced in each other row.
class Comparison {
 public:
  using Outputs = std::function<at::Tensor(const at::Tensor&)>;
  /// `least_range` is a lower limit for the outputs' range. A text that repeats one thing would only have the range of
  /// rounding.
  Comparison(at::Tensor ids_N, Outputs outputs, double least_range)
      : ids_N_(std::move(ids_N)), outputs_(std::move(outputs)) {
    const auto base_NX = outputs_(ids_N_.unsqueeze(0))[0];
    require(!at::isnan(base_NX).any().item<bool>(),
            "the model's outputs hold NaN: its weights are damaged or its training has diverged");
    range_ = std::max(range_of(base_NX), least_range);
    require(range_ > 0,
            "the model gives the same outputs at all {} positions: it does not read its text, so there is nothing to "
            "audit. Audit a model whose output layer is not zero",
            ids_N_.size(0));
    const auto again = differences(outputs_(ids_N_.unsqueeze(0))[0], base_NX).max().item<double>() / range_;
    require(again <= change_threshold(base_NX.scalar_type()),
            "the model gives other outputs for the same ids the second time (by {:.2g} of their range): save it with "
            "dropout off, in eval mode",
            again);
    rows_ = std::clamp<std::int64_t>((std::int64_t{1} << 22) / base_NX.numel(), 1, 32);
  }

  std::int64_t rows() const { return rows_; }
  double range() const { return range_; }
  /// (changed.size(), N): how far each output moves, as a share of their range.
  at::Tensor moved(const std::vector<std::int64_t>& changed, const std::vector<std::int64_t>& ids) const {
    auto batch_BN = ids_N_.repeat({static_cast<std::int64_t>(changed.size()) + 1, 1});
    for (std::size_t i = 0; i < changed.size(); ++i) batch_BN[static_cast<std::int64_t>(i) + 1][changed[i]] = ids[i];
    const auto out_BNX = outputs_(batch_BN);
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 1; row < out_BNX.size(0); ++row) rows.push_back(differences(out_BNX[row], out_BNX[0]));
    return at::stack(rows) / range_;
  }
  std::int64_t id_at(std::int64_t position) const { return ids_N_[position].item<std::int64_t>(); }

 private:
  at::Tensor ids_N_;
  Outputs outputs_;
  double range_ = 0;
  std::int64_t rows_ = 1;
};

struct Found {
  std::vector<double> by_distance;
  std::optional<AuditLeak> first;
  std::int64_t effective = 0;  // changes that moved something, before or after

  void add(std::int64_t changed, const double* moved_N, std::int64_t length, double threshold) {
    by_distance.resize(std::max(by_distance.size(), static_cast<std::size_t>(length)), 0.0);
    for (std::int64_t seen = 0; seen < changed; ++seen) {
      auto& largest = by_distance[static_cast<std::size_t>(changed - seen)];
      largest = std::max(largest, moved_N[seen]);
      if (moved_N[seen] > threshold && !first) first = AuditLeak{length, changed, seen, moved_N[seen]};
    }
    effective += std::any_of(moved_N, moved_N + length, [](double moved) { return moved > 0; });
  }
};

// Replaces the token by another id. A model may have several ids with the same embedding, so if the first one changes
// nothing, others are tried.
void change_each(const Comparison& comparison, const AuditContext& context, std::vector<std::int64_t> positions,
                 std::int64_t length, double threshold, std::uint64_t seed, Found& found) {
  std::mt19937_64 random(seed);
  const auto others = static_cast<std::uint64_t>(context.subject.vocabulary() - 1);
  for (int attempt = 0; attempt < kReplacements && !positions.empty(); ++attempt) {
    std::vector<std::int64_t> idle;
    for (std::size_t from = 0; from < positions.size(); from += static_cast<std::size_t>(comparison.rows())) {
      const auto until = std::min(positions.size(), from + static_cast<std::size_t>(comparison.rows()));
      const std::vector<std::int64_t> some(positions.begin() + static_cast<std::ptrdiff_t>(from),
                                           positions.begin() + static_cast<std::ptrdiff_t>(until));
      std::vector<std::int64_t> ids;
      for (const auto position : some) {
        const auto drawn = static_cast<std::int64_t>(random() % others);
        ids.push_back(drawn < comparison.id_at(position) ? drawn : drawn + 1);
      }
      const auto moved = comparison.moved(some, ids).contiguous();
      for (std::size_t i = 0; i < some.size(); ++i) {
        const auto before = found.effective;
        found.add(some[i], moved.const_data_ptr<double>() + static_cast<std::int64_t>(i) * length, length, threshold);
        if (found.effective == before) idle.push_back(some[i]);
      }
      context.step("changing tokens");
    }
    positions = std::move(idle);
  }
}

// Distances 1 to 8, and then ranges that become wider and wider.
std::vector<AuditDistance> thinned(const std::vector<double>& by_distance) {
  std::vector<AuditDistance> entries;
  const auto count = static_cast<std::int64_t>(by_distance.size());
  for (std::int64_t distance = 1; distance < count;) {
    const auto next = std::min(count, distance + std::max<std::int64_t>(1, distance / 8));
    entries.push_back({distance, *std::max_element(by_distance.begin() + distance, by_distance.begin() + next)});
    distance = next;
  }
  return entries;
}

}  // namespace

void check_changes(const AuditContext& context, AuditPass& pass) {
  const c10::NoGradGuard no_grad;
  Found found;
  auto seed = context.options.seed;
  for (const auto length : pass.lengths) {
    std::vector<at::Tensor> texts{random_ids(context.subject, length, ++seed)};
    if (has_text(context.options, length)) texts.push_back(text_ids(context.options, length, ++seed));
    double range = 0;
    for (const auto& text : texts) {
      const Comparison comparison(
          text, [&](const at::Tensor& ids_BN) { return context.subject.outputs(ids_BN); }, range);
      range = comparison.range();
      const auto positions = spread_positions(length, changes_of(context.subject, length), ++seed);
      pass.changes += static_cast<std::int64_t>(positions.size());
      change_each(comparison, context, positions, length, pass.threshold, ++seed, found);
    }
  }
  require(found.effective > 0,
          "no change of a token altered any output: the model does not read its text, so there is nothing to audit");
  pass.first_leak = found.first;
  pass.by_distance = thinned(found.by_distance);
  for (const auto& entry : pass.by_distance) pass.largest_change = std::max(pass.largest_change, entry.change);
}

void check_layers(const AuditContext& context, AuditPass& pass) {
  const c10::NoGradGuard no_grad;
  constexpr std::int64_t kChanges = 8;
  const auto length = pass.first_leak ? pass.first_leak->length : pass.lengths[pass.lengths.size() / 2];
  const auto seed = context.options.seed + 17;
  auto positions = spread_positions(length, kChanges, seed);
  if (pass.first_leak) positions.push_back(pass.first_leak->changed);
  for (std::int64_t layer = 1; layer <= context.subject.layers(); ++layer) {
    Found found;
    const Comparison comparison(
        random_ids(context.subject, length, seed),
        [&](const at::Tensor& ids_BN) { return context.subject.outputs_after(layer, ids_BN); }, 0);
    change_each(comparison, context, positions, length, pass.threshold, seed, found);
    pass.by_layer.push_back(*std::max_element(found.by_distance.begin(), found.by_distance.end()));
  }
}

}  // namespace linformer::study
