// The named parameters of a model and how they are drawn.
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

/// Names and tensors in the order of their making. Values come from one generator of its own, in float32 whatever the
/// dtype, so that a seed means the same model everywhere.
class Parameters {
 public:
  Parameters(std::uint64_t seed, at::TensorOptions options);
  /// Nothing is drawn: `source` gives each parameter, or throws.
  explicit Parameters(ParameterSource source);
  at::Tensor normal(const std::string& name, at::IntArrayRef shape, double deviation);
  at::Tensor constant(const std::string& name, at::IntArrayRef shape, double value);
  /// `start()` (float32, CPU, expands to `shape`) plus noise of `deviation`.
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

/// Standard deviation of fresh weights whose products are added to the residual stream, of which there are two a layer
/// (GPT-2).
double residual_deviation(const ModelConfig& config);

/// y = x Wᵀ + b; weight (out,in), bias (out).
struct Linear {
  at::Tensor weight, bias;
  Linear() = default;
  Linear(Parameters& parameters, const std::string& name, std::int64_t in, std::int64_t out, double deviation);
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same in two parts, for an operation that adds the bias in the pass that it makes anyway.
  ops::Branch branch(const at::Tensor& x) const;
};

/// Layer norm over the last dimension, epsilon 1e-5.
struct Norm {
  at::Tensor weight, bias;
  Norm() = default;
  Norm(Parameters& parameters, const std::string& name, std::int64_t width);
  /// Unchanged where the norm was never made (normalise = none).
  at::Tensor operator()(const at::Tensor& x) const;
  /// Of a residual stream, in the dtype that matrix products take: that of autocast where it is on, else x's own.
  at::Tensor for_products(const at::Tensor& x) const;
  ops::LayerNorm parameters() const { return {weight, bias}; }
  /// Of rows split into heads, (B,H,…,D). Heads lie next to each other in memory where a linear layer made them: then
  /// there is no copy.
  at::Tensor of_heads(const at::Tensor& x_BHxD) const;
};

}  // namespace linformer::nn
