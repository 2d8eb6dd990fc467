// One token of prefix attention (maths 3): the state is the two running sums.
#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "nn/decoder_attention.hpp"
#include "nn/slots/linear.hpp"

namespace linformer::nn {

namespace {

class PrefixDecoder final : public DecoderAttention {
 public:
  explicit PrefixDecoder(const LayerContext& context) : DecoderAttention(context) {
    const LinearSlots slots(context);
    slots_ = slots.slots();
    by_heads_ = !slots.shared_by_heads();
    key_columns_ = slots.key().transpose(-1, -2).contiguous();
    value_columns_ = slots.value().is_same(slots.key()) ? key_columns_ : slots.value().transpose(-1, -2).contiguous();
  }

  void load(const LayerState& state, const std::vector<std::int64_t>& positions) override {
    const auto sequences = static_cast<std::int64_t>(positions.size());
    key_ = HeadRows(sequences, heads_, slots_, width_);
    value_ = HeadRows(sequences, heads_, slots_, width_);
    for (std::int64_t i = 0; i < sequences; ++i) {
      key_.copy(i, 0, state.slots.key[i]);
      value_.copy(i, 0, state.slots.value[i]);
    }
  }

  StatePointer store(std::int64_t sequence, std::int64_t) const override {
    auto state = std::make_unique<LayerState>();
    state->slots = {key_.read(sequence, 0, slots_), value_.read(sequence, 0, slots_)};
    return state;
  }

  std::int64_t bytes_a_sequence() const override { return key_.bytes_a_sequence() + value_.bytes_a_sequence(); }

 protected:
  // S += E[:, t]·kᵀ, U += F[:, t]·vᵀ.
  Sight see(const kernels::DecodeKernels& kernels, const Token& token, Scratch& scratch) override {
    const auto column = ((by_heads_ ? token.head * longest_ : 0) + token.position) * slots_;
    const auto add = [&](const at::Tensor& columns, const float* row, float* sums) {
      std::copy_n(row, width_, scratch.out.data());
      kernels.add_slots({columns.const_data_ptr<float>() + column, 1, scratch.out.data(), sums, slots_, 1, stride_});
    };
    float *keys = key_.row(token.sequence, token.head, 0), *values = value_.row(token.sequence, token.head, 0);
    add(key_columns_, token.key, keys);
    add(value_columns_, token.value, values);
    return {{{keys, values, slots_, 0.0F}}, 1};
  }
  std::int64_t most_visible(std::int64_t) const override { return slots_; }

 private:
  std::int64_t slots_ = 0;
  bool by_heads_ = false;
  at::Tensor key_columns_, value_columns_;  // (P,K) or (H,P,K)
  HeadRows key_, value_;
};

}  // namespace

std::unique_ptr<DecoderAttention> make_decoder_prefix(const LayerContext& context) {
  return std::make_unique<PrefixDecoder>(context);
}

}  // namespace linformer::nn
