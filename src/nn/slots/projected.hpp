// Slot rules with learned entries E for keys and F for values, which heads and layers may share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

class ProjectedSlots : public SlotRule {
 public:
  using SlotRule::SlotRule;
  const at::Tensor& key() const { return key_; }
  const at::Tensor& value() const { return value_; }
  bool shared_by_heads() const { return key_.dim() == columns_dim_; }
  /// The entries for keys and for values, in `dtype`, for one forward pass. If they are shared, the same tensor twice.
  std::pair<at::Tensor, at::Tensor> projections(at::ScalarType dtype) const;

 protected:
  /// Makes E and F. `shape` is that of one head. Calls `draw(name, shape)` for each of them: once if keys and values
  /// share one, and not at all if an earlier layer has made it.
  template <class Draw>
  void make(const LayerContext& context, std::vector<std::int64_t> shape, const Draw& draw) {
    columns_dim_ = static_cast<std::int64_t>(shape.size());
    const auto sharing = context.config.attention.sharing;
    if (sharing == Sharing::none) shape.insert(shape.begin(), heads_);
    const bool layerwise = sharing == Sharing::layerwise;
    if (layerwise && context.shared.key.defined()) {
      key_ = value_ = context.shared.key;
      return;
    }
    key_ = draw(context.name + ".projection_key", shape);
    value_ = layerwise || sharing == Sharing::key_value ? key_ : draw(context.name + ".projection_value", shape);
    context.shared.key = key_;
  }

  /// Entries (K,P) or (H,K,P) as attention.projection_start says (maths 1, 4).
  static at::Tensor draw_matrix(const LayerContext& context, const std::string& name, at::IntArrayRef shape);
  /// Standard deviation of the noise on entries that start as means of `weights` positions (maths 4).
  static double noise_of_means(std::int64_t weights);

  at::Tensor key_, value_;

 private:
  std::int64_t columns_dim_ = 0;  // dimensions of what one head has
};

}  // namespace linformer::nn
