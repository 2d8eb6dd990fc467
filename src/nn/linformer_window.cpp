// Causal window attention with running or block slots (maths 4). Shape letters as in docs/maths.md; L columns of one
// softmax while decoding: the 2W positions of the previous and the current block, then the slots of the blocks before
// them.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "linformer/ops/autocast.hpp"
#include "linformer/ops/reference.hpp"
#include "nn/slot_maker.hpp"

namespace linformer::nn {

namespace {

// A decode state holds these three tensors for keys, the same three for values, and then the scores of dynamic
// projection for the 2W positions. When nothing is normalised, the columns are raw, and kRaw and kSums are empty.
enum Part : std::size_t { kColumns, kRaw, kSums, kParts };
constexpr std::size_t kScores = 2 * kParts;

at::Tensor scale_rows(const Norm& norm, const at::Tensor& x) { return norm(x).to(x.scalar_type()); }

class WindowAttention final : public Attention {
 public:
  explicit WindowAttention(const LayerContext& context)
      : Attention(context),
        window_(context.config.window()),
        block_(form_of(context.config) == Form::block),
        maker_(context, block_) {
    const auto norm = [&](const char* name) {
      return Norm(context.parameters, context.name + "." + name, head_width_);
    };
    const bool slots = maker_.slots > 0;
    if (context.config.normalise() != Normalise::none) {
      if (slots) keys_.slot_norm = norm("slot_key_norm");
      keys_.window_norm = norm("window_key_norm");
    }
    if (context.config.normalise() == Normalise::both) {
      if (slots) values_.slot_norm = norm("slot_value_norm");
      values_.window_norm = norm("window_value_norm");
    }
    if (const auto start = context.config.slot_bias(); start && slots) {
      slot_bias_ = context.parameters.constant(context.name + ".slot_bias", {heads_}, *start);
    }
  }

  AttentionWeights weights(const at::Tensor& x) const override {
    const auto heads = heads_of(x);
    const auto slots = slots_of(x, heads);
    const auto key = keys_.window_norm.of_heads(heads.key).to(x.scalar_type());
    const auto n = x.size(1), entries = slots.key.size(-2);
    const auto like_slots = [&](const at::Tensor& rows) {
      auto sizes = slots.key.sizes().vec();
      sizes.back() = rows.size(1);
      return rows.expand(sizes);
    };
    const auto eye = at::eye(n, x.options()).expand({x.size(0), heads_, n, n}),
               none = at::zeros({x.size(0), heads_, n, entries}, x.options());
    const auto on_positions = ops::reference::attend(
        heads.query, key, eye, {slots.key, like_slots(at::zeros({entries, n}, x.options()))}, attend_options());
    const auto on_slots = ops::reference::attend(
        heads.query, key, none, {slots.key, like_slots(at::eye(entries, x.options()))}, attend_options());
    return {.positions = on_positions,
            .slots = on_slots,
            .reads = maker_.reads(x, heads_, {.window = window_, .block = block_})};
  }

 protected:
  at::Tensor attend(const at::Tensor& x, const Heads& heads, const std::optional<at::Tensor>&) const override {
    const auto dtype = heads.query.scalar_type();
    return ops::attend(heads.query, keys_.window_norm.of_heads(heads.key).to(dtype),
                       values_.window_norm.of_heads(heads.value).to(dtype), slots_of(x, heads), attend_options());
  }

  // A state is summed and kept in the weights' own dtype, float32 or wider.
  StatePointer state_after(const at::Tensor& x, const Heads& heads) const override {
    const auto all_scores = maker_.scores_of(x, heads_);
    const ops::AutocastOff autocast_off(x.device().type());
    const auto n = heads.key.size(2), current = (n - 1) / window_;
    const auto first = std::max<std::int64_t>(current - 1, 0) * window_;  // of the previous block
    const auto recent = [&](const at::Tensor& all_BHLx) {
      auto part = wide(all_BHLx).narrow(2, first, n - first);
      if (current == 0) part = at::constant_pad_nd(part, {0, 0, window_, 0});
      return at::constant_pad_nd(part, {0, 0, 0, 2 * window_ - part.size(2)});
    };
    auto slots = empty_slots(heads.key);
    if (first > 0) {
      const auto scores = all_scores.defined() ? all_scores.narrow(3, 0, first) : all_scores;
      slots = finished(scores, heads.key.narrow(2, 0, first), heads.value.narrow(2, 0, first), 0);
    }
    std::vector<at::Tensor> tensors;
    for (const auto& [side, all, made] :
         {std::tuple{&keys_, heads.key, slots.key}, std::tuple{&values_, heads.value, slots.value}}) {
      const auto raw = recent(all);
      tensors.push_back(at::cat({scale_rows(side->window_norm, raw), scale_rows(side->slot_norm, made)}, 2));
      tensors.push_back(side->normalised() ? raw : raw.narrow(2, 0, 0));
      tensors.push_back(side->normalised() && !block_ ? made : made.narrow(2, 0, 0));
    }
    if (all_scores.defined()) tensors.push_back(recent(all_scores.transpose(2, 3)));
    for (auto& tensor : tensors) tensor = tensor.contiguous();
    return std::make_unique<LayerState>(std::move(tensors));
  }

  at::Tensor attend_step(const at::Tensor& x, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    const auto scores = maker_.scores_of(x, heads_);
    const ops::AutocastOff autocast_off(x.device().type());
    auto& held = state.tensors;
    cross_borders(positions, held);
    const auto rows = at::tensor(positions, at::kLong).to(x.device());
    const auto place = (rows.remainder(window_) + window_).view({-1, 1, 1, 1});
    const auto put = [&](at::Tensor& to, const at::Tensor& row_BH1x) {
      to.scatter_(2, place.expand(row_BH1x.sizes()), row_BH1x);
    };
    for (const auto& [side, row] : {std::pair{&keys_, wide(heads.key)}, std::pair{&values_, wide(heads.value)}}) {
      put(held[side->first], scale_rows(side->window_norm, row));
      if (side->normalised()) put(held[side->first + kRaw], row);
    }
    if (scores.defined()) put(held[kScores], wide(scores).transpose(2, 3));
    return mix(heads.query, rows, held);
  }

 private:
  // What exists once for keys and once for values.
  struct Side {
    std::size_t first;  // of its tensors in a state
    Norm slot_norm = {}, window_norm = {};
    bool normalised() const { return window_norm.weight.defined(); }
    // Positions and sums before normalisation.
    std::size_t raw() const { return normalised() ? first + kRaw : first; }
  };

  // Positions and slots as the softmax sees them: normalised, in the dtype of the arithmetic.
  ops::Slots slots_of(const at::Tensor& x, const Heads& heads) const {
    const auto dtype = heads.query.scalar_type();
    const auto slots =
        maker_(maker_.scores_of(x, heads_), heads.key, heads.value, {.window = window_, .block = block_});
    return {keys_.slot_norm.of_heads(slots.key).to(dtype), values_.slot_norm.of_heads(slots.value).to(dtype)};
  }

  ops::AttendOptions attend_options() const {
    // The bias in its own dtype: bfloat16 has steps of 1/64 near −3.
    return {.causal = true,
            .window = window_,
            .slot_bias = slot_bias_.defined() ? std::optional(slot_bias_) : std::nullopt};
  }

  at::Tensor wide(const at::Tensor& x) const { return x.to(output_.weight.scalar_type()); }

  ops::Slots empty_slots(const at::Tensor& key_BHMD) const {
    const auto count = block_ ? 0 : maker_.slots;
    const auto slots =
        at::zeros({key_BHMD.size(0), heads_, count, head_width_}, output_.weight.options().requires_grad(std::nullopt));
    return {slots, slots.clone()};
  }

  // What a number of finished blocks add, from block `first` on: their slots, or their part of the running sums.
  ops::Slots finished(const at::Tensor& scores, const at::Tensor& key, const at::Tensor& value,
                      std::int64_t first) const {
    if (maker_.slots == 0) return {key.narrow(2, 0, 0), value.narrow(2, 0, 0)};
    if (block_)
      return maker_(scores.defined() ? wide(scores) : scores, wide(key), wide(value),
                    {.window = window_, .block = true});
    return {at::matmul(maker_.key.narrow(-1, first, key.size(2)), wide(key)),
            at::matmul(maker_.value.narrow(-1, first, key.size(2)), wide(value))};
  }

  // For the rows whose token starts a new block: the current block becomes the previous one, and the block before
  // becomes slots.
  void cross_borders(const std::vector<std::int64_t>& positions, std::vector<at::Tensor>& held) const {
    std::map<std::int64_t, std::vector<std::int64_t>> rows_at;
    for (std::size_t row = 0; row < positions.size(); ++row) {
      if (positions[row] > 0 && positions[row] % window_ == 0)
        rows_at[positions[row]].push_back(static_cast<std::int64_t>(row));
    }
    for (const auto& [position, row_list] : rows_at) {
      const auto rows = at::tensor(row_list, at::kLong).to(held[0].device());
      const auto leaving = position / window_ - 2;
      if (leaving >= 0 && maker_.slots > 0) summarise(held, rows, leaving);
      for (const auto index : {keys_.first, keys_.first + kRaw, values_.first, values_.first + kRaw, kScores}) {
        if (index >= held.size() || held[index].size(2) == 0) continue;
        auto previous = held[index].narrow(2, 0, window_);
        previous.index_copy_(0, rows, held[index].narrow(2, window_, window_).index_select(0, rows));
      }
    }
  }

  void summarise(std::vector<at::Tensor>& held, const at::Tensor& rows, std::int64_t leaving) const {
    const auto oldest = [&](std::size_t index) { return held[index].narrow(2, 0, window_).index_select(0, rows); };
    const auto scores = held.size() > kScores ? oldest(kScores).transpose(2, 3) : at::Tensor();
    const auto added = finished(scores, oldest(keys_.raw()), oldest(values_.raw()), leaving * window_);
    const auto first = 2 * window_ + (block_ ? leaving * maker_.slots : 0);
    for (const auto& [side, slots] : {std::pair{&keys_, added.key}, std::pair{&values_, added.value}}) {
      auto& columns = held[side->first];
      if (first + maker_.slots > columns.size(2))
        columns = at::constant_pad_nd(columns, {0, 0, 0, first + maker_.slots - columns.size(2)});
      auto columns_of_slots = columns.narrow(2, first, maker_.slots);
      if (block_) {
        columns_of_slots.index_copy_(0, rows, scale_rows(side->slot_norm, slots));
        continue;
      }
      auto& sums = side->normalised() ? held[side->first + kSums] : columns_of_slots;
      sums.index_add_(0, rows, slots);
      if (side->normalised())
        columns_of_slots.index_copy_(0, rows, scale_rows(side->slot_norm, sums.index_select(0, rows)));
    }
  }

  // One query per row attends to recent positions and slots in one softmax. What a row doesn't see gets a bias of minus
  // infinity.
  at::Tensor mix(const at::Tensor& query, const at::Tensor& rows, const std::vector<at::Tensor>& held) const {
    const auto& key_BHLD = held[keys_.first];
    const auto current = rows.div(window_, "floor"), offset = rows.remainder(window_) + window_;
    const auto spots = at::arange(2 * window_, rows.options());
    const auto first = at::where(current > 0, at::zeros_like(rows), at::full_like(rows, window_));
    const auto window_hidden =
        (spots.unsqueeze(0) > offset.unsqueeze(1)).logical_or(spots.unsqueeze(0) < first.unsqueeze(1));
    const auto before = (current - 1).clamp_min(0);  // blocks that are slots
    const auto visible = block_ ? before * maker_.slots : before.clamp_max(1) * maker_.slots;
    const auto slot_count = key_BHLD.size(2) - 2 * window_;
    const auto slots_hidden = at::arange(slot_count, rows.options()).unsqueeze(0) >= visible.unsqueeze(1);
    const auto hidden_B11L = at::cat({window_hidden, slots_hidden}, 1).unsqueeze(1).unsqueeze(1);
    auto logits_BH1L = at::matmul(wide(query), key_BHLD.transpose(2, 3)) / std::sqrt(static_cast<double>(head_width_));
    if (slot_bias_.defined()) logits_BH1L.narrow(3, 2 * window_, slot_count).add_(slot_bias_.view({1, -1, 1, 1}));
    const auto weights =
        at::softmax(logits_BH1L.masked_fill(hidden_B11L, -std::numeric_limits<double>::infinity()), -1);
    return at::matmul(weights, held[values_.first]).to(query.scalar_type());
  }

  std::int64_t window_;
  bool block_;
  SlotMaker maker_;
  Side keys_{.first = 0}, values_{.first = kParts};
  at::Tensor slot_bias_;
};

}  // namespace

std::unique_ptr<Attention> make_window(const LayerContext& context) {
  return std::make_unique<WindowAttention>(context);
}

}  // namespace linformer::nn
