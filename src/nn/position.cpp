#include "nn/position.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "linformer/ops/rotary.hpp"

namespace linformer::nn {

namespace {

constexpr std::int64_t kMostKept = std::int64_t{1} << 16;  // positions, whose turns are some ten MB

}  // namespace

at::Tensor sinusoidal_table(std::int64_t length, std::int64_t width) {
  const auto columns = at::arange(width, at::kDouble);
  const auto rates = at::pow(10000.0, -2.0 * at::floor(columns / 2) / static_cast<double>(width));
  const auto angles = at::arange(length, at::kDouble).unsqueeze(1) * rates;
  return at::where(columns.remainder(2) == 0, angles.sin(), angles.cos());
}

PositionEmbedding::PositionEmbedding(Parameters& parameters, const ModelConfig& config) : kind_(config.position) {
  switch (config.position) {
    case Position::learned:
      rows_ = parameters.normal("position_embedding.weight", {config.length, config.width}, config.initializer_range);
      return;
    case Position::sinusoidal:
      rows_ = sinusoidal_table(config.length, config.width);
      return;
    case Position::rotary:
    case Position::none:
      return;
  }
}

at::Tensor PositionEmbedding::added_to(const at::Tensor& x_BNd, const at::Tensor& positions) const {
  return rows_.defined() ? x_BNd + at::embedding(rows_, positions) : x_BNd;
}

void PositionEmbedding::to(at::Device device, at::ScalarType dtype) {
  if (kind_ == Position::sinusoidal) rows_ = sinusoidal_table(rows_.size(0), rows_.size(1)).to(device, dtype);
}

Rotation::Rotation(const ModelConfig& config)
    : base_(config.position == Position::rotary ? config.base() : 0), width_(config.head_width()) {
  for (std::int64_t i = 0; *this && i < width_; i += 2)
    rates_.push_back(std::pow(base_, -static_cast<double>(i) / static_cast<double>(width_)));
}

at::Tensor Rotation::operator()(const at::Tensor& x_BHND, std::int64_t first) const {
  return *this ? ops::rotate(x_BHND, turns_of(first, x_BHND.size(2), x_BHND.device())) : x_BHND;
}

at::Tensor Rotation::operator()(const at::Tensor& x_BHND, const at::Tensor& positions) const {
  return *this ? ops::rotate(x_BHND, ops::rotary_turns(positions, width_, base_)) : x_BHND;
}

at::Tensor Rotation::turns_of(std::int64_t first, std::int64_t count, at::Device device) const {
  {
    const std::lock_guard lock(mutex_);
    const auto offset = first - last_first_;
    if (last_turns_.defined() && last_turns_.device() == device && offset >= 0 && offset + count <= last_turns_.size(0))
      return last_turns_.narrow(0, offset, count);
  }
  const c10::InferenceMode recordable(false);  // what is kept serves training too
  const auto positions = at::arange(first, first + count, at::TensorOptions(at::kLong).device(device));
  auto turns = ops::rotary_turns(positions, width_, base_);
  if (count > kMostKept) return turns;
  const std::lock_guard lock(mutex_);
  last_turns_ = turns;
  last_first_ = first;
  return turns;
}

void Rotation::turn(std::int64_t position, float* turn_D) const {
  for (const auto rate : rates_) {
    const auto angle = static_cast<double>(position) * rate;
    *turn_D = static_cast<float>(std::cos(angle));
    turn_D[width_ / 2] = static_cast<float>(std::sin(angle));
    ++turn_D;
  }
}

void Rotation::turn_row(const float* turn_D, float* row_D) const {
  const auto half = width_ / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = row_D[i], b = row_D[half + i];
    row_D[i] = a * turn_D[i] - b * turn_D[half + i];
    row_D[half + i] = b * turn_D[i] + a * turn_D[half + i];
  }
}

}  // namespace linformer::nn
