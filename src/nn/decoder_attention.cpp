// Shape letters: docs/maths.md.
#include "nn/decoder_attention.hpp"

#include <algorithm>
#include <cmath>

#include "linformer/core/error.hpp"

namespace linformer::nn {

using kernels::DecodeKernels, kernels::VisibleKeys, kernels::padded;

DecoderAttention::DecoderAttention(const ModelConfig& config)
    : heads_(config.heads), width_(config.head_width()), stride_(padded(width_)), longest_(config.longest_text()) {}

DecoderAttention::Scratch DecoderAttention::scratch() const {
  const auto floats = [](std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); };
  return {floats(stride_), {}, floats(stride_), floats(block_weights())};
}

void DecoderAttention::fit(Scratch& scratch, std::int64_t position) const {
  const auto needed = static_cast<std::size_t>(padded(most_visible(position)) + kernels::kPadding);
  if (needed > scratch.weights.size()) scratch.weights.resize(std::max(needed, 2 * scratch.weights.size()));
}

void DecoderAttention::attend(const DecodeKernels& kernels, std::int64_t sequence, std::int64_t head,
                              std::int64_t position, const float* inputs, Scratch& scratch, float* out) {
  const auto d = heads_ * width_;
  const float* query = inputs + head * width_;
  const Token token{sequence, head, position, query, query + d, query + 2 * d, inputs + 3 * d + head * scores_a_head()};
  VisibleKeys visible[kMostParts];
  const int parts = see(kernels, token, scratch, visible);
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width_)));
  for (std::int64_t i = 0; i < width_; ++i) scratch.query[static_cast<std::size_t>(i)] = token.query[i] * scale;
  kernels.attend({scratch.query.data(), visible, parts, stride_, scratch.weights.data(), scratch.out.data()});
  std::copy_n(scratch.out.data(), width_, out);
  std::fill(scratch.out.begin(), scratch.out.end(), 0.0F);
}

std::unique_ptr<DecoderAttention> make_decoder_attention(const LayerContext& context) {
  switch (form_of(context.config)) {
    case Form::softmax:
      return make_decoder_softmax(context.config);
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
