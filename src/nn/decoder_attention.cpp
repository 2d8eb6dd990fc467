// Shape letters: docs/maths.md.
#include "nn/decoder_attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace linformer::nn {

using kernels::DecodeKernels, kernels::VisibleKeys, kernels::padded;

HeadRows::HeadRows(std::int64_t sequences, std::int64_t heads, std::int64_t length, std::int64_t width)
    : sequences_(sequences),
      heads_(heads),
      length_(length),
      width_(width),
      stride_(padded(width)),
      data_(static_cast<std::size_t>(sequences * heads * length * stride_)) {}

void HeadRows::copy(std::int64_t sequence, std::int64_t first, const at::Tensor& rows_HLD) {
  if (rows_HLD.size(1) == 0) return;
  at::from_blob(row(sequence, 0, 0), {heads_, length_, stride_}, at::kFloat)
      .narrow(1, first, rows_HLD.size(1))
      .narrow(2, 0, width_)
      .copy_(rows_HLD);
}

void HeadRows::grow(std::int64_t length) {
  std::vector<float> grown(static_cast<std::size_t>(sequences_ * heads_ * length * stride_));
  const auto held = length_ * stride_;
  for (std::int64_t i = 0; i < sequences_ * heads_; ++i)
    std::copy_n(data_.data() + i * held, held, grown.data() + i * length * stride_);
  data_ = std::move(grown);
  length_ = length;
}

DecoderAttention::DecoderAttention(const ModelConfig& config, std::int64_t layer, const FindParameter& find)
    : form_(form_of(config)),
      heads_(config.heads),
      width_(config.head_width()),
      stride_(padded(width_)),
      window_(config.window()),
      length_(config.length) {
  if (form_ == Form::softmax) return;
  const bool block = form_ == Form::block;
  slots_ = block ? config.block_slots_of(layer) : config.slots_of(layer);
  const auto local = [&](const std::string& name) { return find(layer, "attention." + name); };
  const auto norm = [&](const std::string& name) {
    return DecoderNorm{local(name + "_norm.weight"), local(name + "_norm.bias")};
  };
  slot_key_norm_ = norm("slot_key");
  slot_value_norm_ = norm("slot_value");
  window_key_norm_ = norm("window_key");
  window_value_norm_ = norm("window_value");
  slot_bias_.resize(static_cast<std::size_t>(heads_), 0.0F);
  if (const auto bias = local("slot_bias"); bias.defined())
    std::copy_n(bias.const_data_ptr<float>(), heads_, slot_bias_.begin());

  if (slots_ == 0) return;  // a window alone
  // A shared projection is stored under its first owner's name.
  const auto shared = [&](const std::string& name) {
    return local(name).defined() ? local(name) : find(0, "attention." + name);
  };
  const auto positions = block ? window_ : length_;
  switch (config.attention.projection) {
    case Projection::dynamic:
      dynamic_ = true;
      break;
    case Projection::max:
      segment_ = positions / slots_;
      break;
    case Projection::mean: {
      segment_ = 0;
      const auto segment = positions / slots_;
      projection_key_ = at::eye(slots_).repeat_interleave(segment, 1).div_(static_cast<double>(segment)).contiguous();
      projection_value_ = projection_key_;
      break;
    }
    case Projection::convolution:
    case Projection::linear: {
      const auto own = [&](const at::Tensor& given) {
        if (config.attention.projection == Projection::linear)
          return (form_ == Form::prefix ? given.transpose(-1, -2) : given).contiguous();
        // A kernel (segment) or (H,segment) along the diagonal of (r,W).
        const auto diagonal = at::eye(slots_).unsqueeze(-1) * given.unsqueeze(-2).unsqueeze(-2);
        return diagonal.flatten(-2).contiguous();
      };
      projection_key_ = own(shared("projection_key"));
      const auto value = config.attention.sharing == Sharing::none || config.attention.sharing == Sharing::headwise
                             ? local("projection_value")
                             : at::Tensor();
      projection_value_ = value.defined() ? own(value) : projection_key_;
      break;
    }
  }
}

DecoderAttention::Scratch DecoderAttention::scratch() const {
  const auto most = form_ == Form::softmax ? length_
                    : form_ == Form::block ? slots_ * (length_ / window_ + 1) + 2 * window_
                                           : slots_ + 2 * window_;
  const auto floats = [](std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); };
  return {floats(stride_), floats(padded(most) + kernels::kPadding), floats(stride_),
          floats(form_ == Form::block ? slots_ * window_ : 0)};
}

void DecoderAttention::load(const LayerState& state, const std::vector<std::int64_t>& positions) {
  const auto sequences = static_cast<std::int64_t>(positions.size());
  if (form_ == Form::softmax) {
    const auto longest = *std::max_element(positions.begin(), positions.end());
    const auto room = std::min(length_, padded(longest + longest / 2 + 1));
    key_ = HeadRows(sequences, heads_, room, width_);
    value_ = HeadRows(sequences, heads_, room, width_);
    for (std::int64_t i = 0; i < sequences; ++i) {
      key_.copy(i, 0, state.tensors.at(0)[i].narrow(1, 0, positions[static_cast<std::size_t>(i)]));
      value_.copy(i, 0, state.tensors.at(1)[i].narrow(1, 0, positions[static_cast<std::size_t>(i)]));
    }
  } else if (form_ == Form::prefix) {
    slot_key_ = HeadRows(sequences, heads_, slots_, width_);
    slot_value_ = HeadRows(sequences, heads_, slots_, width_);
    for (std::int64_t i = 0; i < sequences; ++i) {
      slot_key_.copy(i, 0, state.tensors.at(0)[i]);
      slot_value_.copy(i, 0, state.tensors.at(1)[i]);
    }
  } else {
    load_window(state, positions);
  }
}

// The state of the general path (nn/linformer_window.cpp) holds three tensors for keys, and three for values: the
// columns as the softmax sees them (2W recent positions, then slots); the recent positions before normalisation; the
// sums before normalisation. The last two are empty when nothing is normalised. Dynamic scores come last.
void DecoderAttention::load_window(const LayerState& state, const std::vector<std::int64_t>& positions) {
  const auto sequences = static_cast<std::int64_t>(positions.size());
  const auto part = [&](std::size_t index) { return state.tensors.at(index); };
  const auto recent = [&](HeadRows& rows, const at::Tensor& from, std::int64_t width) {
    rows = HeadRows(sequences, heads_, 2 * window_, width);
    for (std::int64_t i = 0; i < sequences; ++i) {
      const auto half = (positions[static_cast<std::size_t>(i)] - 1) / window_ % 2;
      rows.copy(i, (1 - half) * window_, from[i].narrow(1, 0, window_));
      rows.copy(i, half * window_, from[i].narrow(1, window_, window_));
    }
  };
  const auto room = form_ == Form::block ? slots_ * (length_ / window_ + 1) : slots_;
  for (const bool is_key : {true, false}) {
    const std::size_t first = is_key ? 0 : 3;
    const auto columns = part(first), raw = part(first + 1), sums = part(first + 2);
    recent(is_key ? key_ : value_, raw.size(2) > 0 ? raw : columns.narrow(2, 0, 2 * window_), width_);
    const auto slots =
        sums.size(2) > 0 ? sums : columns.narrow(2, 2 * window_, std::min(room, columns.size(2) - 2 * window_));
    auto& rows = is_key ? slot_key_ : slot_value_;
    rows = HeadRows(sequences, heads_, room, width_);
    for (std::int64_t i = 0; i < sequences; ++i) rows.copy(i, 0, slots[i]);
  }
  if (dynamic_) recent(scores_, part(6), slots_);
  const auto& kernels = kernels::decode_kernels();
  const auto normed = [&](const DecoderNorm& norm, HeadRows& from, HeadRows& to) {
    if (norm.empty()) return;
    to = HeadRows(sequences, heads_, from.length(), width_);
    for (std::int64_t i = 0; i < sequences; ++i) {
      for (std::int64_t head = 0; head < heads_; ++head)
        normalise(kernels, norm, from, to, {i, head, 0, nullptr, nullptr, nullptr, nullptr}, 0, from.length());
    }
  };
  normed(window_key_norm_, key_, normed_key_);
  normed(window_value_norm_, value_, normed_value_);
  if (form_ == Form::block) return;
  normed(slot_key_norm_, slot_key_, normed_slot_key_);
  normed(slot_value_norm_, slot_value_, normed_slot_value_);
}

void DecoderAttention::make_room(std::int64_t position) {
  if (form_ != Form::softmax || position < key_.length()) return;
  const auto length = std::min(length_, std::max(position + 1, 2 * key_.length()));
  key_.grow(length);
  value_.grow(length);
}

void DecoderAttention::normalise(const DecodeKernels& kernels, const DecoderNorm& norm, HeadRows& from, HeadRows& to,
                                 const Token& token, std::int64_t first, std::int64_t count) const {
  for (auto i = first; i < first + count; ++i) {
    kernels.normalise(from.row(token.sequence, token.head, i), norm.weight.const_data_ptr<float>(),
                      norm.bias.const_data_ptr<float>(), width_, to.row(token.sequence, token.head, i));
  }
}

void DecoderAttention::attend(const DecodeKernels& kernels, std::int64_t sequence, std::int64_t head,
                              std::int64_t position, const float* inputs, Scratch& scratch, float* out) {
  const auto d = heads_ * width_;
  const float* query = inputs + head * width_;
  const Token token{sequence, head, position, query, query + d, query + 2 * d, inputs + 3 * d + head * slots_};
  const auto put = [&](HeadRows& rows, std::int64_t index, const float* values) {
    std::copy_n(values, width_, rows.row(sequence, head, index));
  };
  VisibleKeys visible[3];
  int parts = 1;
  if (form_ == Form::softmax) {
    put(key_, position, token.key);
    put(value_, position, token.value);
    visible[0] = {key_.row(sequence, head, 0), value_.row(sequence, head, 0), position + 1, 0.0F};
  } else if (form_ == Form::prefix) {
    // S += E[:, t]·kᵀ, U += F[:, t]·vᵀ (maths 3).
    const auto column = [&](const at::Tensor& projection_PK) {
      return projection_PK.const_data_ptr<float>() +
             ((projection_PK.dim() == 3 ? head * length_ : 0) + position) * slots_;
    };
    for (const auto& [projection, values, sums] : {std::tuple{&projection_key_, token.key, &slot_key_},
                                                   std::tuple{&projection_value_, token.value, &slot_value_}}) {
      std::copy_n(values, width_, scratch.out.data());
      kernels.add_slots({column(*projection), 1, scratch.out.data(), sums->row(sequence, head, 0), slots_, 1, stride_});
    }
    visible[0] = {slot_key_.row(sequence, head, 0), slot_value_.row(sequence, head, 0), slots_, 0.0F};
  } else {
    parts = see_window(kernels, token, scratch, visible);
  }
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width_)));
  for (std::int64_t i = 0; i < width_; ++i) scratch.query[static_cast<std::size_t>(i)] = token.query[i] * scale;
  kernels.attend({scratch.query.data(), visible, parts, stride_, scratch.weights.data(), scratch.out.data()});
  std::copy_n(scratch.out.data(), width_, out);
  std::fill(scratch.out.begin(), scratch.out.end(), 0.0F);
}

// Stores the token, and lists what it sees: the slots of blocks 0..c−2, block c−1, and block c up to the token itself
// (maths 4).
int DecoderAttention::see_window(const DecodeKernels& kernels, const Token& token, Scratch& scratch,
                                 VisibleKeys* visible) {
  const auto current = token.position / window_, offset = token.position % window_;
  const auto here = current % 2 * window_, before = (1 - current % 2) * window_, place = here + offset;
  if (offset == 0 && current >= 2 && slots_ > 0) freeze(kernels, token, current - 2, scratch);
  const auto row = [&](HeadRows& rows, std::int64_t index) { return rows.row(token.sequence, token.head, index); };
  std::copy_n(token.key, width_, row(key_, place));
  std::copy_n(token.value, width_, row(value_, place));
  if (dynamic_) std::copy_n(token.scores, slots_, row(scores_, place));
  if (!window_key_norm_.empty()) normalise(kernels, window_key_norm_, key_, normed_key_, token, place, 1);
  if (!window_value_norm_.empty()) normalise(kernels, window_value_norm_, value_, normed_value_, token, place, 1);
  int parts = 0;
  if (current >= 2 && slots_ > 0) {
    const auto count = form_ == Form::block ? (current - 1) * slots_ : slots_;
    visible[parts++] = {row(seen_slot_key(), 0), row(seen_slot_value(), 0), count,
                        slot_bias_[static_cast<std::size_t>(token.head)]};
  }
  if (current >= 1) visible[parts++] = {row(seen_key(), before), row(seen_value(), before), window_, 0.0F};
  visible[parts++] = {row(seen_key(), here), row(seen_value(), here), offset + 1, 0.0F};
  return parts;
}

// Makes slots from the block that leaves the window. The block is stored in the half that the new block will overwrite.
void DecoderAttention::freeze(const DecodeKernels& kernels, const Token& token, std::int64_t block, Scratch& scratch) {
  const auto half = block % 2 * window_;
  const bool running = form_ == Form::running;
  const auto first = running ? 0 : block * slots_;
  for (auto* slots : {&slot_key_, &slot_value_}) {
    const bool is_key = slots == &slot_key_;
    const auto& projection = is_key ? projection_key_ : projection_value_;
    const float* rows = (is_key ? key_ : value_).row(token.sequence, token.head, half);
    float* out = slots->row(token.sequence, token.head, first);
    if (running) {
      const auto own = projection.dim() == 3 ? token.head * slots_ * length_ : 0;
      kernels.add_slots(
          {projection.const_data_ptr<float>() + own + block * window_, length_, rows, out, slots_, window_, stride_});
    } else if (segment_ > 0) {
      largest_of_segments(rows, out);
    } else {
      std::fill_n(out, slots_ * stride_, 0.0F);
      kernels.add_slots(
          {block_weights(token, half, projection, scratch), window_, rows, out, slots_, window_, stride_});
    }
    const auto& norm = is_key ? slot_key_norm_ : slot_value_norm_;
    if (!norm.empty())
      normalise(kernels, norm, *slots, is_key ? seen_slot_key() : seen_slot_value(), token, first, slots_);
  }
}

// (r,W): the learned projection, or the softmax of the scores over the positions of the block.
const float* DecoderAttention::block_weights(const Token& token, std::int64_t half, const at::Tensor& projection,
                                             Scratch& scratch) const {
  if (!dynamic_)
    return projection.const_data_ptr<float>() + (projection.dim() == 3 ? token.head * slots_ * window_ : 0);
  for (std::int64_t slot = 0; slot < slots_; ++slot) {
    float* weights = scratch.projection.data() + slot * window_;
    float maximum = -std::numeric_limits<float>::infinity(), total = 0;
    for (std::int64_t i = 0; i < window_; ++i) {
      weights[i] = scores_.row(token.sequence, token.head, half + i)[slot];
      maximum = std::max(maximum, weights[i]);
    }
    for (std::int64_t i = 0; i < window_; ++i) total += weights[i] = std::exp(weights[i] - maximum);
    for (std::int64_t i = 0; i < window_; ++i) weights[i] /= total;
  }
  return scratch.projection.data();
}

void DecoderAttention::largest_of_segments(const float* rows, float* slots) const {
  for (std::int64_t slot = 0; slot < slots_; ++slot, slots += stride_) {
    std::copy_n(rows, stride_, slots);
    for (std::int64_t i = 0; i < segment_; ++i, rows += stride_) {
      for (std::int64_t k = 0; k < width_; ++k) slots[k] = std::max(slots[k], rows[k]);
    }
  }
}

std::int64_t DecoderAttention::bytes_a_sequence() const {
  std::int64_t total = 0;
  for (const auto* rows : {&key_, &value_, &normed_key_, &normed_value_, &slot_key_, &slot_value_, &normed_slot_key_,
                           &normed_slot_value_, &scores_}) {
    total += rows->bytes_a_sequence();
  }
  return total;
}

}  // namespace linformer::nn
