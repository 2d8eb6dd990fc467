// The named parameters of a model, and how their first values are drawn.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "linformer/nn/language_model.hpp"
#include "linformer/ops/layer_norm.hpp"

namespace linformer::nn {

/// Names and tensors, in the order in which they were made. Values come from a separate generator, and always in
/// float32, so that a seed gives the same model for every dtype.
class Parameters {
 public:
  Parameters(std::uint64_t seed, at::TensorOptions options);
  /// For loading: `source` gives each parameter, or throws. Nothing is drawn.
  explicit Parameters(ParameterSource source);
  at::Tensor normal(const std::string& name, at::IntArrayRef shape, double deviation);
  at::Tensor constant(const std::string& name, at::IntArrayRef shape, double value);
  /// `start()` (float32, on the CPU, expands to `shape`) plus random noise with standard deviation `deviation`.
  at::Tensor around(const std::string& name, at::IntArrayRef shape, const std::function<at::Tensor()>& start,
                    double deviation);

  const std::vector<std::pair<std::string, at::Tensor>>& list() const { return list_; }

 private:
  at::Tensor add(const std::string& name, at::IntArrayRef shape, const std::function<at::Tensor()>& draw);
  at::Generator generator_;
  at::TensorOptions options_;
  ParameterSource source_;
  std::vector<std::pair<std::string, at::Tensor>> list_;
};

/// Standard deviation of new weights whose products are added to the residual stream. Each layer has two of them
/// (GPT-2).
double residual_deviation(const ModelConfig& config);

struct LinearShape {
  std::int64_t in, out;
  double deviation;  ///< of new weights
  bool bias;
};

/// y = x Wᵀ + b; weight (out,in), bias (out), undefined when there is none.
struct Linear {
  at::Tensor weight, bias;
  Linear() = default;
  Linear(Parameters& parameters, const std::string& name, const LinearShape& shape);
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same in two parts, for an operation that can add the bias without an extra pass.
  ops::Branch branch(const at::Tensor& x) const;
};

/// The norm of model.norm over the last dimension, epsilon 1e-5: a layer norm, or an RMS norm, which has no bias.
struct Norm {
  at::Tensor weight, bias;
  bool rms = false;
  Norm() = default;
  Norm(Parameters& parameters, const std::string& name, std::int64_t width, const ModelConfig& config);
  /// Returns x unchanged when there is no norm (normalise = none).
  at::Tensor operator()(const at::Tensor& x) const;
  /// For a residual stream. The result has the dtype of matrix products: that of autocast when it is on, else x's own.
  at::Tensor for_products(const at::Tensor& x) const;
  ops::LayerNorm parameters() const { return {weight, bias, rms}; }
  /// For rows split into heads, (B,H,…,D). A linear layer leaves the heads of one position next to each other in
  /// memory; then nothing is copied.
  at::Tensor of_heads(const at::Tensor& x_BHxD) const;
};

}  // namespace linformer::nn
