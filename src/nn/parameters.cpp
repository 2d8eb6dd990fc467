#include "nn/parameters.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/movedim.h>
#include <ATen/ops/randn.h>

#include <cmath>

#include "nn/linear_product.hpp"

namespace linformer::nn {

Parameters::Parameters(std::uint64_t seed, at::TensorOptions options)
    : generator_(at::detail::createCPUGenerator(seed)), options_(options) {}

Parameters::Parameters(ParameterSource source) : source_(std::move(source)) {}

at::Tensor Parameters::normal(const std::string& name, at::IntArrayRef shape, double deviation) {
  return add(name, shape, [&] { return at::randn(shape, generator_, at::kFloat).mul_(deviation); });
}

at::Tensor Parameters::constant(const std::string& name, at::IntArrayRef shape, double value) {
  return add(name, shape, [&] { return at::full(shape, value, at::kFloat); });
}

at::Tensor Parameters::around(const std::string& name, at::IntArrayRef shape, const std::function<at::Tensor()>& start,
                              double deviation) {
  return add(name, shape, [&] { return at::randn(shape, generator_, at::kFloat).mul_(deviation).add_(start()); });
}

at::Tensor Parameters::add(const std::string& name, at::IntArrayRef shape, const std::function<at::Tensor()>& draw) {
  const auto value = source_ ? source_(name, shape) : draw();
  list_.emplace_back(name, value.to(options_.requires_grad(std::nullopt)).requires_grad_());
  return list_.back().second;
}

double residual_deviation(const ModelConfig& config) {
  return config.initializer_range / std::sqrt(2.0 * static_cast<double>(config.layers));
}

Linear::Linear(Parameters& parameters, const std::string& name, const LinearShape& shape)
    : weight(parameters.normal(name + ".weight", {shape.out, shape.in}, shape.deviation)),
      bias(shape.bias ? parameters.constant(name + ".bias", {shape.out}, 0) : at::Tensor()) {}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return bias.defined() ? linear_product(x, weight, bias) : linear_product(x, weight);
}

ops::Branch Linear::branch(const at::Tensor& x) const { return {linear_product(x, weight), bias}; }

Norm::Norm(Parameters& parameters, const std::string& name, std::int64_t width, const ModelConfig& config)
    : weight(parameters.constant(name + ".weight", {width}, 1)), rms(config.norm == NormKind::rms) {
  if (config.bias && !rms) bias = parameters.constant(name + ".bias", {width}, 0);
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  return weight.defined() ? ops::layer_norm(x, parameters(), x.scalar_type()) : x;
}

at::Tensor Norm::for_products(const at::Tensor& x) const {
  const auto device = x.device().type();
  const bool autocast = at::autocast::is_autocast_enabled(device);
  const bool cast = autocast && x.scalar_type() != at::kDouble;  // which autocast leaves alone
  return ops::layer_norm(x, parameters(), cast ? at::autocast::get_autocast_dtype(device) : x.scalar_type());
}

at::Tensor Norm::of_heads(const at::Tensor& x_BHxD) const {
  if (x_BHxD.stride(1) >= x_BHxD.stride(2)) return (*this)(x_BHxD);
  return (*this)(x_BHxD.movedim(1, -2)).movedim(-2, 1);
}

}  // namespace linformer::nn
