// What a causal layer needs of the text that it has read, in one layout: of the general step, of prompts that are read
// in chunks, and of the fast decoder. Shape letters: docs/maths.md; r slots a block, c the block of the last token.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "linformer/nn/decode_state.hpp"
#include "linformer/ops/attention.hpp"

namespace linformer::nn {

/// Everything is as it was before normalisation, in the weights' dtype, float32 or wider; only the cache of softmax has
/// the dtype in which the prompt was read. What a form doesn't need is undefined. Of several sequences that are not
/// equally far, the shorter ones' rest may hold anything finite.
struct LayerState final : DecodeState::Layer {
  /// Softmax: every position, (B,H,L,D). With a window: blocks c−1 and c, (B,H,2W,D); finite where no token stands.
  at::Tensor key, value;
  /// Prefix: the sums of all positions, (B,H,K,D). Running slots: those of blocks 0..c−2. Block slots: those of these
  /// blocks, one after the other, (B,H,r·(c−1),D).
  /// Of projection `cluster` the running sums have a mass, (B,H,K,1).
  ops::Slots slots;
  at::Tensor scores;  ///< of dynamic and gated projection: of the positions of `key`, (B,H,2W,r) or (B,H,2W,K)
  ops::Slots sinks;   ///< keys and values of the first s positions, (B,H,s,D); zero where no token stands yet

  /// The tensors that are defined, with their names.
  std::vector<std::pair<std::string_view, at::Tensor>> named() const;
  std::int64_t bytes() const override;
  std::vector<at::Tensor> tensors() const override;
  std::unique_ptr<DecodeState::Layer> with(const std::vector<at::Tensor>& tensors) const override;
  std::unique_ptr<DecodeState::Layer> select(const std::vector<std::int64_t>& rows) const override;

  static constexpr std::size_t kTensors = 8;
  std::array<at::Tensor*, kTensors> all() {
    return {&key, &value, &slots.key, &slots.value, &slots.mass, &scores, &sinks.key, &sinks.value};
  }
  std::array<const at::Tensor*, kTensors> all() const {
    return {&key, &value, &slots.key, &slots.value, &slots.mass, &scores, &sinks.key, &sinks.value};
  }
};
using StatePointer = std::unique_ptr<LayerState>;

/// Joins several states into one, in order, as copies. Shorter tensors are padded with zeros.
StatePointer join(const std::vector<StatePointer>& states);

/// Makes room for `length` entries in dimension 2. If there is too little, the room at least doubles.
void reserve(at::Tensor& tensor, std::int64_t length);

}  // namespace linformer::nn
