#include "linformer/train/optimizer.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>

#include "linformer/core/error.hpp"

namespace linformer {

AdamW::AdamW(const NamedTensors& parameters) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    const bool slot_bias = name.ends_with(".slot_bias");
    // A decay of slots is a number for each of them, which must not be drawn to 0 like the weights of a matrix. Of a
    // codebook only the directions count: shorter rows would but turn faster.
    const bool matrix = parameter.dim() >= 2 && !name.ends_with(".decay") && !name.ends_with(".codebook");
    Group& group = groups_[slot_bias ? kSlotBiases : matrix ? kMatrices : kVectors];
    group.names.push_back(name);
    group.owners.push_back(parameter);
    group.parameters.push_back(parameter.detach());
    group.means.push_back(at::zeros_like(parameter));
    group.squares.push_back(at::zeros_like(parameter));
  }
}

void AdamW::zero_gradients() {
  for (auto& group : groups_) {
    for (auto& parameter : group.owners) parameter.mutable_grad().reset();
  }
}

// A parameter that the step didn't use has no gradient.
std::vector<at::Tensor> AdamW::Group::gradients() const {
  std::vector<at::Tensor> gradients;
  for (const auto& parameter : owners) {
    gradients.push_back(parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter));
  }
  return gradients;
}

NamedTensors AdamW::gradients() const {
  NamedTensors gradients;
  for (const auto& group : groups_) {
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      const auto& parameter = group.owners[i];
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
      gradients.emplace_back(group.names[i], parameter.grad());
    }
  }
  return gradients;
}

double AdamW::gradient_norm() const {
  std::vector<at::Tensor> gradients;
  for (const auto& group : groups_) {
    for (auto& gradient : group.gradients()) gradients.push_back(std::move(gradient));
  }
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients))).item<double>();
}

void AdamW::step(const Step& step, const TrainConfig& config) {
  constexpr double kEpsilon = 1e-8;
  for (const auto part : {kMatrices, kVectors, kSlotBiases}) {
    auto& group = groups_[part];
    if (group.parameters.empty()) continue;
    const auto rate = step.learning_rate * (part == kSlotBiases ? config.slot_bias_rate : 1.0);
    const auto options = group.parameters.front().options().dtype(at::kFloat);
    const auto number = at::full({}, static_cast<double>(step.number), options);
    const std::vector<at::Tensor> numbers(group.parameters.size(), number);
    const auto divisor = at::full({}, step.gradient_divisor, options);
    at::_fused_adamw_(group.parameters, group.gradients(), group.means, group.squares, {}, numbers, rate, config.beta1,
                      config.beta2, part == kMatrices ? config.weight_decay : 0.0, kEpsilon,
                      /*amsgrad=*/false, /*maximize=*/false, divisor);
  }
}

NamedTensors AdamW::moments() const {
  NamedTensors moments;
  for (const auto& group : groups_) {
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      moments.emplace_back(group.names[i] + ".mean", group.means[i].cpu());
      moments.emplace_back(group.names[i] + ".square", group.squares[i].cpu());
    }
  }
  return moments;
}

void AdamW::load_moments(const TensorFile& file) {
  const auto find = [&](const std::string& name, const at::Tensor& like) {
    const auto& tensor = file.at(name);
    require(tensor.sizes() == like.sizes() && tensor.scalar_type() == like.scalar_type(),
            "optimiser state '{}': has another shape or dtype than the model's parameter; the checkpoint's files don't "
            "belong together",
            name);
    return tensor;
  };
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  for (const auto& group : groups_) {
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      copies.emplace_back(group.means[i], find(group.names[i] + ".mean", group.means[i]));
      copies.emplace_back(group.squares[i], find(group.names[i] + ".square", group.squares[i]));
    }
  }
  for (const auto& [to, from] : copies) to.copy_(from);
}

std::vector<std::string> AdamW::decayed() const { return groups_[kMatrices].names; }

}  // namespace linformer
