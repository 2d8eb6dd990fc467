// Shape letters: S windows, N positions, H heads, G slots, R rows and C columns after binning.
#include "linformer/study/inspect.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "study/inspect_json.hpp"

namespace linformer {

at::Tensor cumulative_singular_values(const at::Tensor& matrices) {
  const auto sums = at::linalg_svdvals(matrices.to(at::kCPU, at::kDouble)).cumsum(-1);
  return sums / sums.narrow(-1, sums.size(-1) - 1, 1);
}

at::Tensor bin_sums(std::int64_t length, std::int64_t most) {
  const auto bins = std::min(length, most);
  auto selects = at::zeros({bins, length}, at::kDouble);
  for (std::int64_t bin = 0; bin < bins; ++bin)
    selects[bin].slice(0, bin * length / bins, (bin + 1) * length / bins).fill_(1);
  return selects;
}

namespace {

constexpr std::int64_t kPoints = 129;         // of a spectrum's curve
constexpr std::int64_t kMapOfPositions = 32;  // a side of an N×N map: there is one a head
constexpr std::int64_t kBins = 64;

at::Tensor bin_means(std::int64_t length, std::int64_t most) {
  const auto selects = bin_sums(length, most);
  return selects / selects.sum(1, true);
}

// Of one layer, summed over windows; undefined where the layer has no such thing or nobody asked.
struct LayerSums {
  at::Tensor cumulative_HN, map_HRC, slot_share_HN, reads_HGC;
  bool map_of_slots = false;
};

void add(at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; }

class Collector {
 public:
  Collector(const InspectSubject& subject, const InspectOptions& options, std::int64_t length)
      : subject_(subject), options_(options), length_(length), layers_(static_cast<std::size_t>(subject.layers)) {}

  void read(const at::Tensor& ids_1N) {
    subject_.weights(ids_1N, [&](std::int64_t layer, const AttentionWeights& weights) {
      see(layers_.at(static_cast<std::size_t>(layer)), weights);
    });
    ++windows_;
  }

  std::vector<json> lines() const {
    std::vector<json> lines;
    if (layers_.front().cumulative_HN.defined()) lines.push_back(spectrum());
    for (std::size_t i = 0; i < layers_.size(); ++i) add_layer(lines, static_cast<std::int64_t>(i), layers_[i]);
    return lines;
  }

 private:
  void see(LayerSums& sums, const AttentionWeights& weights) const {
    const auto wide = [](const at::Tensor& x) { return x.defined() ? x[0].to(at::kCPU, at::kDouble) : x; };
    const auto positions_HNN = wide(weights.positions), slots_HNG = wide(weights.slots),
               reads_HGN = wide(weights.reads);
    if (options_.spectrum && !subject_.has_slots) add(sums.cumulative_HN, cumulative_singular_values(positions_HNN));
    sums.map_of_slots = slots_HNG.defined() && slots_HNG.size(-1) > 0;
    if (options_.attention)
      add(sums.map_HRC, sums.map_of_slots ? map_of(slots_HNG, kBins) : map_of(positions_HNN, kMapOfPositions));
    if (!options_.slots) return;
    if (slots_HNG.defined() && positions_HNN.defined()) add(sums.slot_share_HN, slots_HNG.sum(-1));
    if (reads_HGN.defined()) add(sums.reads_HGC, projection_map(reads_HGN));
  }

  // Rows binned by means, columns by sums, so that a row of the map keeps the row's sum.
  static at::Tensor map_of(const at::Tensor& weights_HNC, std::int64_t most) {
    const auto rows = bin_means(weights_HNC.size(1), most), columns = bin_sums(weights_HNC.size(2), most);
    return at::matmul(at::matmul(rows, weights_HNC), columns.t());
  }

  json line(const char* type) const { return {{"type", type}, {"model", subject_.model}}; }
  json of_head(const char* type, std::int64_t layer, std::int64_t head) const {
    auto object = line(type);
    object["layer"] = layer;
    object["head"] = head;
    return object;
  }

  json spectrum() const {
    const auto rank = options_.rank > 0 ? options_.rank : std::max<std::int64_t>(length_ / 4, 1);
    const auto points = std::min(length_, kPoints);
    std::vector<std::int64_t> positions;  // counted from 1
    for (std::int64_t i = 0; i < points; ++i)
      positions.push_back(points == 1 ? 1 : 1 + (i * (length_ - 1) + (points - 1) / 2) / (points - 1));
    const auto index = at::tensor(positions, at::kLong) - 1;
    auto object = line("spectrum");
    object.update({{"length", length_},
                   {"layers", subject_.layers},
                   {"heads", subject_.heads},
                   {"causal", subject_.causal},
                   {"matrices", windows_},
                   {"positions", positions},
                   {"cumulative", json::array()},
                   {"slots", rank},
                   {"at_slots", json::array()}});
    for (const auto& layer : layers_) {
      const auto mean_HN = layer.cumulative_HN / static_cast<double>(windows_);
      object["cumulative"].push_back(linformer::to_json(mean_HN.index_select(1, index)));
      object["at_slots"].push_back(linformer::to_json(mean_HN.select(1, rank - 1)));
    }
    return object;
  }

  void add_layer(std::vector<json>& lines, std::int64_t layer, const LayerSums& sums) const {
    const auto mean = [&](const at::Tensor& sum) { return sum / static_cast<double>(windows_); };
    for (std::int64_t head = 0; head < subject_.heads; ++head) {
      if (sums.reads_HGC.defined()) {
        auto object = of_head("projection", layer, head);
        object.update({{"which", "key"}, {"kind", subject_.projection}, {"over", "text"}});
        put_matrix(object, mean(sums.reads_HGC)[head]);
        lines.push_back(std::move(object));
      }
      if (sums.slot_share_HN.defined()) lines.push_back(shares(layer, head, mean(sums.slot_share_HN)[head]));
      if (sums.map_HRC.defined()) {
        auto object = of_head("attention", layer, head);
        object["over"] = sums.map_of_slots ? "slots" : "positions";
        put_matrix(object, mean(sums.map_HRC)[head]);
        lines.push_back(std::move(object));
      }
    }
  }

  // Means over the queries that have slots to look at.
  json shares(std::int64_t layer, std::int64_t head, const at::Tensor& share_N) const {
    auto object = of_head("weights", layer, head);
    const auto first = std::min(subject_.first_with_slots, length_);
    const double share = first < length_ ? share_N.slice(0, first).mean().item<double>() : 0;
    object.update({{"slot_share", rounded(share)},
                   {"window_share", rounded(1 - share)},
                   {"first_query", first},
                   {"length", length_},
                   {"by_position", linformer::to_json(at::matmul(bin_means(length_, kBins), share_N))}});
    return object;
  }

  const InspectSubject& subject_;
  const InspectOptions& options_;
  std::int64_t length_, windows_ = 0;
  std::vector<LayerSums> layers_;
};

// What of the request this model has nothing for.
std::vector<std::string> remarks_on(const InspectSubject& subject, const InspectOptions& options, std::int64_t length) {
  std::vector<std::string> remarks;
  if (options.spectrum && subject.has_slots) {
    remarks.push_back(formatted(
        "{}: no spectrum, since the slots of a Linformer make no N×N attention matrix; give a softmax model for one",
        subject.model));
  }
  if (options.slots && !subject.has_slots)
    remarks.push_back(formatted("{}: no slots in it ({})", subject.model, subject.description));
  if (options.slots && subject.has_slots && length <= subject.first_with_slots) {
    remarks.push_back(
        formatted("windows of {} tokens: slots hold what is more than {} positions back, so that no query has any; "
                  "give a larger --length",
                  length, subject.first_with_slots));
  }
  return remarks;
}

}  // namespace

at::Tensor inspect_windows(const InspectSubject& subject, const std::vector<std::int64_t>& ids, std::int64_t length,
                           std::int64_t count) {
  const auto around = static_cast<std::int64_t>(subject.before.size() + subject.after.size());
  require(length > around && length <= subject.length, "length is {}; this model takes {} to {} tokens", length,
          around + 1, subject.length);
  require(count > 0, "windows is {}; expected 1 or more", count);
  const auto inside = length - around, there = static_cast<std::int64_t>(ids.size()) / inside;
  require(there > 0, "the text has {} tokens, a window {}: give a longer text, or a smaller --length", ids.size(),
          inside);
  const auto taken = std::min(count, there);
  std::vector<std::int64_t> all;
  for (std::int64_t window = 0; window < taken; ++window) {
    const auto from = ids.begin() + window * there / taken * inside;
    all.insert(all.end(), subject.before.begin(), subject.before.end());
    all.insert(all.end(), from, from + inside);
    all.insert(all.end(), subject.after.begin(), subject.after.end());
  }
  return at::tensor(all, at::kLong).view({taken, length});
}

Inspection inspect(const InspectSubject& subject, const at::Tensor& ids_SN, const std::string& text,
                   const InspectOptions& options) {
  const at::NoGradGuard no_grad;
  const auto length = ids_SN.size(1);
  require(options.rank >= 0 && options.rank <= length, "rank is {}; expected 1 to the length, {}", options.rank,
          length);
  require(options.attention || (options.spectrum && !subject.has_slots) || (options.slots && subject.has_slots),
          "nothing of what was asked for is in {} ({}): ask for {}", subject.model, subject.description,
          subject.has_slots ? "--slots or --attention" : "--spectrum or --attention");
  Inspection result{.lines = options.slots ? subject.projections : std::vector<json>{},
                    .remarks = remarks_on(subject, options, length)};
  Collector collector(subject, options, length);
  for (std::int64_t window = 0; window < ids_SN.size(0); ++window) {
    collector.read(ids_SN.narrow(0, window, 1));
    if (options.progress) options.progress(window + 1, ids_SN.size(0));
  }
  for (auto& line : collector.lines()) result.lines.push_back(std::move(line));
  for (auto& line : result.lines) line["text"] = text;
  return result;
}

}  // namespace linformer
