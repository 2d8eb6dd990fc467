// What one round does: a point's forward pass, training step or generation, or the matrix product with which speeds are
// compared.
#pragma once

#include <memory>
#include <string>

#include "linformer/study/benchmark_point.hpp"

namespace linformer {

class MeasureJob {
 public:
  virtual ~MeasureJob() = default;
  /// Prepares what each round needs and what isn't part of its time. For a generation by stream, it loads the state and
  /// decodes the last tokens of the prompt.
  virtual void prepare() {}
  virtual void run() = 0;
  /// How many runs of its kind one run stands for. It is more than 1 when only a part is measured.
  virtual double scale() const { return 1; }
  /// Tokens that a run measures, where that is a part.
  virtual std::int64_t measured_tokens() const { return 0; }
  /// What a generation by stream holds for its sequences, once it was prepared.
  virtual std::int64_t state_bytes() const { return 0; }
};

/// Builds the model. UserError as model_of().
std::unique_ptr<MeasureJob> make_job(const BenchmarkPoint& point);

/// A product of two square matrices.
class GemmJob final : public MeasureJob {
 public:
  explicit GemmJob(const std::string& dtype);  ///< as large as takes about a tenth of a second, at most 2048
  ~GemmJob() override;
  void run() override;
  double multiply_adds() const;

 private:
  struct Matrices;
  std::unique_ptr<Matrices> matrices_;
};

}  // namespace linformer
