// What a round does, ready to run: a point's forward pass, training step or generation, or the product that speeds are
// compared with.
#pragma once

#include <memory>
#include <string>

#include "linformer/study/benchmark_point.hpp"

namespace linformer {

class MeasureJob {
 public:
  virtual ~MeasureJob() = default;
  /// Everything that each round needs anew and that isn't to be timed; a generation by stream loads its state and
  /// decodes the prompt's last tokens.
  virtual void prepare() {}
  virtual void run() = 0;
  /// A run stands for so many of its kind: more than 1 where only a part is measured.
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
