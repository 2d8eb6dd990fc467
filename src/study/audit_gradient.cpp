// Gradients of earlier outputs by later inputs. Shape letters: N length, V vocabulary, X channels.
//
// The ids are split into three parts. The tokens up to position s come from the first part, later tokens from the
// second. So in the gradient of the embedding, the rows of the second part belong to inputs after s. But a tied output
// layer also adds to these rows. That share stays the same when the later tokens come from the third part instead. So
// the difference of the two gradients is what comes through the inputs alone.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <random>

#include "study/audit_subject.hpp"

namespace linformer::study {
namespace {

constexpr std::int64_t kOutputs = 8, kLengths = 2, kLongest = 300;

struct Parts {
  explicit Parts(std::int64_t vocabulary) : size(vocabulary / 3) {}
  std::int64_t size;
  // Ids up to `output` from part 0, after it from `later`, each id of it in turn.
  at::Tensor ids(std::int64_t length, std::int64_t output, std::int64_t later, std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::vector<std::int64_t> ids;
    for (std::int64_t position = 0; position < length; ++position) {
      ids.push_back(position <= output ? static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size))
                                       : later * size + (position - output - 1) % size);
    }
    return at::tensor(ids, at::kLong).unsqueeze(0);
  }
};

using Gradients = std::vector<at::Tensor>;  // (V,·) by embedding; undefined where the outputs don't depend on it

Gradients gradients_of(const AuditSubject& subject, const at::Tensor& ids_1N, std::int64_t output,
                       std::int64_t channels, std::uint64_t seed) {
  const at::AutoGradMode with_gradients(true);
  std::vector<at::Tensor> leaves;
  for (const auto& [tensor, dimension] : subject.embeddings()) leaves.push_back(tensor);
  const auto all = subject.outputs(ids_1N);
  if (!all.requires_grad()) return Gradients(leaves.size());
  const auto out_X = all[0][output].slice(0, 0, channels);
  std::mt19937_64 random(seed);
  std::vector<double> weights(static_cast<std::size_t>(out_X.size(0)));
  for (auto& weight : weights) weight = static_cast<double>(random() >> 11) / (1LL << 52) - 1.0;
  const auto weight_X = at::tensor(weights, at::kDouble).to(out_X.options().requires_grad(std::nullopt));
  auto gradients = torch::autograd::grad({(out_X * weight_X).sum()}, leaves, {}, false, false, true);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    auto& gradient = gradients[i];
    if (!gradient.defined()) continue;
    if (gradient.is_sparse()) gradient = gradient.to_dense();
    if (subject.embeddings()[i].second == 1) gradient = gradient.t();
  }
  return gradients;
}

// The largest entry of each row.
at::Tensor largest_of_rows(const at::Tensor& rows) {
  return at::nan_to_num(rows.abs(), std::numeric_limits<double>::infinity()).flatten(1).amax(1).to(at::kDouble);
}

struct Measured {
  double own = 0, later = 0;  // the largest gradient by inputs that the output may see, and by those that it may not
  std::int64_t input = 0;     // of `later`
};

Measured measure(const AuditSubject& subject, std::int64_t length, std::int64_t output, std::uint64_t seed) {
  const Parts parts(subject.vocabulary());
  const auto channels = subject.outputs_are_logits() ? parts.size : std::numeric_limits<std::int64_t>::max();
  const auto of = [&](std::int64_t later) {
    return gradients_of(subject, parts.ids(length, output, later, seed), output, channels, seed + 1);
  };
  const auto first = of(1), second = of(2);
  Measured measured;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (!first[i].defined() || !second[i].defined()) continue;
    measured.own = std::max(measured.own, largest_of_rows(first[i].narrow(0, 0, parts.size)).max().item<double>());
    const auto [largest, row] = at::max(largest_of_rows((first[i] - second[i]).narrow(0, parts.size, parts.size)), 0);
    // The later tokens may hold only some ids of their part. The other rows are from the output layer, and are the same
    // in both gradients.
    if (largest.item<double>() > measured.later)
      measured = {measured.own, largest.item<double>(), output + 1 + row.item<std::int64_t>()};
  }
  return measured;
}

}  // namespace

void check_gradient(const AuditContext& context, AuditPass& pass) {
  auto& result = pass.gradient;
  result.threshold = pass.threshold;
  if (context.subject.embeddings().empty()) {
    result.obstacle =
        "no parameter of the file has one row per id: the file is frozen, or embeds its ids in another way";
    return;
  }
  bool reached = false;
  auto seed = context.options.seed + 1000;
  std::vector<std::int64_t> lengths;
  for (const auto length : pass.lengths) {
    if (length <= kLongest || lengths.empty()) lengths.push_back(length);
  }
  if (lengths.size() > kLengths) lengths.erase(lengths.begin(), lengths.end() - kLengths);
  for (const auto length : lengths) {
    for (const auto output : spread_positions(length - 1, kOutputs, ++seed)) {
      const auto measured = measure(context.subject, length, output, ++seed);
      context.step("gradients");
      if (measured.own == 0) continue;
      reached = true;
      const auto share = measured.later / measured.own;
      const bool first = result.length == 0;
      if (first || share > result.largest) {
        result.largest = share;
        result.length = length, result.output = output, result.input = measured.later > 0 ? measured.input : output + 1;
      }
    }
  }
  if (!reached) result.obstacle = "no gradient of an output reaches the embedding";
}

}  // namespace linformer::study
