#include "linformer/nn/language_model.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/device.hpp"
#include "nn/token_head.hpp"
#include "nn/trunk.hpp"

namespace linformer {

struct LanguageModel::Impl {
  nn::Parameters parameters;
  nn::Trunk trunk;
  std::unique_ptr<Head> head;

  Impl(const ModelConfig& config, nn::Parameters first_parameters)
      : parameters(std::move(first_parameters)),
        trunk(config, parameters),
        head(nn::make_head(config, parameters, trunk.token_embedding())) {}
  /// Of each row (…,d), without the choice of a library that linear_product makes for many rows.
  at::Tensor logits_of_rows(const at::Tensor& hidden) const { return at::linear(hidden, head->weight()); }
};

LanguageModel::LanguageModel(const ModelConfig& config, std::uint64_t seed, at::TensorOptions options)
    : impl_(std::make_unique<Impl>(resolved(config), nn::Parameters(seed, options))) {}
LanguageModel::LanguageModel(const ModelConfig& config, const ParameterSource& source)
    : impl_(std::make_unique<Impl>(resolved(config), nn::Parameters(source))) {}
LanguageModel::~LanguageModel() = default;
LanguageModel::LanguageModel(LanguageModel&&) noexcept = default;
LanguageModel& LanguageModel::operator=(LanguageModel&&) noexcept = default;

const ModelConfig& LanguageModel::config() const { return impl_->trunk.config(); }
const Head& LanguageModel::head() const { return *impl_->head; }
std::vector<std::pair<std::string, at::Tensor>> LanguageModel::parameters() const { return impl_->parameters.list(); }
at::Tensor LanguageModel::output_weight() const { return impl_->head->weight(); }

std::int64_t LanguageModel::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : impl_->parameters.list()) count += tensor.numel();
  return count;
}

void LanguageModel::to(at::Device device, at::ScalarType dtype) {
  for (const auto& [name, tensor] : impl_->parameters.list()) {
    tensor.mutable_grad() = at::Tensor();
    tensor.set_data(tensor.detach().to(device, dtype));
  }
  impl_->trunk.to(device, dtype);
}

at::Tensor LanguageModel::hidden(const at::Tensor& ids_BN, const ForwardOptions& options) const {
  return impl_->trunk.hidden(ids_BN, options);
}

std::pair<at::Tensor, DecodeState> LanguageModel::read(const at::Tensor& ids_BN, const DecodeState& before,
                                                       const ForwardOptions& options) const {
  return impl_->trunk.read(ids_BN, before, options);
}

at::Tensor LanguageModel::logits(const at::Tensor& ids_BN, const ForwardOptions& options) const {
  return impl_->head->logits(hidden(ids_BN, options));
}

at::Tensor LanguageModel::loss(const at::Tensor& ids_BN, const Targets& targets, const ForwardOptions& options,
                               at::ScalarType dtype) const {
  const auto device = output_weight().device();
  const AutocastGuard autocast(dtype, device.type());
  return impl_->head->loss(hidden(ids_BN.to(device), options), targets, dtype);
}

void LanguageModel::attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const {
  impl_->trunk.attention_weights(ids_BN, visit);
}

std::pair<at::Tensor, DecodeState> LanguageModel::prefill(const std::vector<std::vector<std::int64_t>>& prompts,
                                                          std::int64_t chunk) const {
  const at::NoGradGuard no_grad;
  auto [last, state] = impl_->trunk.prefill(prompts, chunk);
  for (auto& row : last) row = impl_->logits_of_rows(row);
  return {at::cat(last, 0), std::move(state)};
}

at::Tensor LanguageModel::step(const at::Tensor& ids_B, DecodeState& state) const {
  const at::NoGradGuard no_grad;
  return impl_->logits_of_rows(impl_->trunk.step(ids_B, state));
}

}  // namespace linformer
