// The attention of one layer in a decode step: its small weights, the state of each sequence, and one query against
// that state. Shape letters: docs/maths.md; S sequences and L positions for which there is memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "linformer/config/model_config.hpp"
#include "linformer/kernels/decode_kernels.hpp"
#include "nn/attention.hpp"

namespace linformer::nn {

/// Float32 rows (S,H,L,D). Each row is padded for the kernels.
class HeadRows {
 public:
  HeadRows() = default;
  HeadRows(std::int64_t sequences, std::int64_t heads, std::int64_t length, std::int64_t width);
  bool empty() const { return data_.empty(); }
  std::int64_t length() const { return length_; }
  std::int64_t bytes_a_sequence() const {
    return heads_ * length_ * stride_ * static_cast<std::int64_t>(sizeof(float));
  }
  float* row(std::int64_t sequence, std::int64_t head, std::int64_t index) {
    return data_.data() + offset(sequence, head, index);
  }
  const float* row(std::int64_t sequence, std::int64_t head, std::int64_t index) const {
    return data_.data() + offset(sequence, head, index);
  }
  /// Fills rows[first, first + its length) of one sequence from (H,·,D).
  void copy(std::int64_t sequence, std::int64_t first, const at::Tensor& rows_HLD);
  void grow(std::int64_t length);

 private:
  std::int64_t offset(std::int64_t sequence, std::int64_t head, std::int64_t index) const {
    return ((sequence * heads_ + head) * length_ + index) * stride_;
  }
  std::int64_t sequences_ = 0, heads_ = 0, length_ = 0, width_ = 0, stride_ = 0;
  std::vector<float> data_;
};

struct DecoderNorm {
  at::Tensor weight, bias;
  bool empty() const { return !weight.defined(); }
};

/// Finds a parameter by its name after "blocks.{layer}."; undefined when the model doesn't have it.
using FindParameter = std::function<at::Tensor(std::int64_t layer, const std::string& name)>;

class DecoderAttention {
 public:
  DecoderAttention(const ModelConfig& config, std::int64_t layer, const FindParameter& find);

  /// The working memory of one thread.
  struct Scratch {
    std::vector<float> query, weights, out, projection;
  };
  Scratch scratch() const;

  /// Makes room for the sequences of `state` and copies their values.
  void load(const LayerState& state, const std::vector<std::int64_t>& positions);
  /// Call before a step whose tokens stand at `position` at the most. May allocate memory.
  void make_room(std::int64_t position);
  /// Adds the key and the value of one token, for one head, to the state, and attends. `inputs` holds query, key and
  /// value (d each), then dynamic scores (H·r). Different heads and sequences may run at the same time. out (D).
  void attend(const kernels::DecodeKernels& kernels, std::int64_t sequence, std::int64_t head, std::int64_t position,
              const float* inputs, Scratch& scratch, float* out);
  std::int64_t bytes_a_sequence() const;
  /// Rows of scores that the first product of the layer makes in addition to query, key and value.
  std::int64_t score_rows() const { return dynamic_ ? heads_ * slots_ : 0; }

 private:
  struct Token {
    std::int64_t sequence, head, position;
    const float *query, *key, *value, *scores;
  };

  void load_window(const LayerState& state, const std::vector<std::int64_t>& positions);
  int see_window(const kernels::DecodeKernels& kernels, const Token& token, Scratch& scratch,
                 kernels::VisibleKeys* visible);
  void freeze(const kernels::DecodeKernels& kernels, const Token& token, std::int64_t block, Scratch& scratch);
  const float* block_weights(const Token& token, std::int64_t half, const at::Tensor& projection,
                             Scratch& scratch) const;
  void largest_of_segments(const float* rows, float* slots) const;
  void normalise(const kernels::DecodeKernels& kernels, const DecoderNorm& norm, HeadRows& from, HeadRows& to,
                 const Token& token, std::int64_t first, std::int64_t count) const;
  HeadRows& seen_key() { return window_key_norm_.empty() ? key_ : normed_key_; }
  HeadRows& seen_value() { return window_value_norm_.empty() ? value_ : normed_value_; }
  HeadRows& seen_slot_key() { return slot_key_norm_.empty() || form_ == Form::block ? slot_key_ : normed_slot_key_; }
  HeadRows& seen_slot_value() {
    return slot_value_norm_.empty() || form_ == Form::block ? slot_value_ : normed_slot_value_;
  }

  Form form_;
  std::int64_t heads_, width_, stride_, window_, length_;
  std::int64_t slots_ = 0;    // K, or r of block summaries
  std::int64_t segment_ = 0;  // of max pooling
  bool dynamic_ = false;
  at::Tensor projection_key_,
      projection_value_;  // (K,P); prefix: (P,K); block: (r,W); each with H in front where heads have their own
  std::vector<float> slot_bias_;
  DecoderNorm slot_key_norm_, slot_value_norm_, window_key_norm_, window_value_norm_;

  // softmax: the cache; window: the two last blocks, not normalised; block c is in half c mod 2
  HeadRows key_, value_;
  HeadRows normed_key_, normed_value_;
  HeadRows slot_key_, slot_value_;  // prefix and running: sums, not normalised; block: normalised slots
  HeadRows normed_slot_key_, normed_slot_value_;
  HeadRows scores_;  // dynamic: (S,H,2W,r)
};

}  // namespace linformer::nn
