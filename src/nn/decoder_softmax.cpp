// One token of standard attention (maths 5): the state is the cache.
#include <algorithm>
#include <memory>

#include "nn/decoder_attention.hpp"

namespace linformer::nn {

namespace {

class SoftmaxDecoder final : public DecoderAttention {
 public:
  using DecoderAttention::DecoderAttention;

  void load(const LayerState& state, const std::vector<std::int64_t>& positions) override {
    const auto sequences = static_cast<std::int64_t>(positions.size());
    const auto longest = *std::max_element(positions.begin(), positions.end());
    const auto room = std::min(longest_, kernels::padded(longest + longest / 2 + 1));
    key_ = HeadRows(sequences, heads_, room, width_);
    value_ = HeadRows(sequences, heads_, room, width_);
    for (std::int64_t i = 0; i < sequences; ++i) {
      const auto count = positions[static_cast<std::size_t>(i)];
      key_.copy(i, 0, state.key[i].narrow(1, 0, count));
      value_.copy(i, 0, state.value[i].narrow(1, 0, count));
    }
  }

  StatePointer store(std::int64_t sequence, std::int64_t position) const override {
    auto state = std::make_unique<LayerState>();
    state->key = key_.read(sequence, 0, position);
    state->value = value_.read(sequence, 0, position);
    return state;
  }

  void make_room(std::int64_t position) override {
    if (position < key_.length()) return;
    const auto length = std::min(longest_, std::max(position + 1, 2 * key_.length()));
    key_.grow(length);
    value_.grow(length);
  }

  std::int64_t bytes_a_sequence() const override { return key_.bytes_a_sequence() + value_.bytes_a_sequence(); }

 protected:
  Sight see(const kernels::DecodeKernels&, const Token& token, Scratch&) override {
    float* key = key_.row(token.sequence, token.head, token.position);
    std::copy_n(token.key, width_, key);
    if (*rotation_) rotation_->turn_row(token.turn, key);
    std::copy_n(token.value, width_, value_.row(token.sequence, token.head, token.position));
    return {{{key_.row(token.sequence, token.head, 0), value_.row(token.sequence, token.head, 0), token.position + 1,
              0.0F}},
            1};
  }
  std::int64_t most_visible(std::int64_t position) const override { return position + 1; }

 private:
  HeadRows key_, value_;
};

}  // namespace

std::unique_ptr<DecoderAttention> make_decoder_softmax(const LayerContext& context) {
  return std::make_unique<SoftmaxDecoder>(context);
}

}  // namespace linformer::nn
