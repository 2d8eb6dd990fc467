// The loss of reading a text one token at a time, against the loss with the whole text given. Shape letters: B texts, N
// length, S positions read, V vocabulary.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "study/audit_subject.hpp"

namespace linformer::study {
namespace {

constexpr std::int64_t kLongestStreamed = 300;

// (B,S) nats: of the token after each position.
at::Tensor losses(const at::Tensor& logits_BSV, const at::Tensor& next_BS) {
  const auto log_BSV = at::log_softmax(logits_BSV.to(at::kDouble), -1);
  return log_BSV.gather(2, next_BS.unsqueeze(2)).squeeze(2).neg();
}

AuditStreaming compare(const AuditSubject::Streamed& streamed, const at::Tensor& whole_BNV, const at::Tensor& ids_BN) {
  const auto places = at::tensor(streamed.positions, at::kLong);
  const auto next_BS = ids_BN.index_select(1, places + 1);
  const auto whole_BSV = whole_BNV.index_select(1, places);
  const auto one_by_one = losses(streamed.logits_BSV, next_BS), at_once = losses(whole_BSV, next_BS);
  AuditStreaming result{.way = streamed.way};
  // Where both are infinite there is no difference; where one is no number, an infinite one.
  const auto apart = at::nan_to_num((one_by_one - at_once).abs(), std::numeric_limits<double>::infinity())
                         .masked_fill(one_by_one.eq(at_once), 0)
                         .amax(0);
  const auto [largest, place] = at::max(apart, 0);
  result.largest_difference = largest.item<double>();
  result.position = streamed.positions.at(static_cast<std::size_t>(place.item<std::int64_t>()));
  result.threshold = streamed.tolerance * std::max(1.0, range_of(whole_BNV[0]));
  result.loss_streamed = one_by_one.mean().item<double>();
  result.loss_teacher_forced = at_once.mean().item<double>();
  return result;
}

}  // namespace

void check_streaming(const AuditContext& context, AuditPass& pass) {
  const c10::NoGradGuard no_grad;
  auto length = pass.lengths.front();
  for (const auto other : pass.lengths) length = other <= kLongestStreamed ? other : length;
  std::vector<at::Tensor> texts{random_ids(context.subject, length, context.options.seed + 2000)};
  texts.push_back(has_text(context.options, length) ? text_ids(context.options, length, context.options.seed + 2001)
                                                    : random_ids(context.subject, length, context.options.seed + 2001));
  const auto ids_BN = at::stack(texts);
  const auto whole_BNV = context.subject.logits(ids_BN);
  context.step("reading one token at a time");
  for (const auto& streamed : context.subject.stream(ids_BN))
    pass.streaming.push_back(compare(streamed, whole_BNV, ids_BN));
}

}  // namespace linformer::study
