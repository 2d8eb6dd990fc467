// Shape letters: docs/maths.md.
#include "nn/decoder_attention.hpp"

#include <algorithm>
#include <cmath>

#include "linformer/core/error.hpp"

namespace linformer::nn {

using kernels::DecodeKernels, kernels::padded;

DecoderAttention::DecoderAttention(const LayerContext& context)
    : heads_(context.config.state_heads()),
      group_(context.config.heads / heads_),
      width_(context.config.head_width()),
      stride_(padded(width_)),
      longest_(context.config.longest_text()),
      rotation_(context.shared.rotation) {}

DecoderAttention::Scratch DecoderAttention::scratch() const {
  const auto floats = [](std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); };
  return {floats(stride_), floats(stride_), {}, floats(stride_), floats(block_weights())};
}

void DecoderAttention::fit(Scratch& scratch, std::int64_t position) const {
  const auto needed = static_cast<std::size_t>(padded(most_visible(position)) + kernels::kPadding);
  if (needed > scratch.weights.size()) scratch.weights.resize(std::max(needed, 2 * scratch.weights.size()));
}

void DecoderAttention::attend(const DecodeKernels& kernels, const Input& input, Scratch& scratch, float* out) {
  const auto head = input.head, own = heads_ * width_;
  const float *query = input.rows + head * group_ * width_, *keys = input.rows + group_ * own;
  auto sight = see(kernels,
                   {input.sequence, head, input.position, keys + head * width_, keys + own + head * width_,
                    keys + 2 * own + head * scores_a_head(), input.turn},
                   scratch);
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width_)));
  for (std::int64_t member = 0; member < group_; ++member, query += width_, out += width_) {
    for (std::int64_t i = 0; i < width_; ++i) scratch.query[static_cast<std::size_t>(i)] = query[i] * scale;
    if (sight.slots >= 0) {
      auto& slots = sight.parts[sight.slots];
      slots.bias = slot_bias_[static_cast<std::size_t>(head * group_ + member)];
      if (*rotation_) {  // slots have no position
        std::copy_n(scratch.query.data(), width_, scratch.slot_query.data());
        slots.query = scratch.slot_query.data();
      }
    }
    if (*rotation_) rotation_->turn_row(input.turn, scratch.query.data());
    kernels.attend(
        {scratch.query.data(), sight.parts, sight.count, stride_, scratch.weights.data(), scratch.out.data()});
    std::copy_n(scratch.out.data(), width_, out);
  }
  std::fill(scratch.out.begin(), scratch.out.end(), 0.0F);
}

std::unique_ptr<DecoderAttention> make_decoder_attention(const LayerContext& context) {
  switch (form_of(context.config, context.layer)) {
    case Form::softmax:
      return make_decoder_softmax(context);
    case Form::prefix:
      return make_decoder_prefix(context);
    case Form::running:
    case Form::block:
      return make_decoder_window(context);
    case Form::bidirectional:
    case Form::bidirectional_softmax:
      break;
  }
  fail("a bidirectional model can't continue a sequence.");
}

}  // namespace linformer::nn
