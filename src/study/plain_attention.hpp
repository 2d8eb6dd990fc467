// The Transformer as it was before fused attention: it computes and stores every weight of softmax(QKᵀ)V.
#pragma once

#include <ATen/core/Tensor.h>

#include "linformer/nn/language_model.hpp"

namespace linformer {

/// LanguageModel::hidden() of a softmax model, with plain attention and without dropout; differentiable. ids (B,N) →
/// (B,N,d).
at::Tensor plain_hidden(const LanguageModel& model, const at::Tensor& ids_BN);

}  // namespace linformer
