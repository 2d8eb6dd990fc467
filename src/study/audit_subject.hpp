// A model under audit, as the checks see it. Shape letters: B batch, N length, V vocabulary, X channels of the outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "linformer/study/audit.hpp"

namespace linformer::study {

class AuditSubject {
 public:
  virtual ~AuditSubject() = default;
  virtual at::ScalarType dtype() const = 0;  ///< of the outputs
  virtual std::string path() const { return {}; }
  virtual std::int64_t vocabulary() const = 0;
  virtual std::int64_t parameter_count() const = 0;
  virtual std::vector<std::int64_t> lengths() const = 0;  ///< to try, rising

  /// The outputs that must not see the future: (B,N,X), with a graph when gradients are on.
  virtual at::Tensor outputs(const at::Tensor& ids_BN) const = 0;
  virtual at::Tensor logits(const at::Tensor& ids_BN) const = 0;
  virtual std::int64_t layers() const { return 0; }
  /// The outputs of the model when it is cut after its first `count` blocks.
  virtual at::Tensor outputs_after(std::int64_t count, const at::Tensor& ids_BN) const;

  /// Tensors that have one row (dimension 0) or one column (dimension 1) per id. One of them embeds the ids. Empty when
  /// there is none.
  virtual std::vector<std::pair<at::Tensor, int>> embeddings() const = 0;
  /// Whether output channel v belongs to id v. Then a tied output layer adds to the gradient of the embedding.
  virtual bool outputs_are_logits() const = 0;

  struct Streamed {
    std::string way;
    std::vector<std::int64_t> positions;  // whose outputs were read
    at::Tensor logits_BSV;
    double tolerance;  // of a loss, as a share of the logits' range
  };
  virtual std::vector<Streamed> stream(const at::Tensor& ids_BN) const = 0;
};

/// A copy of the model's first `layers` blocks with its weights.
LanguageModel first_blocks(const LanguageModel& model, std::int64_t layers);
std::unique_ptr<AuditSubject> subject_of(const LanguageModel& model, at::ScalarType dtype, std::int64_t length);
/// In float64 where the file runs so; `remarks` gets what the reader should know.
std::unique_ptr<AuditSubject> subject_of(const std::filesystem::path& file, const AuditOptions& options,
                                         std::vector<std::string>& remarks);

/// A remark for the reader: a leak that needs longer texts than were tried isn't found.
std::string longer_texts(std::int64_t tried);

/// The largest change of an output that can be rounding, as a share of the outputs' range. What is computed before a
/// changed token has the same shape and order with and without the change, so its rounding hardly differs. In float64,
/// a leak of one part in a million is far above this.
double change_threshold(at::ScalarType dtype);

struct AuditContext {
  const AuditSubject& subject;
  const AuditOptions& options;
  std::int64_t* passes;  // forward passes so far, for progress
  void step(std::string_view what) const;
};
/// Each fills its part of `pass`.
void check_changes(const AuditContext& context, AuditPass& pass);
void check_layers(const AuditContext& context, AuditPass& pass);
void check_gradient(const AuditContext& context, AuditPass& pass);
void check_streaming(const AuditContext& context, AuditPass& pass);

/// (N) random ids, or a piece of the text.
at::Tensor random_ids(const AuditSubject& subject, std::int64_t length, std::uint64_t seed);
at::Tensor text_ids(const AuditOptions& options, std::int64_t length, std::uint64_t seed);
bool has_text(const AuditOptions& options, std::int64_t length);
/// `count` numbers out of 0…limit-1, rising: one at random from each of `count` equal parts; the last number is always
/// among them. All numbers if there are no more than `count`.
std::vector<std::int64_t> spread_positions(std::int64_t limit, std::int64_t count, std::uint64_t seed);
/// The range of outputs (N,X) that changes are shares of.
double range_of(const at::Tensor& outputs_NX);
/// (N): the largest |a - b| of a position, infinite where only one of both is a number.
at::Tensor differences(const at::Tensor& a_NX, const at::Tensor& b_NX);

}  // namespace linformer::study
