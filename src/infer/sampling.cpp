#include "linformer/infer/sampling.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

// A total order, so that the kept tokens don't depend on how a library's sort treats ties.
bool likelier(const Candidate& a, const Candidate& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
}

double mass(std::span<const Candidate> candidates) {
  return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                         [](double sum, const Candidate& candidate) { return sum + candidate.probability; });
}

// The work is cut into interleaved parts, so that the compiler can keep each part in one lane of a vector.
template <class Number>
Number largest(std::span<const Number> values) {
  constexpr std::size_t lanes = 64 / sizeof(Number);
  std::array<Number, lanes> top;
  std::array<Number, lanes> rest{};  // 0, or NaN as soon as one of the lane was NaN
  top.fill(-std::numeric_limits<Number>::infinity());
  const auto take = [&](std::size_t lane, Number value) {
    top[lane] = top[lane] < value ? value : top[lane];
    rest[lane] = value == value ? rest[lane] : value;
  };
  const auto whole = values.size() / lanes * lanes;
  for (std::size_t i = 0; i < whole; i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) take(lane, values[i + lane]);
  }
  for (auto i = whole; i < values.size(); ++i) take(i - whole, values[i]);
  const Number result = *std::max_element(top.begin(), top.end());
  require(std::accumulate(rest.begin(), rest.end(), Number{0}) == 0 && std::isfinite(result),
          "the model's logits are not finite: its weights are damaged or training has diverged; use an "
          "earlier checkpoint");
  return result;
}

template <class Number>
std::int64_t likeliest(std::span<const Number> logits_V) {
  return std::find(logits_V.begin(), logits_V.end(), largest(logits_V)) - logits_V.begin();
}

void penalise(std::span<double> logits_V, double penalty, std::span<const std::int64_t> seen) {
  if (penalty == 1) return;
  for (const auto id : seen) {
    require(id >= 0 && static_cast<std::size_t>(id) < logits_V.size(), "seen id {}: outside the vocabulary of {} ids",
            id, logits_V.size());
    double& logit = logits_V[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

// Replaces the logits by exp((logits − max)/temperature), not normalised. The maximum is subtracted first, so a tiny
// temperature can't cause an overflow.
void to_weights(std::vector<double>& logits_V, double temperature) {
  const double maximum = largest(std::span<const double>(logits_V));
  const auto tensor = at::from_blob(logits_V.data(), {static_cast<std::int64_t>(logits_V.size())}, at::kDouble);
  // In pieces that LibTorch doesn't spread over its threads, which would then spin for a while and hold up the
  // decoder's own.
  for (const auto& piece : tensor.split(16384)) piece.sub_(maximum).div_(temperature).exp_();
}

// Finds the k likeliest in one pass. Ids come in rising order, so a later id replaces the k-th only when it is strictly
// likelier.
std::vector<Candidate> top_k(std::span<const double> weights_V, std::size_t k) {
  std::vector<Candidate> kept;
  const std::size_t room = 2 * k + 256;
  kept.reserve(room);
  double threshold = -1;
  const auto shrink = [&] {
    if (kept.size() <= k) return;
    std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(k) - 1, kept.end(), likelier);
    kept.resize(k);
    threshold = kept.back().probability;
  };
  for (std::size_t id = 0; id < weights_V.size(); ++id) {
    if (weights_V[id] <= threshold) continue;
    kept.push_back({static_cast<std::int64_t>(id), weights_V[id]});
    if (kept.size() == room) shrink();
  }
  shrink();
  return kept;
}

std::vector<Candidate> all(std::span<const double> weights_V) {
  std::vector<Candidate> kept(weights_V.size());
  for (std::size_t id = 0; id < kept.size(); ++id) kept[id] = {static_cast<std::int64_t>(id), weights_V[id]};
  return kept;
}

// Finds the smallest set of likeliest tokens whose weight reaches `share` of the whole. It halves a range again and
// again instead of sorting.
void keep_top_p(std::vector<Candidate>& kept, double share) {
  const double total = mass(kept);
  // Rounding must not miss a share that the true probabilities reach exactly.
  const double target = share * total * (1 - 1e-12);
  // All tokens below this value together weigh less than what may be dropped, so none of them is needed.
  const double negligible = (1 - share) * total / static_cast<double>(kept.size());
  std::erase_if(kept, [&](const Candidate& candidate) { return candidate.probability < negligible; });

  double before = 0;
  auto first = kept.begin(), last = kept.end();
  while (last - first > 1) {
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, likelier);
    const double upper = mass({first, middle});
    if (before + upper >= target) {
      last = middle;
    } else {
      before += upper;
      first = middle;
    }
  }
  kept.erase(last, kept.end());
}

void keep_min_p(std::vector<Candidate>& kept, double share) {
  double maximum = 0;
  for (const auto& candidate : kept) maximum = std::max(maximum, candidate.probability);
  // With the same tolerance for rounding as in top-p.
  const double threshold = share * maximum * (1 - 1e-12);
  std::erase_if(kept, [&](const Candidate& candidate) { return candidate.probability < threshold; });
}

// SplitMix64 (Steele, Lea, Flood 2014): a 64-bit generator with a full period, which also gives well-mixed numbers from
// similar seeds.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}
constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

// Returns the place where the running sum of the weights passes `rest`. If rounding leaves the sum a little short, it
// is the last place with a weight above zero.
template <class Values, class WeightOf>
std::int64_t place_of(const Values& values, double rest, WeightOf&& weight_of) {
  std::int64_t place = -1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double weight = weight_of(values[i]);
    if (weight <= 0) continue;
    place = static_cast<std::int64_t>(i);
    rest -= weight;
    if (rest < 0) break;
  }
  return place;
}

}  // namespace

std::vector<Candidate> candidates(std::span<const double> logits_V, const SamplingConfig& config,
                                  std::span<const std::int64_t> seen) {
  std::vector<double> weights_V(logits_V.begin(), logits_V.end());
  penalise(weights_V, config.repetition_penalty, seen);
  if (config.temperature == 0) return {{likeliest(std::span<const double>(weights_V)), 1.0}};
  to_weights(weights_V, config.temperature);
  const auto k = static_cast<std::size_t>(config.top_k);
  auto kept = k > 0 && k < weights_V.size() ? top_k(weights_V, k) : all(weights_V);
  if (config.top_p < 1) keep_top_p(kept, config.top_p);
  if (config.min_p > 0) keep_min_p(kept, config.min_p);
  const bool reordered = kept.size() < weights_V.size();
  if (reordered)
    std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  const double total = mass(kept);
  for (auto& candidate : kept) candidate.probability /= total;
  return kept;
}

Sampler::Sampler(const SamplingConfig& config, const Stream& stream)
    : config_(config),
      state_(mix(mix(mix(stream.seed + kGolden) + stream.prompt + kGolden) + stream.sample + kGolden)) {
  check(config);
}

Sampler Sampler::resumed(const SamplingConfig& config, const State& state) {
  Sampler sampler(config, Stream{});
  sampler.state_ = state.random;
  for (const auto id : state.seen) sampler.observe(id);
  return sampler;
}

void Sampler::observe(std::int64_t id) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= is_seen_.size()) is_seen_.resize(index + 1, false);
  if (!is_seen_[index]) seen_.push_back(id);
  is_seen_[index] = true;
}

std::int64_t Sampler::draw(std::span<const float> logits_V) {
  if (is_greedy()) {  // temperature 0 needs no random numbers
    const auto id = likeliest(logits_V);
    observe(id);
    return id;
  }
  logits_V_.assign(logits_V.begin(), logits_V.end());
  return draw(std::span<const double>(logits_V_));
}

bool Sampler::is_greedy() const { return config_.temperature == 0 && config_.repetition_penalty == 1; }

std::int64_t Sampler::draw(std::span<const double> logits_V) {
  state_ += kGolden;
  const double uniform = static_cast<double>(mix(state_) >> 11) * 0x1p-53;  // in [0,1)
  const auto id = choose(logits_V, uniform);
  observe(id);
  return id;
}

// The first two cases do the same as candidates(), but without its list of the whole vocabulary.
std::int64_t Sampler::choose(std::span<const double> logits_V, double uniform) {
  if (is_greedy()) return likeliest(logits_V);
  const bool all_kept = config_.temperature > 0 && config_.top_k == 0 && config_.top_p >= 1 && config_.min_p <= 0;
  if (all_kept) {
    weights_V_.assign(logits_V.begin(), logits_V.end());
    penalise(weights_V_, config_.repetition_penalty, seen_);
    to_weights(weights_V_, config_.temperature);
    const double total = std::accumulate(weights_V_.begin(), weights_V_.end(), 0.0);
    return place_of(weights_V_, uniform * total, std::identity());
  }
  const auto kept = candidates(logits_V, config_, seen_);
  const auto place = place_of(kept, uniform, [](const Candidate& candidate) { return candidate.probability; });
  return kept[static_cast<std::size_t>(place)].id;
}

}  // namespace linformer
