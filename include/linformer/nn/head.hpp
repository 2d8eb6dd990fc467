// What a model makes of the hidden states of its trunk, and what it is trained by. Shape letters: B sequences, N
// tokens, V vocabulary, d width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace linformer {

/// The ids to predict.
struct Targets {
  at::Tensor ids;       ///< (B,N) int64; -100 = none at this position
  bool sparse = false;  ///< few positions have one, so that it pays to select them before the output layer
};

/// What evaluation adds up over batches.
struct Score {
  double loss = 0;  ///< the sum over the targets, in nats
  std::int64_t targets = 0;
  at::Tensor right = {};  ///< (targets) bool, in their order: whether the target has the highest logit; if asked for
};

/// `language` predicts the next token of a text, `masked` the tokens that were hidden (model.causal = false).
class Head {
 public:
  virtual ~Head() = default;
  virtual std::string_view name() const = 0;
  /// Whether the loss of all tokens of a text is the length of a code for it, so that bits per byte mean something.
  virtual bool gives_code_length() const = 0;
  /// The mean loss over all targets, in nats; NaN where there is none. Products are computed in `dtype`.
  virtual at::Tensor loss(const at::Tensor& hidden_BNd, const Targets& targets, at::ScalarType dtype) const = 0;
  /// The same without gradients, as sums. `answers` asks for Score::right.
  virtual Score score(const at::Tensor& hidden_BNd, const Targets& targets, at::ScalarType dtype,
                      bool answers) const = 0;
  virtual at::Tensor logits(const at::Tensor& hidden) const = 0;  ///< (…,d) → (…,V)
  virtual const at::Tensor& weight() const = 0;                   ///< (V,d)
};

}  // namespace linformer
