// How the layers of a model attend. The letters and terms are explained in docs/maths.md.
#pragma once

#include "linformer/config/field.hpp"

namespace linformer {

enum class AttentionKind { softmax, linformer };
enum class Sharing { none, headwise, key_value, layerwise };
enum class Projection { linear, dynamic, convolution, mean, max, periodic, gated, cluster };
enum class ProjectionStart { random, means };
enum class Normalise { none, keys, both };
enum class Summary { running, block };

template <>
struct EnumNames<AttentionKind> {
  static constexpr std::array names{"softmax", "linformer"};
};
template <>
struct EnumNames<Sharing> {
  static constexpr std::array names{"none", "headwise", "key-value", "layerwise"};
};
template <>
struct EnumNames<Projection> {
  static constexpr std::array names{"linear", "dynamic", "convolution", "mean", "max", "periodic", "gated", "cluster"};
};
template <>
struct EnumNames<ProjectionStart> {
  static constexpr std::array names{"random", "means"};
};
template <>
struct EnumNames<Normalise> {
  static constexpr std::array names{"none", "keys", "both"};
};
template <>
struct EnumNames<Summary> {
  static constexpr std::array names{"running", "block"};
};

/// How layers attend. When kind = softmax, the other fields are ignored, but for softmax_layers, which must be empty.
/// So this one field turns any other config file into one for the standard Transformer.
struct AttentionConfig {
  AttentionKind kind = AttentionKind::linformer;
  /// K, the number of slots. With block summaries it counts over the whole length, so each block has r = K·W/P of them.
  /// 0 = only the window.
  std::int64_t slots = 64;
  std::vector<std::int64_t> slots_by_layer;  ///< K of each layer; empty = `slots` everywhere
  /// Layers, from 0 and rising, that keep full softmax attention: a hybrid. Their K in slots_by_layer is 0.
  std::vector<std::int64_t> softmax_layers;
  Sharing sharing = Sharing::headwise;
  Projection projection = Projection::linear;
  std::int64_t period =
      0;  ///< p of periodic: positions after which E and F repeat; 0 = 8 windows, or as much as slots take in
  /// Where E and F start, for linear, periodic and convolution projections. auto = means for convolution, for block
  /// summaries and for bidirectional models; random for the rest.
  std::optional<ProjectionStart> projection_start;
  /// Only for bidirectional models: compute (E·X)·W instead of E·(X·W) where heads share E. Same result, less time.
  bool reassociate = true;
  /// W; 0 = no window (a causal model is then `prefix`); for auto see ModelConfig::window().
  std::optional<std::int64_t> window;
  /// s ≤ W: so many first positions of a text stay exact and visible for ever (Xiao et al. 2023, arXiv 2309.17453).
  std::int64_t sinks = 0;
  Summary summary = Summary::running;
  std::optional<Normalise> normalise;  ///< auto = keys with a window, else none
  std::optional<double> slot_bias;     ///< value before training; auto = −2 with a window; `none` (NaN) = no bias
  /// No field, so no file and no flag can name it: softmax attention with all N×N weights as tensors, which `benchmark`
  /// measures. What the model says is the same.
  bool plain = false;

  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("attention.kind", self.kind, "softmax (the standard Transformer) or linformer");
    visitor("attention.slots", self.slots, "K: number of slots, which sum up the sequence; 0: only the window");
    visitor("attention.slots_by_layer", self.slots_by_layer,
            "K of each layer, such as 64,64,32; empty: the same everywhere");
    visitor("attention.softmax_layers", self.softmax_layers,
            "layers of a Linformer that keep full softmax attention, counted from 0, such as 0,3; empty: none");
    visitor("attention.sharing", self.sharing,
            "who shares a projection: none, headwise (the heads), key-value (also keys and values) or layerwise (all)");
    visitor("attention.projection", self.projection,
            "how slots are made: linear, dynamic, convolution, mean, max, periodic, gated or cluster");
    visitor("attention.period", self.period,
            "p of attention.projection = periodic: positions after which E and F repeat; 0: 8 windows, less in short "
            "models");
    visitor("attention.projection_start", self.projection_start,
            "where E and F start: random, or means of segments; auto: depends on the form");
    visitor("attention.reassociate", self.reassociate,
            "bidirectional: shorten the sequence before the products with the weights; same result, less time");
    visitor("attention.window", self.window,
            "W: exact attention to the last W to 2W-1 positions; 0: none; auto: 64 when causal, below that length/4");
    visitor("attention.sinks", self.sinks,
            "s: first positions of a text that a causal window keeps exact and visible for ever; at most W");
    visitor("attention.summary", self.summary, "slots of a causal window: running (constant memory) or block");
    visitor("attention.normalise", self.normalise,
            "layer norms of slots and window: none, keys or both; auto: keys with a window");
    visitor(
        "attention.slot_bias", self.slot_bias,
        "how open slots are before training (a learned bias of their logits); none: no bias; auto: -2 with a window");
  }
  bool operator==(const AttentionConfig&) const;  ///< two slot biases of `none` (NaN) count as equal
};

}  // namespace linformer
