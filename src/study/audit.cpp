// The audit: which passes it makes, and their report.
#include "linformer/study/audit.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/device.hpp"
#include "study/audit_subject.hpp"

namespace linformer {
namespace study {

double change_threshold(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return 1e-10;
    case at::kFloat:
      return 256 * static_cast<double>(std::numeric_limits<float>::epsilon());
    case at::kHalf:
      return 16 * std::ldexp(1.0, -10);
    default:
      return 16 * std::ldexp(1.0, -7);
  }
}

void AuditContext::step(std::string_view what) const {
  ++*passes;
  if (options.progress) options.progress(*passes, what);
}

at::Tensor AuditSubject::outputs_after(std::int64_t, const at::Tensor& ids_BN) const { return outputs(ids_BN); }

at::Tensor random_ids(const AuditSubject& subject, std::int64_t length, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(length));
  for (auto& id : ids) id = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(subject.vocabulary()));
  return at::tensor(ids, at::kLong);
}

bool has_text(const AuditOptions& options, std::int64_t length) {
  return static_cast<std::int64_t>(options.text.size()) >= length;
}

at::Tensor text_ids(const AuditOptions& options, std::int64_t length, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto last = options.text.size() - static_cast<std::size_t>(length);
  const auto first = random() % (last + 1);
  return at::tensor(at::ArrayRef<std::int64_t>(options.text.data() + first, static_cast<std::size_t>(length)),
                    at::kLong);
}

std::vector<std::int64_t> spread_positions(std::int64_t limit, std::int64_t count, std::uint64_t seed) {
  count = std::min(count, limit);
  std::mt19937_64 random(seed);
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto first = i * limit / count, next = (i + 1) * limit / count;
    const auto inside = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(next - first));
    positions.push_back(i + 1 == count ? limit - 1 : first + inside);
  }
  return positions;
}

double range_of(const at::Tensor& outputs_NX) {
  // A channel that is infinite throughout, as a mask may have it, has no range.
  const auto range = at::nan_to_num(outputs_NX.amax(0) - outputs_NX.amin(0), 0.0, 0.0, 0.0);
  return range.max().item<double>();
}

at::Tensor differences(const at::Tensor& a_NX, const at::Tensor& b_NX) {
  const auto apart = at::nan_to_num((a_NX - b_NX).abs(), std::numeric_limits<double>::infinity());
  return apart.masked_fill(a_NX.eq(b_NX), 0).amax(-1).to(at::kDouble);
}

namespace {

AuditPass pass_over(const AuditSubject& subject, const AuditOptions& options, std::int64_t* passes) {
  require(subject.vocabulary() >= 3,
          "the model has {} ids; an audit needs at least 3, since it replaces ids by other ids", subject.vocabulary());
  const AuditContext context{subject, options, passes};
  AuditPass pass;
  pass.dtype = dtype_name(subject.dtype());
  pass.lengths = subject.lengths();
  pass.threshold = change_threshold(subject.dtype());
  check_changes(context, pass);
  if (subject.layers() > 0) check_layers(context, pass);
  check_gradient(context, pass);
  check_streaming(context, pass);
  pass.path = subject.path();
  return pass;
}

bool text_fits(const std::vector<AuditPass>& passes, const AuditOptions& options) {
  return std::any_of(passes.begin(), passes.end(),
                     [&](const AuditPass& pass) { return has_text(options, pass.lengths.front()); });
}

void check_text(const AuditOptions& options, std::int64_t vocabulary) {
  for (const auto id : options.text) {
    require(id >= 0 && id < vocabulary,
            "the text has id {}, but the model's vocabulary ends at {}: name the model's own tokenizer", id,
            vocabulary - 1);
  }
}

}  // namespace

std::string longer_texts(std::int64_t tried) {
  return formatted("texts of at most {} tokens were tried, and the model takes longer ones: --model.length tries one",
                   tried);
}

}  // namespace study

bool AuditPass::leaks() const {
  const bool streams = std::all_of(streaming.begin(), streaming.end(),
                                   [](const auto& way) { return way.largest_difference <= way.threshold; });
  return first_leak || gradient.largest > gradient.threshold || !streams;
}

bool AuditReport::leaks() const {
  return std::any_of(passes.begin(), passes.end(), [](const AuditPass& pass) { return pass.leaks(); });
}

AuditReport audit(const LanguageModel& model, const AuditOptions& options) {
  study::check_text(options, model.config().vocabulary);
  AuditReport report;
  std::int64_t passes = 0;
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    report.passes.push_back(study::pass_over(*study::subject_of(model, dtype, options.length), options, &passes));
  }
  report.used_text = study::text_fits(report.passes, options);
  const auto& lengths = report.passes.front().lengths;
  const auto tried = *std::max_element(lengths.begin(), lengths.end());
  if (tried < model.config().longest_text()) report.remarks.push_back(study::longer_texts(tried));
  if (!model.config().causal)
    report.remarks.emplace_back(
        "the model is bidirectional (model.causal = false): its outputs are meant to see the whole text");
  return report;
}

AuditReport audit_file(const std::filesystem::path& file, const AuditOptions& options) {
  AuditReport report;
  const auto subject = study::subject_of(file, options, report.remarks);
  study::check_text(options, subject->vocabulary());
  std::int64_t passes = 0;
  report.passes.push_back(study::pass_over(*subject, options, &passes));
  report.used_text = study::text_fits(report.passes, options);
  return report;
}

}  // namespace linformer
