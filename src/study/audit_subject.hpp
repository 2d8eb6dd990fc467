// What is audited, as the checks see it. Shape letters: B batch, N length, V vocabulary, X channels of the outputs.
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

  /// What must not see the future: (B,N,X), with a graph where gradients are on.
  virtual at::Tensor outputs(const at::Tensor& ids_BN) const = 0;
  virtual at::Tensor logits(const at::Tensor& ids_BN) const = 0;
  virtual std::int64_t layers() const { return 0; }
  /// Outputs of the model cut after its first `count` blocks.
  virtual at::Tensor outputs_after(std::int64_t count, const at::Tensor& ids_BN) const;

  /// Tensors with one row (dimension 0) or one column (dimension 1) an id, of which one embeds the ids. Empty: there is
  /// none.
  virtual std::vector<std::pair<at::Tensor, int>> embeddings() const = 0;
  /// Whether output channel v belongs to id v, so that a tied output layer adds to an embedding's gradient.
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

/// A leak that needs more tokens than were tried isn't found: what the reader is told.
std::string longer_texts(std::int64_t tried);

/// Largest change of an output that is rounding, as a share of the outputs' range. What is computed before a changed
/// token has the same shape and order with and without the change, so little more than nothing; a leak of one part in a
/// million is far above it in float64.
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
/// `count` of 0…limit-1, rising, spread evenly but at random within each share, the last always among them; all where
/// they are no more.
std::vector<std::int64_t> spread_positions(std::int64_t limit, std::int64_t count, std::uint64_t seed);
/// The range of outputs (N,X) that changes are shares of.
double range_of(const at::Tensor& outputs_NX);
/// (N): the largest |a - b| of a position, infinite where only one of both is a number.
at::Tensor differences(const at::Tensor& a_NX, const at::Tensor& b_NX);

}  // namespace linformer::study
