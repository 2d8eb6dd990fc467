// Standard attention with all N×N weights as tensors, as programs did before fused attention (maths 5). `benchmark`
// compares with it; no config file can ask for it (AttentionConfig::plain).
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "linformer/core/error.hpp"
#include "nn/attention.hpp"

namespace linformer::nn {

namespace {

class PlainAttention final : public Attention {
 public:
  explicit PlainAttention(const LayerContext& context) : Attention(context), causal_(context.config.causal) {}

  AttentionWeights weights(const at::Tensor& x) const override {
    return {.positions = weights_of(turned(heads_of(x), 0), std::nullopt)};
  }

 protected:
  at::Tensor attend(const at::Tensor&, const Heads& heads,
                    const std::optional<at::Tensor>& padding_mask) const override {
    return at::matmul(weights_of(turned(heads, 0), padding_mask), ops::repeat_heads(heads.value, heads_));
  }
  std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk&) const override {
    fail("plain attention reads whole texts only.");
  }
  at::Tensor attend_step(const at::Tensor&, const Heads&, const std::vector<std::int64_t>&,
                         LayerState&) const override {
    fail("plain attention can't continue a sequence.");
  }

 private:
  at::Tensor weights_of(const Heads& heads, const std::optional<at::Tensor>& padding_mask) const {
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    const auto query = heads.query / std::sqrt(static_cast<double>(head_width_));
    auto logits_BHNN = at::matmul(query, ops::repeat_heads(heads.key, heads_).transpose(2, 3));
    if (causal_) {
      const auto n = query.size(2);
      const auto future_NN = at::ones({n, n}, query.options().dtype(at::kBool)).triu(1);
      logits_BHNN = logits_BHNN.masked_fill(future_NN, kNever);
    }
    if (padding_mask) logits_BHNN = logits_BHNN.masked_fill(padding_mask->unsqueeze(1).unsqueeze(1), kNever);
    return at::softmax(logits_BHNN, -1);
  }

  bool causal_;
};

}  // namespace

std::unique_ptr<Attention> make_plain(const LayerContext& context) { return std::make_unique<PlainAttention>(context); }

}  // namespace linformer::nn
