// How slots are made from keys and values: one class, in one file, for each value of attention.projection. Shape
// letters: docs/maths.md; r slots a block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/decode_kernels.hpp"
#include "linformer/ops/running.hpp"
#include "linformer/ops/summarise.hpp"
#include "nn/layer_context.hpp"

namespace linformer::nn {

/// What slots are made of: some positions of a text. Sinks, which no slot takes in, are zero rows of keys and values,
/// so that a weighted sum needs no more; a rule whose weights depend on the text gives the first `sinks` rows none.
struct SlotText {
  at::Tensor key, value;   ///< (B,H,M,D)
  at::Tensor scores = {};  ///< (B,H,K,M), those of SlotRule::scores(); undefined when the rule has none
  std::int64_t first = 0;  ///< position of the first of them, at the start of a block
  std::int64_t sinks = 0;  ///< how many of the first rows are sinks; 0 where `first` > 0
};

/// A block of one head that leaves the window while decoding, in float32. Rows are `stride` apart.
struct DecodedBlock {
  const kernels::DecodeKernels& kernels;
  std::int64_t head, number;  ///< `number`: of the block in the text
  struct Side {
    const float* rows;  ///< (W,D), not normalised
    float* slots;       ///< running: the sums (K,D), which the block is added to; block: where its r slots go
  } key, value;
  std::int64_t stride;
  const float* scores;  ///< (W,r), running: (W,K), rows `score_stride` apart; null when the rule has none
  std::int64_t score_stride;
  float* weights;          ///< working memory, SlotRule::working_floats()
  std::int64_t sinks = 0;  ///< as SlotText::sinks: first rows, of zeros, that get no weight
  float* mass = nullptr;   ///< (K), which the block's is added to; null when the rule has none
};

class SlotRule {
 public:
  explicit SlotRule(const LayerContext& context);
  virtual ~SlotRule() = default;
  std::int64_t slots() const { return slots_; }  ///< K, or r with block summaries

  /// (B,H,K,N) of the input of the keys' linear layer, for a rule whose weights depend on the text; else undefined.
  virtual at::Tensor scores(const at::Tensor& x_BNd) const;
  virtual bool has_scores() const { return false; }
  /// Whether its running slots are means: sums that the reader divides by their mass (mass.hpp).
  virtual bool has_mass() const { return false; }
  /// How much each slot takes from each position (B,H,K,N), when that depends on the text; else undefined.
  virtual at::Tensor reads(const at::Tensor& x_BNd, const ops::SummariseOptions& options) const;
  /// The same for a rule whose weights depend on the keys (B,G,N,D).
  virtual at::Tensor reads_of_keys(const at::Tensor& key_BGND) const;
  /// The slots of a whole text, of its blocks, or running ones.
  virtual ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const = 0;
  /// Only of running slots: the sums after some whole blocks, from those before them. For one block and one head
  /// absorb() does the same.
  virtual ops::Slots sums_after(const ops::Slots& sums, const SlotText& blocks) const;
  /// Only of running slots: what the blocks of a text write, for the operator that makes the sums where it attends. Of
  /// a rule whose slots are not such sums: nothing; then summarise() makes them all.
  virtual std::optional<ops::SlotWrites> writes(const SlotText& text) const;
  /// Call before absorb(), which may read what is made here of the parameters.
  virtual void prepare_decoding() {}
  virtual std::int64_t working_floats() const;  ///< numbers of DecodedBlock::weights
  virtual void absorb(const DecodedBlock& block) const = 0;

 protected:
  /// In float32 at least.
  static at::Tensor in_float(const at::Tensor& x);
  /// The slots of one side become weights (r,W) · rows.
  void set_slots(const DecodedBlock& block, const DecodedBlock::Side& side, const float* weights) const;

  Form form_;
  std::int64_t heads_;  // G: those of keys and values
  std::int64_t window_;
  std::int64_t slots_;
  std::int64_t length_;   ///< of what slots are made of: P, or W with block summaries
  std::int64_t segment_;  ///< positions a slot, for a rule that cuts `length` into equal parts
};

/// The rule of a layer; null when it has a window alone.
std::unique_ptr<SlotRule> make_slot_rule(const LayerContext& context);

std::unique_ptr<SlotRule> make_linear_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_dynamic_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_convolution_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_periodic_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_gated_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_cluster_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_mean_slots(const LayerContext& context);
std::unique_ptr<SlotRule> make_max_slots(const LayerContext& context);

}  // namespace linformer::nn
