// What defines a model: its sizes and its attention. The letters and terms are explained in docs/maths.md.
#pragma once

#include <limits>

#include "linformer/config/attention_config.hpp"
#include "linformer/config/field.hpp"

namespace linformer {

enum class Position { learned, sinusoidal, rotary, none };
enum class NormKind { layer, rms };
enum class FeedForwardKind { gelu, swiglu };

template <>
struct EnumNames<Position> {
  static constexpr std::array names{"learned", "sinusoidal", "rotary", "none"};
};

template <>
struct EnumNames<NormKind> {
  static constexpr std::array names{"layer", "rms"};
};
template <>
struct EnumNames<FeedForwardKind> {
  static constexpr std::array names{"gelu", "swiglu"};
};

struct ModelConfig {
  std::int64_t length = 512;  ///< P: of a training sequence; also the longest text, see longest_text()
  std::int64_t width = 384;   ///< d
  std::int64_t layers = 6;
  std::int64_t heads = 6;            ///< H
  std::int64_t key_value_heads = 0;  ///< G; 0 = as many as heads
  FeedForwardKind feed_forward_kind = FeedForwardKind::gelu;
  std::int64_t feed_forward = 0;  ///< hidden width of the feed-forward; 0 = see hidden_width()
  std::int64_t vocabulary = 0;    ///< V; 0 = that of the data
  double dropout = 0.0;
  double initializer_range = 0.02;  ///< standard deviation of new weights; GPT-2 uses 0.02 at d = 768
  bool tied = false;                ///< the output layer uses the token embedding's weights
  bool causal = true;
  bool bias = true;                 ///< linear layers have a bias, and layer norms too
  NormKind norm = NormKind::layer;  ///< of blocks, slots and windows
  Position position = Position::learned;
  double rotary_base = 0;  ///< 0 = see base()
  AttentionConfig attention;

  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("model.length", self.length,
            "P: tokens of a training sequence; also the longest text, unless the model is free of positions");
    visitor("model.width", self.width, "d: width of the embeddings");
    visitor("model.layers", self.layers, "number of blocks");
    visitor("model.heads", self.heads, "H: attention heads; divides the width");
    visitor("model.key_value_heads", self.key_value_heads,
            "G: heads of keys and values, each for H/G query heads, so that the state is smaller; 0: as many as heads");
    visitor("model.feed_forward_kind", self.feed_forward_kind,
            "gelu, or swiglu, which has three matrices and is used by most models of today");
    visitor("model.feed_forward", self.feed_forward,
            "hidden width of the feed-forward; 0: four times the width; with swiglu 8/3 of it, up to a multiple of 32");
    visitor("model.vocabulary", self.vocabulary, "V: number of token ids; 0: that of the data");
    visitor("model.dropout", self.dropout, "dropout: share of values set to zero in training");
    visitor("model.initializer_range", self.initializer_range,
            "standard deviation of weights before training; narrow models can take more, such as 0.1 at d 64");
    visitor("model.tied", self.tied, "the output layer uses the weights of the token embedding");
    visitor("model.causal", self.causal, "each position sees only itself and earlier positions");
    visitor("model.bias", self.bias, "linear layers and layer norms have a bias");
    visitor("model.norm", self.norm, "layer (mean and variance) or rms (root mean square alone, without a bias)");
    visitor(
        "model.position", self.position,
        "positions: learned or sinusoidal rows are added to the embedding; rotary turns keys and queries of softmax "
        "and windows, without a table; or none");
    visitor("model.rotary_base", self.rotary_base,
            "of rotary positions: the larger, the slower the slowest parts of a key turn; 0: 10000");
    AttentionConfig::visit(self.attention, visitor);
  }
  bool operator==(const ModelConfig&) const = default;

  /// The longest text that the model can read: `length`, or kUnlimited where no part of it depends on a position. Such
  /// a model goes on past the length that it was trained at.
  std::int64_t longest_text() const;
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

  // These return a field's value with every automatic value filled in.
  std::int64_t head_width() const { return width / heads; }
  double base() const;  ///< of rotary positions; 10000 where rotary_base is 0
  std::int64_t state_heads() const { return key_value_heads ? key_value_heads : heads; }  ///< G
  std::int64_t hidden_width() const;          ///< 0 = 4d; with swiglu 8d/3, up to a multiple of 32: as many weights
  bool is_softmax(std::int64_t layer) const;  ///< this layer has full softmax attention
  std::int64_t slots_of(std::int64_t layer) const;        ///< K of one layer; 0 where it has softmax attention
  std::int64_t block_slots_of(std::int64_t layer) const;  ///< r = K·W/P of one layer
  /// auto = 0 for a bidirectional model, 64 for a causal one. A causal model with fewer than 64 positions takes P/4:
  /// then half of its positions read slots. With block summaries it is the largest window up to this size that gives
  /// each block a whole number of slots.
  std::int64_t window() const;
  std::int64_t period() const;                              ///< p; 0 = the projection has none
  std::optional<ProjectionStart> projection_start() const;  ///< std::nullopt = E and F are not learned matrices
  Normalise normalise() const;
  std::optional<double> slot_bias() const;  ///< value before training; std::nullopt = the model has no slot bias
};

/// What a query sees, in a layer of a model (docs/maths.md). bidirectional and prefix see slots alone; running and
/// block see slots and a causal window.
enum class Form { softmax, bidirectional_softmax, bidirectional, prefix, running, block };

template <>
struct EnumNames<Form> {
  static constexpr std::array names{"softmax", "bidirectional-softmax", "bidirectional", "prefix", "running", "block"};
};

Form form_of(const ModelConfig& config, std::int64_t layer);
/// Of all layers but those that attention.softmax_layers names.
Form form_of(const ModelConfig& config);

/// Replaces every `auto`, and every 0 that stands for a default, by its value. Then checks sizes and combinations. A
/// UserError names the field, its value, what was expected and what to change. Call it before you build a model.
ModelConfig resolved(ModelConfig config);

}  // namespace linformer
