// How a model knows where a token stands (model.position): a row for each position that is added to the embedding, or
// angles by which heads are turned. Shape letters: docs/maths.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <vector>

#include "linformer/config/model_config.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

/// Position embedding (length, width) in float64: sines at even, cosines at odd columns (Vaswani et al. 2017,
/// section 3.5).
at::Tensor sinusoidal_table(std::int64_t length, std::int64_t width);

/// Learned or sinusoidal positions; nothing for others.
class PositionEmbedding {
 public:
  PositionEmbedding() = default;
  PositionEmbedding(Parameters& parameters, const ModelConfig& config);
  /// x (B,N,d) with the rows of `positions` (N) or (B,N) added.
  at::Tensor added_to(const at::Tensor& x_BNd, const at::Tensor& positions) const;
  /// The rows (P,d); undefined where nothing is added.
  const at::Tensor& rows() const { return rows_; }
  /// Parameters are moved by the model, the table here.
  void to(at::Device device, at::ScalarType dtype);

 private:
  Position kind_ = Position::none;
  at::Tensor rows_;
};

/// Rotary positions (ops/rotary.hpp); no rotation for others. A model has one, which all its layers share.
class Rotation {
 public:
  explicit Rotation(const ModelConfig& config);
  explicit operator bool() const { return base_ > 0; }
  /// x (B,H,N,D), whose rows stand at positions from `first` on, turned. x itself without a rotation.
  at::Tensor operator()(const at::Tensor& x_BHND, std::int64_t first) const;
  /// Of positions (N) or (B,N), each of its own.
  at::Tensor operator()(const at::Tensor& x_BHND, const at::Tensor& positions) const;
  /// The turn of one position (D): cosines, then sines.
  void turn(std::int64_t position, float* turn_D) const;
  /// One row (D), in place.
  void turn_row(const float* turn_D, float* row_D) const;

 private:
  at::Tensor turns_of(std::int64_t first, std::int64_t count, at::Device device) const;

  double base_ = 0;  // 0: none
  std::int64_t width_ = 0;
  std::vector<double> rates_;  // radians a position, of each pair
  // Layer after layer asks for the same positions.
  mutable std::mutex mutex_;
  mutable at::Tensor last_turns_;
  mutable std::int64_t last_first_ = 0;
};

}  // namespace linformer::nn
