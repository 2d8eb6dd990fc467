// One token of window attention with running or block slots (maths 4). Shape letters: docs/maths.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "nn/decoder_attention.hpp"
#include "nn/decoder_norm.hpp"
#include "nn/slots/mass.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

using kernels::DecodeKernels;

// Rows as they are, and as the softmax sees them: normalised, and turned by their position. The same where neither is.
struct Side {
  DecoderNorm norm = {};
  bool in_place = false;  // block slots, which are never added to
  bool turned = false;    // the keys of a window, with rotary positions
  bool mean = false;      // slots that are divided by their mass
  HeadRows raw = {}, prepared = {};
  bool changes() const { return norm || turned || mean; }
  HeadRows& seen() { return changes() && !in_place ? prepared : raw; }
  std::int64_t bytes_a_sequence() const { return raw.bytes_a_sequence() + prepared.bytes_a_sequence(); }
};

class WindowDecoder final : public DecoderAttention {
 public:
  explicit WindowDecoder(const LayerContext& context)
      : DecoderAttention(context),
        block_(form_of(context.config) == Form::block),
        window_(context.config.window()),
        sinks_(context.config.attention.sinks),
        rule_(make_slot_rule(context)) {
    const auto norm = [&](const char* name) {
      return DecoderNorm(Norm(context.parameters, context.name + "." + name, width_, context.config));
    };
    const auto normalise = context.config.normalise();
    if (normalise != Normalise::none) key_.norm = norm("window_key_norm");
    if (normalise == Normalise::both) value_.norm = norm("window_value_norm");
    key_.turned = static_cast<bool>(*rotation_);
    // Sinks are keys and values of the window, kept apart.
    sink_key_.norm = key_.norm, sink_key_.turned = key_.turned, sink_value_.norm = value_.norm;
    if (!rule_) return;
    rule_->prepare_decoding();
    slot_key_.in_place = slot_value_.in_place = block_;
    slot_key_.mean = slot_value_.mean = rule_->has_mass();
    if (normalise != Normalise::none) slot_key_.norm = norm("slot_key_norm");
    if (normalise == Normalise::both) slot_value_.norm = norm("slot_value_norm");
    slot_bias_.resize(static_cast<std::size_t>(heads_ * group_), 0.0F);
    if (const auto start = context.config.slot_bias(); start) {
      const auto bias = context.parameters.constant(context.name + ".slot_bias", {heads_ * group_}, *start);
      std::copy_n(bias.const_data_ptr<float>(), heads_ * group_, slot_bias_.begin());
    }
  }

  void load(const LayerState& state, const std::vector<std::int64_t>& positions) override {
    const auto sequences = static_cast<std::int64_t>(positions.size());
    // Block c is in half c mod 2.
    const auto recent = [&](HeadRows& rows, const at::Tensor& from, std::int64_t width) {
      rows = HeadRows(sequences, heads_, 2 * window_, width);
      for (std::int64_t i = 0; i < sequences; ++i) {
        const auto half = (positions[static_cast<std::size_t>(i)] - 1) / window_ % 2;
        rows.copy(i, (1 - half) * window_, from[i].narrow(1, 0, window_));
        rows.copy(i, half * window_, from[i].narrow(1, window_, window_));
      }
    };
    recent(key_.raw, state.key, width_);
    recent(value_.raw, state.value, width_);
    if (sinks_ > 0) {
      for (const auto& [rows, from] :
           {std::pair{&sink_key_.raw, &state.sinks.key}, std::pair{&sink_value_.raw, &state.sinks.value}}) {
        *rows = HeadRows(sequences, heads_, sinks_, width_);
        for (std::int64_t i = 0; i < sequences; ++i) rows->copy(i, 0, from->select(0, i));
      }
    }
    if (rule_) {
      const auto room = most_slots(*std::max_element(positions.begin(), positions.end()));
      for (const auto& [rows, from] :
           {std::pair{&slot_key_.raw, &state.slots.key}, std::pair{&slot_value_.raw, &state.slots.value}}) {
        *rows = HeadRows(sequences, heads_, room, width_);
        for (std::int64_t i = 0; i < sequences; ++i)
          rows->copy(i, 0, from->select(0, i).narrow(1, 0, std::min(room, from->size(2))));
      }
      if (rule_->has_scores()) recent(scores_, state.scores, rule_->slots());
      if (rule_->has_mass()) load_mass(state.slots.mass);
    }
    const auto& kernels = kernels::decode_kernels();
    for (auto* side : {&key_, &value_, &slot_key_, &slot_value_, &sink_key_, &sink_value_}) {
      if (!side->changes()) continue;
      if (!side->in_place) side->prepared = HeadRows(sequences, heads_, side->raw.length(), width_);
      for (std::int64_t i = 0; i < sequences; ++i) {
        for (std::int64_t head = 0; head < heads_; ++head) prepare(kernels, *side, i, head, 0, side->raw.length());
      }
    }
    if (key_.turned) turn_recent(positions), turn_sinks(sequences);
  }

  // Block slots are normalised in place, unless somebody will ask for them as they were.
  void keep_raw() override { slot_key_.in_place = slot_value_.in_place = false; }

  StatePointer store(std::int64_t sequence, std::int64_t position) const override {
    const auto last = (position - 1) / window_, half = last % 2 * window_;
    const auto recent = [&](const HeadRows& rows) {
      return at::cat({rows.read(sequence, window_ - half, window_), rows.read(sequence, half, window_)}, 2);
    };
    auto state = std::make_unique<LayerState>();
    state->key = recent(key_.raw);
    state->value = recent(value_.raw);
    if (sinks_ > 0) state->sinks = {sink_key_.raw.read(sequence, 0, sinks_), sink_value_.raw.read(sequence, 0, sinks_)};
    if (!rule_) return state;
    if (rule_->has_scores()) state->scores = recent(scores_);
    const auto count = block_ ? rule_->slots() * std::max<std::int64_t>(last - 1, 0) : rule_->slots();
    state->slots = {slot_key_.raw.read(sequence, 0, count), slot_value_.raw.read(sequence, 0, count)};
    if (rule_->has_mass()) state->slots.mass = mass_.read(sequence, 0, 1).transpose(2, 3).contiguous();
    return state;
  }

  void make_room(std::int64_t position) override {
    const auto needed = most_slots(position);
    if (!block_ || needed <= slot_key_.raw.length()) return;
    const auto most = longest_ < ModelConfig::kUnlimited ? most_slots(longest_ - 1) : ModelConfig::kUnlimited;
    for (auto* side : {&slot_key_, &slot_value_}) {
      const auto length = std::min(most, std::max(needed, 2 * side->raw.length()));
      side->raw.grow(length);
      if (side->changes() && !side->in_place) side->prepared.grow(length);
    }
  }

  std::int64_t bytes_a_sequence() const override {
    auto total = scores_.bytes_a_sequence() + mass_.bytes_a_sequence() + log_mass_.bytes_a_sequence();
    for (const auto* side : {&key_, &value_, &slot_key_, &slot_value_, &sink_key_, &sink_value_})
      total += side->bytes_a_sequence();
    return total;
  }
  std::int64_t score_rows() const override { return rule_ && rule_->has_scores() ? heads_ * rule_->slots() : 0; }

 protected:
  // The slots of blocks 0..c−2 and the sinks, block c−1, and block c up to the token itself.
  Sight see(const DecodeKernels& kernels, const Token& token, Scratch& scratch) override {
    const auto current = token.position / window_, offset = token.position % window_;
    const auto here = current % 2 * window_, before = (1 - current % 2) * window_, place = here + offset;
    if (offset == 0 && current >= 2 && rule_) absorb(kernels, token, current - 2, scratch);
    const auto row = [&](HeadRows& rows, std::int64_t index) { return rows.row(token.sequence, token.head, index); };
    std::copy_n(token.key, width_, row(key_.raw, place));
    std::copy_n(token.value, width_, row(value_.raw, place));
    if (score_rows() > 0) std::copy_n(token.scores, rule_->slots(), row(scores_, place));
    for (auto* side : {&key_, &value_}) {
      if (side->changes()) prepare(kernels, *side, token.sequence, token.head, place, 1);
    }
    if (key_.turned) rotation_->turn_row(token.turn, row(key_.seen(), place));
    if (token.position < sinks_) keep_sink(kernels, token);
    Sight sight;
    if (current >= 2 && sinks_ > 0)
      sight.parts[sight.count++] = {row(sink_key_.seen(), 0), row(sink_value_.seen(), 0), sinks_, 0.0F};
    if (current >= 2 && rule_) {
      const auto count = block_ ? (current - 1) * rule_->slots() : rule_->slots();
      sight.slots = sight.count;
      sight.parts[sight.count++] = {row(slot_key_.seen(), 0), row(slot_value_.seen(), 0), count, 0.0F};
      if (rule_->has_mass()) sight.parts[sight.slots].biases = row(log_mass_, 0);
    }
    if (current >= 1)
      sight.parts[sight.count++] = {row(key_.seen(), before), row(value_.seen(), before), window_, 0.0F};
    sight.parts[sight.count++] = {row(key_.seen(), here), row(value_.seen(), here), offset + 1, 0.0F};
    return sight;
  }
  std::int64_t most_visible(std::int64_t position) const override {
    return most_slots(position) + 2 * window_ + sinks_;
  }
  std::int64_t block_weights() const override { return rule_ ? rule_->working_floats() : 0; }

 private:
  // That a token at `position` sees, or that are made of blocks before it.
  std::int64_t most_slots(std::int64_t position) const {
    if (!rule_) return 0;
    return block_ ? rule_->slots() * (position / window_ + 1) : rule_->slots();
  }

  // Gives the block that leaves the window to the slots. It is stored in the half that the new block will overwrite.
  void absorb(const DecodeKernels& kernels, const Token& token, std::int64_t block, Scratch& scratch) {
    const auto half = block % 2 * window_, first = block_ ? block * rule_->slots() : 0;
    const auto row = [&](HeadRows& rows, std::int64_t index) { return rows.row(token.sequence, token.head, index); };
    const bool scored = rule_->has_scores();
    const auto sinks = block == 0 ? sinks_ : 0;  // nobody reads these rows after this
    for (auto* rows : {&key_.raw, &value_.raw}) std::fill_n(row(*rows, half), sinks * stride_, 0.0F);
    rule_->absorb({.kernels = kernels,
                   .head = token.head,
                   .number = block,
                   .key = {row(key_.raw, half), row(slot_key_.raw, first)},
                   .value = {row(value_.raw, half), row(slot_value_.raw, first)},
                   .stride = stride_,
                   .scores = scored ? row(scores_, half) : nullptr,
                   .score_stride = scores_.stride(),
                   .weights = scratch.projection.data(),
                   .sinks = sinks,
                   .mass = rule_->has_mass() ? row(mass_, 0) : nullptr});
    if (rule_->has_mass()) take_logarithms(token.sequence, token.head);
    for (auto* side : {&slot_key_, &slot_value_}) {
      if (side->changes()) prepare(kernels, *side, token.sequence, token.head, first, rule_->slots());
    }
  }

  void keep_sink(const DecodeKernels& kernels, const Token& token) {
    const auto row = [&](HeadRows& rows) { return rows.row(token.sequence, token.head, token.position); };
    std::copy_n(token.key, width_, row(sink_key_.raw));
    std::copy_n(token.value, width_, row(sink_value_.raw));
    for (auto* side : {&sink_key_, &sink_value_}) {
      if (side->changes()) prepare(kernels, *side, token.sequence, token.head, token.position, 1);
    }
    if (sink_key_.turned) rotation_->turn_row(token.turn, row(sink_key_.seen()));
  }

  void load_mass(const at::Tensor& mass_BHK1) {
    const auto sequences = mass_BHK1.size(0);
    mass_ = HeadRows(sequences, heads_, 1, rule_->slots());
    log_mass_ = HeadRows(sequences, heads_, 1, rule_->slots());
    for (std::int64_t i = 0; i < sequences; ++i) {
      mass_.copy(i, 0, mass_BHK1[i].transpose(1, 2));
      for (std::int64_t head = 0; head < heads_; ++head) take_logarithms(i, head);
    }
  }

  // log n, as nn::log_mass() has it.
  void take_logarithms(std::int64_t sequence, std::int64_t head) {
    const float* mass = mass_.row(sequence, head, 0);
    float* to = log_mass_.row(sequence, head, 0);
    for (std::int64_t slot = 0; slot < rule_->slots(); ++slot)
      to[slot] =
          mass[slot] < static_cast<float>(kLeastMass) ? -std::numeric_limits<float>::infinity() : std::log(mass[slot]);
  }

  // The rows as they are seen, but for the turn.
  void prepare(const DecodeKernels& kernels, Side& side, std::int64_t sequence, std::int64_t head, std::int64_t first,
               std::int64_t count) const {
    for (auto i = first; i < first + count; ++i) {
      const float* raw = side.raw.row(sequence, head, i);
      float* seen = side.seen().row(sequence, head, i);
      if (side.mean) {
        const auto mass = std::max(mass_.row(sequence, head, 0)[i], static_cast<float>(kLeastMass));
        for (std::int64_t j = 0; j < width_; ++j) seen[j] = raw[j] / mass;
        raw = seen;
        if (!side.norm) continue;
      }
      side.norm ? side.norm(kernels, raw, seen) : static_cast<void>(std::copy_n(raw, width_, seen));
    }
  }

  // Those of a state that was loaded. A row where no token stands yet is written anew later.
  void turn_sinks(std::int64_t sequences) {
    std::vector<float> turn(static_cast<std::size_t>(width_));
    for (std::int64_t place = 0; place < sinks_; ++place) {
      rotation_->turn(place, turn.data());
      for (std::int64_t i = 0; i < sequences * heads_; ++i)
        rotation_->turn_row(turn.data(), sink_key_.seen().row(i / heads_, i % heads_, place));
    }
  }

  // The window's keys of a state that was loaded. Sequences stand at `positions`; rows after them are not seen.
  void turn_recent(const std::vector<std::int64_t>& positions) {
    std::vector<float> turn(static_cast<std::size_t>(width_));
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const auto sequence = static_cast<std::int64_t>(i), block = (positions[i] - 1) / window_;
      for (auto position = std::max<std::int64_t>(block - 1, 0) * window_; position < positions[i]; ++position) {
        rotation_->turn(position, turn.data());
        const auto place = position / window_ % 2 * window_ + position % window_;
        for (std::int64_t head = 0; head < heads_; ++head)
          rotation_->turn_row(turn.data(), key_.seen().row(sequence, head, place));
      }
    }
  }

  bool block_;
  std::int64_t window_, sinks_;
  std::unique_ptr<SlotRule> rule_;  // null: a window alone
  Side key_, value_, slot_key_, slot_value_, sink_key_, sink_value_;
  HeadRows scores_;           // (S,H,2W,r), or K in place of r
  HeadRows mass_, log_mass_;  // (S,H,1,K) of slots that are means
};

}  // namespace

std::unique_ptr<DecoderAttention> make_decoder_window(const LayerContext& context) {
  return std::make_unique<WindowDecoder>(context);
}

}  // namespace linformer::nn
