// Causal window attention with running or block slots (maths 4). Its decode state: raw keys and values of the previous and the current block
// (2W positions), and the slots of the blocks before them.
#include <ATen/ATen.h>

#include <map>

#include "nn/slot_maker.hpp"

namespace linformer::nn {

namespace {

// Where each tensor of the state stands.
enum StateIndex : std::size_t { kRecentKey, kRecentValue, kSlotKey, kSlotValue, kRecentScores };

class WindowAttention final : public Attention {
 public:
  explicit WindowAttention(const LayerContext& context)
      : Attention(context),
        window_(context.config.window()),
        block_(context.config.attention.summary == Summary::block),
        maker_(context, block_) {
    const auto norm = [&](const char* name) { return Norm(context.parameters, context.name + "." + name, head_width_); };
    if (context.config.normalise() != Normalise::none) {
      slot_key_norm_ = norm("slot_key_norm");
      window_key_norm_ = norm("window_key_norm");
    }
    if (context.config.normalise() == Normalise::both) {
      slot_value_norm_ = norm("slot_value_norm");
      window_value_norm_ = norm("window_value_norm");
    }
    if (const auto start = context.config.slot_bias()) {
      slot_bias_ = context.parameters.constant(context.name + ".slot_bias", {heads_}, *start);
    }
  }

 protected:
  at::Tensor attend(const at::Tensor& x, const Heads& heads, const std::optional<at::Tensor>&) const override {
    const auto dtype = heads.query.scalar_type();
    const auto slots = maker_(maker_.scores_of(x, heads_), heads.key, heads.value, {.window = window_, .block = block_});
    const ops::Slots normed{slot_key_norm_(slots.key).to(dtype), slot_value_norm_(slots.value).to(dtype)};
    ops::AttendOptions options{.causal = true, .window = window_};
    if (slot_bias_.defined()) options.slot_bias = slot_bias_.to(dtype);
    return ops::attend(heads.query, window_key_norm_(heads.key).to(dtype), window_value_norm_(heads.value).to(dtype), normed, options);
  }

  StatePointer state_after(const at::Tensor& x, const Heads& heads) const override {
    const auto n = heads.key.size(2), current = (n - 1) / window_;
    const auto first = std::max<std::int64_t>(current - 1, 0) * window_;  // of the previous block
    const auto recent = [&](const at::Tensor& all_BHLx) {
      auto part = all_BHLx.narrow(2, first, n - first);
      if (current == 0) part = at::constant_pad_nd(part, {0, 0, window_, 0});
      return at::constant_pad_nd(part, {0, 0, 0, 2 * window_ - part.size(2)}).contiguous();
    };
    auto slots = empty_slots(heads.key);
    const auto scores = maker_.scores_of(x, heads_);
    if (first > 0) slots = frozen(scores.defined() ? scores.narrow(3, 0, first) : scores, heads.key.narrow(2, 0, first), heads.value.narrow(2, 0, first), 0);
    std::vector<at::Tensor> tensors{recent(heads.key), recent(heads.value), slots.key, slots.value};
    if (scores.defined()) tensors.push_back(recent(scores.transpose(2, 3)));
    return std::make_unique<LayerState>(std::move(tensors));
  }

  at::Tensor attend_step(const at::Tensor& x, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    cross_borders(positions, state);
    auto& held = state.tensors;
    const auto rows = at::tensor(positions, at::kLong).to(heads.key.device());
    const auto place = (rows.remainder(window_) + window_).view({-1, 1, 1, 1});
    const auto put = [&](std::size_t index, const at::Tensor& value) {
      held[index].scatter_(2, place.expand(value.sizes()), value.to(held[index].scalar_type()));
    };
    put(kRecentKey, heads.key);
    put(kRecentValue, heads.value);
    const auto scores = maker_.scores_of(x, heads_);
    if (scores.defined()) put(kRecentScores, scores.transpose(2, 3));
    return mix(heads.query, rows, held);
  }

 private:
  ops::Slots empty_slots(const at::Tensor& key_BHMD) const {
    const auto count = block_ ? 0 : maker_.slots;
    const auto slots = at::zeros({key_BHMD.size(0), heads_, count, head_width_}, key_BHMD.options().dtype(key_.weight.scalar_type()));
    return {slots, slots.clone()};
  }

  // What finished blocks, of which the first one starts at `first`, add to the state.
  ops::Slots frozen(const at::Tensor& scores, const at::Tensor& key, const at::Tensor& value, std::int64_t first) const {
    const auto dtype = key_.weight.scalar_type();
    if (block_) {
      const auto slots = maker_(scores, key, value, {.window = window_, .block = true});
      return {slot_key_norm_(slots.key).to(dtype), slot_value_norm_(slots.value).to(dtype)};
    }
    return {at::matmul(maker_.key.narrow(-1, first, key.size(2)), key.to(dtype)),
            at::matmul(maker_.value.narrow(-1, first, key.size(2)), value.to(dtype))};
  }

  // Rows whose token opens a block: the current block becomes the previous one, and the one before it becomes slots.
  void cross_borders(const std::vector<std::int64_t>& positions, LayerState& state) const {
    std::map<std::int64_t, std::vector<std::int64_t>> rows_at;
    for (std::size_t row = 0; row < positions.size(); ++row) {
      if (positions[row] > 0 && positions[row] % window_ == 0) rows_at[positions[row]].push_back(static_cast<std::int64_t>(row));
    }
    auto& held = state.tensors;
    for (const auto& [position, row_list] : rows_at) {
      const auto rows = at::tensor(row_list, at::kLong).to(held[0].device());
      const auto leaving = position / window_ - 2;
      if (leaving >= 0) freeze(held, rows, leaving);
      for (const auto index : {kRecentKey, kRecentValue, kRecentScores}) {
        if (index >= held.size()) continue;
        const auto recent = held[index].index_select(0, rows);
        held[index].index_copy_(0, rows, at::constant_pad_nd(recent.narrow(2, window_, window_), {0, 0, 0, window_}));
      }
    }
  }

  void freeze(std::vector<at::Tensor>& held, const at::Tensor& rows, std::int64_t leaving) const {
    const auto oldest = [&](std::size_t index) { return held[index].index_select(0, rows).narrow(2, 0, window_); };
    const auto scores = held.size() > kRecentScores ? oldest(kRecentScores).transpose(2, 3) : at::Tensor();
    const auto added = frozen(scores, oldest(kRecentKey), oldest(kRecentValue), leaving * window_);
    if (!block_) {
      held[kSlotKey].index_add_(0, rows, added.key);
      held[kSlotValue].index_add_(0, rows, added.value);
      return;
    }
    const auto first = leaving * maker_.slots;
    for (const auto& [index, slots] : {std::pair{kSlotKey, added.key}, std::pair{kSlotValue, added.value}}) {
      reserve(held[index], first + maker_.slots);
      held[index].narrow(2, first, maker_.slots).index_copy_(0, rows, slots);
    }
  }

  // One query a row against slots and recent positions in one softmax; what a row doesn't see gets a bias of minus infinity.
  at::Tensor mix(const at::Tensor& query, const at::Tensor& rows, const std::vector<at::Tensor>& held) const {
    const auto dtype = held[kSlotKey].scalar_type();
    const auto current = rows.div(window_, "floor"), offset = rows.remainder(window_) + window_;
    const auto spots = at::arange(2 * window_, rows.options());
    const auto first = at::where(current > 0, at::zeros_like(rows), at::full_like(rows, window_));
    const auto window_hidden = (spots.unsqueeze(0) > offset.unsqueeze(1)).logical_or(spots.unsqueeze(0) < first.unsqueeze(1));
    const auto finished = (current - 1).clamp_min(0);
    const auto visible = block_ ? finished * maker_.slots : finished.clamp_max(1) * maker_.slots;
    const auto slots_hidden = at::arange(held[kSlotKey].size(2), rows.options()).unsqueeze(0) >= visible.unsqueeze(1);
    const auto hidden = at::cat({slots_hidden, window_hidden}, 1).unsqueeze(1).unsqueeze(1);  // (B,1,1,L)
    auto key_slots = held[kSlotKey], value_slots = held[kSlotValue];
    if (!block_) {  // running sums stay raw; block slots were normalised when they were made
      key_slots = slot_key_norm_(key_slots);
      value_slots = slot_value_norm_(value_slots);
    }
    const auto key = at::cat({key_slots.to(dtype), window_key_norm_(held[kRecentKey].to(dtype))}, 2);
    const auto value = at::cat({value_slots.to(dtype), window_value_norm_(held[kRecentValue].to(dtype))}, 2);
    auto logits = at::matmul(query.to(dtype), key.transpose(2, 3)) / std::sqrt(static_cast<double>(head_width_));
    if (slot_bias_.defined()) logits.narrow(3, 0, key_slots.size(2)).add_(slot_bias_.view({1, -1, 1, 1}));
    const auto weights = at::softmax(logits.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
    return at::matmul(weights, value).to(query.scalar_type());
  }

  std::int64_t window_;
  bool block_;
  SlotMaker maker_;
  Norm slot_key_norm_, slot_value_norm_, window_key_norm_, window_value_norm_;
  at::Tensor slot_bias_;
};

}  // namespace

std::unique_ptr<Attention> make_window(const LayerContext& context) { return std::make_unique<WindowAttention>(context); }

}  // namespace linformer::nn
