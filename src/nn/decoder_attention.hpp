// The attention of one layer in a decode step: its small weights, the state of each sequence, and one query against
// that state. One class a form. Shape letters: docs/maths.md; S sequences, r slots a block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/decode_kernels.hpp"
#include "nn/head_rows.hpp"
#include "nn/layer_context.hpp"
#include "nn/state.hpp"

namespace linformer::nn {

class DecoderAttention {
 public:
  explicit DecoderAttention(const LayerContext& context);
  virtual ~DecoderAttention() = default;

  /// The working memory of one thread.
  struct Scratch {
    std::vector<float> query, slot_query, weights, out, projection;
  };
  Scratch scratch() const;
  /// Makes room in it for a token at `position`.
  void fit(Scratch& scratch, std::int64_t position) const;

  /// Makes room for the sequences of `state` and copies their values.
  virtual void load(const LayerState& state, const std::vector<std::int64_t>& positions) = 0;
  /// Keeps what store() needs. Call before load().
  virtual void keep_raw() {}
  /// The state of one sequence that has read `position` tokens, as load() takes it. Needs keep_raw().
  virtual StatePointer store(std::int64_t sequence, std::int64_t position) const = 0;
  /// Call before a step whose tokens stand at `position` at the most. May allocate memory.
  virtual void make_room(std::int64_t) {}
  /// One head of the keys and values of one token.
  struct Input {
    std::int64_t sequence, head, position;
    const float* rows;  ///< query (H·D), key and value (G·D each), then the scores of a slot rule (G·r or G·K)
    const float* turn;  ///< of the position (D), see Rotation::turn(); not read without rotary positions
  };
  /// Adds key and value to the state, and the query heads of this head attend. Different heads and sequences may run at
  /// the same time. out (H/G·D).
  void attend(const kernels::DecodeKernels& kernels, const Input& input, Scratch& scratch, float* out);
  virtual std::int64_t bytes_a_sequence() const = 0;
  /// Rows of scores that the first product of the layer makes in addition to query, key and value.
  virtual std::int64_t score_rows() const { return 0; }

 protected:
  struct Token {
    std::int64_t sequence, head, position;
    const float *key, *value, *scores, *turn;
  };
  /// What a token sees. `slots`: which part has the slots, whose bias is that of the query head; −1: none.
  struct Sight {
    kernels::VisibleKeys parts[4];
    int count = 0, slots = -1;
  };
  /// Stores the token, and lists what it sees.
  virtual Sight see(const kernels::DecodeKernels& kernels, const Token& token, Scratch& scratch) = 0;
  virtual std::int64_t most_visible(std::int64_t position) const = 0;  ///< keys and slots that a token there may see
  virtual std::int64_t block_weights() const { return 0; }             ///< numbers of Scratch::projection
  std::int64_t scores_a_head() const { return score_rows() / heads_; }

  std::int64_t heads_, group_;             // G, and query heads for each of them
  std::int64_t width_, stride_, longest_;  // longest_: longest_text()
  std::vector<float> slot_bias_;           // of each query head
  std::shared_ptr<const Rotation> rotation_;
};

std::unique_ptr<DecoderAttention> make_decoder_softmax(const LayerContext& context);
std::unique_ptr<DecoderAttention> make_decoder_prefix(const LayerContext& context);
std::unique_ptr<DecoderAttention> make_decoder_window(const LayerContext& context);
/// `context.parameters` gives those of the model in float32, contiguous. Layers must be made in order.
std::unique_ptr<DecoderAttention> make_decoder_attention(const LayerContext& context);

}  // namespace linformer::nn
