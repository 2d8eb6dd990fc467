// Causal window attention with running or block slots (maths 4). Shape letters as in docs/maths.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "linformer/ops/autocast.hpp"
#include "linformer/ops/reference.hpp"
#include "linformer/ops/running.hpp"
#include "nn/attention.hpp"
#include "nn/sinks.hpp"
#include "nn/slots/mass.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

at::Tensor normed(const Norm& norm, const at::Tensor& x) { return norm(x).to(x.scalar_type()); }

// The positions that the queries of a chunk may see exactly, from the start of a block on, and what is before.
struct Text {
  Heads heads = {};        // keys and values from `start` on; queries from `first` on
  at::Tensor scores = {};  // from `start` on; of dynamic and gated projection
  std::int64_t start = 0;  // of the block before the first query's, or 0
  std::int64_t first = 0;  // of the block in which the first query stands
  std::int64_t added = 0;  // rows of queries between `first` and the chunk, which nobody asked for
  ops::Slots before = {};  // running: the sums of blocks before `start`; block: their slots. Undefined: none
  ops::Slots sinks = {};   // raw, where `start` is behind them; else they are the first keys and values
};

class WindowAttention final : public Attention {
 public:
  explicit WindowAttention(const LayerContext& context)
      : Attention(context),
        window_(context.config.window()),
        sinks_(context.config.attention.sinks),
        block_(form_of(context.config) == Form::block),
        rule_(make_slot_rule(context)) {
    const auto norm = [&](const char* name) {
      return Norm(context.parameters, context.name + "." + name, head_width_, context.config);
    };
    if (context.config.normalise() != Normalise::none) {
      if (rule_) slot_key_norm_ = norm("slot_key_norm");
      window_key_norm_ = norm("window_key_norm");
    }
    if (context.config.normalise() == Normalise::both) {
      if (rule_) slot_value_norm_ = norm("slot_value_norm");
      window_value_norm_ = norm("window_value_norm");
    }
    if (const auto start = context.config.slot_bias(); start && rule_) {
      slot_bias_ = context.parameters.constant(context.name + ".slot_bias", {heads_}, *start);
    }
  }

  AttentionWeights weights(const at::Tensor& x) const override {
    const auto text = whole(x, heads_of(x));
    const auto own_slots = slots_of(text);
    const ops::Slots slots{ops::repeat_heads(own_slots.key, heads_), ops::repeat_heads(own_slots.value, heads_)};
    const auto key = ops::repeat_heads(window_keys_of(text), heads_);
    const auto query = (*rotation_)(text.heads.query, 0);
    auto options = attend_options(text);
    if (own_slots.mass.defined()) options.slot_offset = ops::repeat_heads(log_mass(own_slots.mass), heads_);
    const auto n = x.size(1), entries = slots.key.size(-2);
    const auto like_slots = [&](const at::Tensor& rows) {
      auto sizes = slots.key.sizes().vec();
      sizes.back() = rows.size(1);
      return rows.expand(sizes);
    };
    const auto eye = at::eye(n, x.options()).expand({x.size(0), heads_, n, n}),
               none = at::zeros({x.size(0), heads_, n, entries}, x.options());
    // Sinks are positions too.
    const auto marked = [&](const at::Tensor& values) {
      if (options.sinks)
        options.sinks = ops::Slots{ops::repeat_heads(options.sinks->key, heads_), values.narrow(2, 0, sinks_)};
      return options;
    };
    const auto on_positions = ops::reference::attend(
        query, key, eye, {slots.key, like_slots(at::zeros({entries, n}, x.options()))}, marked(eye));
    const auto on_slots =
        ops::reference::attend(query, key, none, {slots.key, like_slots(at::eye(entries, x.options()))}, marked(none));
    return {.positions = on_positions, .slots = on_slots, .reads = reads_of(x, text.heads.key)};
  }

 protected:
  at::Tensor attend(const at::Tensor& x, const Heads& heads, const std::optional<at::Tensor>&) const override {
    return attend_text(whole(x, heads)).out;
  }

  std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk& chunk) const override {
    const auto text = chunk.before == nullptr ? whole(chunk.x_BNd, chunk.heads) : continued(chunk);
    const auto attended = attend_text(text);
    return {attended.out, state_after(text, attended.sums)};
  }

  at::Tensor attend_step(const at::Tensor& x, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    const auto scores = scores_of(x);
    const ops::AutocastOff autocast_off(x.device().type());
    cross_borders(positions, state);
    const auto rows = at::tensor(positions, at::kLong).to(x.device());
    const auto place = (rows.remainder(window_) + window_).view({-1, 1, 1, 1});
    const auto put = [&](at::Tensor& to, const at::Tensor& row_BH1x) {
      to.scatter_(2, place.expand(row_BH1x.sizes()), wide(row_BH1x));
    };
    put(state.key, heads.key);
    put(state.value, heads.value);
    keep_sinks(heads, positions, state.sinks);
    if (scores.defined()) put(state.scores, scores.transpose(2, 3));
    return mix(heads.query, rows, state);
  }

 private:
  // The sinks of a text as the softmax sees them, for the queries that do.
  std::optional<ops::Slots> sinks_of(const Text& text) const {
    if (sinks_ == 0 || text.start + text.heads.key.size(2) <= 2 * window_) return std::nullopt;
    const auto dtype = text.heads.query.scalar_type();
    const auto first = [&](const at::Tensor& rows) { return rows.narrow(2, 0, sinks_); };
    const auto raw = text.start == 0 ? ops::Slots{first(text.heads.key), first(text.heads.value)} : text.sinks;
    return ops::Slots{(*rotation_)(window_key_norm_.of_heads(raw.key).to(dtype), 0),
                      window_value_norm_.of_heads(raw.value).to(dtype)};
  }

  at::Tensor reads_of(const at::Tensor& x, const at::Tensor& key) const {
    if (!rule_) return {};
    auto reads = rule_->reads(x, {.window = window_, .block = block_});
    if (!reads.defined()) reads = rule_->reads_of_keys(key);
    return reads.defined() ? ops::repeat_heads(reads, heads_) : reads;
  }

  at::Tensor scores_of(const at::Tensor& x) const { return rule_ ? rule_->scores(x) : at::Tensor(); }

  Text whole(const at::Tensor& x, const Heads& heads) const { return {.heads = heads, .scores = scores_of(x)}; }

  // The chunk behind what the state holds of its block and the one before.
  Text continued(const Chunk& chunk) const {
    const auto& state = *chunk.before;
    const auto position = chunk.position, block = position / window_;
    Text text{.start = std::max<std::int64_t>(block - 1, 0) * window_,
              .first = block * window_,
              .added = position % window_,
              .before = slots_before(state, position),
              .sinks = state.sinks};
    // The state's second block is that of the last token, position − 1.
    const auto held_from = (position - 1) / window_ * window_ - window_;
    const auto behind = [&](const at::Tensor& held, const at::Tensor& more) {
      return at::cat({held.narrow(2, text.start - held_from, position - text.start).to(more.scalar_type()), more}, 2);
    };
    text.heads = {at::constant_pad_nd(chunk.heads.query, {0, 0, text.added, 0}), behind(state.key, chunk.heads.key),
                  behind(state.value, chunk.heads.value)};
    if (const auto scores = scores_of(chunk.x_BNd); scores.defined())
      text.scores = behind(state.scores, scores.transpose(2, 3)).transpose(2, 3);
    return text;
  }

  // What there is before the block before that of `position`.
  ops::Slots slots_before(const LayerState& state, std::int64_t position) const {
    const ops::AutocastOff autocast_off(state.key.device().type());
    const auto block = position / window_;
    if (!rule_ || block == 0) return {};
    const bool crossing = position % window_ == 0 && block >= 2;  // the state's first block is not among them yet
    auto slots = state.slots;
    if (block_) {
      const auto held = std::max<std::int64_t>((position - 1) / window_ - 1, 0) * rule_->slots();
      slots = {slots.key.narrow(2, 0, held), slots.value.narrow(2, 0, held)};
    }
    if (!crossing) return slots;
    const auto scores = state.scores.defined() ? state.scores.narrow(2, 0, window_).transpose(2, 3) : at::Tensor();
    return with_blocks(slots, without_sinks(sinks_, {.key = state.key.narrow(2, 0, window_),
                                                     .value = state.value.narrow(2, 0, window_),
                                                     .scores = scores,
                                                     .first = (block - 2) * window_}));
  }

  // `slots` and those of some more whole blocks: added to the sums, or behind the slots.
  ops::Slots with_blocks(const ops::Slots& slots, const SlotText& blocks) const {
    if (!block_) return rule_->sums_after(slots, blocks);
    const auto made = rule_->summarise(blocks, {.window = window_, .block = true});
    return {at::cat({slots.key, made.key}, 2), at::cat({slots.value, made.value}, 2)};
  }

  // Normalised slots, as the softmax sees them, in the dtype of the arithmetic, and their mass.
  ops::Slots slots_of(const Text& text) const {
    const auto& [query, key, value] = text.heads;
    const auto dtype = query.scalar_type();
    if (!rule_) return {key.narrow(2, 0, 0), value.narrow(2, 0, 0)};
    ops::SummariseOptions options{.window = window_, .block = block_};
    if (!block_ && text.first > 0) options.before = text.before;
    auto slots = rule_->summarise(
        without_sinks(sinks_, {.key = key, .value = value, .scores = text.scores, .first = text.start}), options);
    if (block_ && text.first > 0) {
      const auto behind = [&](const at::Tensor& before, const at::Tensor& made) {
        return at::cat({before.to(made.scalar_type()), made}, 2);
      };
      slots = {behind(text.before.key, slots.key), behind(text.before.value, slots.value)};
    }
    slots = means_of(slots);
    return {slot_key_norm_.of_heads(slots.key).to(dtype), slot_value_norm_.of_heads(slots.value).to(dtype), slots.mass};
  }

  // The sums after the text where the operator makes slots itself; else undefined.
  ops::RunningResult attend_text(const Text& text) const {
    const auto writes = writes_of(text);
    auto made = writes ? attend_running(text, *writes) : ops::RunningResult{attend_given(text), {}};
    if (text.added > 0) made.out = made.out.narrow(2, text.added, made.out.size(2) - text.added);
    return made;
  }

  // With slots that are made before.
  at::Tensor attend_given(const Text& text) const {
    const auto& [query, key, value] = text.heads;
    const auto slots = slots_of(text);
    auto options = attend_options(text);
    if (slots.mass.defined()) options.slot_offset = log_mass(slots.mass);
    return ops::attend((*rotation_)(query, text.first), window_keys_of(text),
                       window_value_norm_.of_heads(value).to(query.scalar_type()), {slots.key, slots.value}, options);
  }

  // What the operator needs that makes running slots where it attends; nothing where it doesn't serve.
  std::optional<ops::SlotWrites> writes_of(const Text& text) const {
    if (!rule_ || block_ || sinks_ > 0 || !ops::running_kernel_serves(text.heads.query)) return std::nullopt;
    return rule_->writes(
        {.key = text.heads.key, .value = text.heads.value, .scores = text.scores, .first = text.start});
  }

  ops::RunningResult attend_running(const Text& text, const ops::SlotWrites& writes) const {
    const auto& [query, key, value] = text.heads;
    const auto like = attend_options(text);
    ops::RunningOptions options{.window = window_,
                                .first = text.first,
                                .norms = {.slot_key = slot_key_norm_.parameters(),
                                          .slot_value = slot_value_norm_.parameters(),
                                          .window_value = window_value_norm_.parameters()},
                                .slot_bias = like.slot_bias,
                                .slot_query = like.slot_query};
    if (text.first > 0) options.before = text.before;
    if (*rotation_) {
      options.window_key = window_keys_of(text);
    } else {
      options.norms.window_key = window_key_norm_.parameters();
    }
    return ops::attend_running((*rotation_)(query, text.first), key, value, writes, options);
  }

  // The keys as the window sees them.
  at::Tensor window_keys_of(const Text& text) const {
    return (*rotation_)(window_key_norm_.of_heads(text.heads.key).to(text.heads.query.scalar_type()), text.start);
  }

  ops::AttendOptions attend_options(const Text& text) const {
    // The bias in its own dtype: bfloat16 has steps of 1/64 near −3.
    return {.causal = true,
            .window = window_,
            .first = text.first,
            .slot_bias = slot_bias_.defined() ? std::optional(slot_bias_) : std::nullopt,
            .slot_query = rule_ && *rotation_ ? std::optional(text.heads.query) : std::nullopt,
            .sinks = sinks_of(text)};
  }

  // The last two blocks of the text, and the slots of those before: `sums`, where these are made already.
  StatePointer state_after(const Text& text, const ops::Slots& sums) const {
    const ops::AutocastOff autocast_off(text.heads.key.device().type());
    const auto end = text.start + text.heads.key.size(2), last = (end - 1) / window_;
    const auto from = std::max<std::int64_t>(last - 1, 0) * window_ - text.start;  // of the block before the last
    const auto recent = [&](const at::Tensor& all_BHLx) {
      auto part = wide(all_BHLx.narrow(2, from, all_BHLx.size(2) - from));
      const auto front = last == 0 ? window_ : 0;
      return at::constant_pad_nd(part, {0, 0, front, 2 * window_ - front - part.size(2)});
    };
    auto state = std::make_unique<LayerState>();
    state->key = recent(text.heads.key);
    state->value = recent(text.heads.value);
    if (text.scores.defined()) state->scores = recent(text.scores.transpose(2, 3));
    if (sinks_ > 0) {
      const auto sinks = text.start > 0 ? text.sinks : first_rows(sinks_, text.heads.key, text.heads.value);
      state->sinks = {wide(sinks.key), wide(sinks.value)};
    }
    if (!rule_) return state;
    if (sums.key.defined()) {
      state->slots = {wide(sums.key), wide(sums.value)};
      return state;
    }
    state->slots = text.before.key.defined() ? text.before : no_slots(text.heads.key);
    if (from == 0) return state;
    const auto leaving = [&](const at::Tensor& all) { return wide(all.narrow(2, 0, from)); };
    state->slots = with_blocks(
        state->slots,
        without_sinks(sinks_, {.key = leaving(text.heads.key),
                               .value = leaving(text.heads.value),
                               .scores = text.scores.defined() ? wide(text.scores.narrow(3, 0, from)) : text.scores,
                               .first = text.start}));
    return state;
  }

  ops::Slots no_slots(const at::Tensor& key_BHMD) const {
    const auto count = block_ ? 0 : rule_->slots();
    const auto none = at::zeros({key_BHMD.size(0), state_heads_, count, head_width_},
                                output_.weight.options().requires_grad(std::nullopt));
    return {none, none.clone(), rule_->has_mass() ? none.narrow(3, 0, 1).clone() : at::Tensor()};
  }

  // For the rows whose token starts a new block: the current block becomes the previous one, and the block before
  // becomes slots.
  void cross_borders(const std::vector<std::int64_t>& positions, LayerState& state) const {
    std::map<std::int64_t, std::vector<std::int64_t>> rows_at;
    for (std::size_t row = 0; row < positions.size(); ++row) {
      if (positions[row] > 0 && positions[row] % window_ == 0)
        rows_at[positions[row]].push_back(static_cast<std::int64_t>(row));
    }
    for (const auto& [position, row_list] : rows_at) {
      const auto rows = at::tensor(row_list, at::kLong).to(state.key.device());
      const auto leaving = position / window_ - 2;
      if (leaving >= 0 && rule_) summarise(state, rows, leaving);
      for (auto* held : {&state.key, &state.value, &state.scores}) {
        if (!held->defined()) continue;
        auto previous = held->narrow(2, 0, window_);
        previous.index_copy_(0, rows, held->narrow(2, window_, window_).index_select(0, rows));
      }
    }
  }

  void summarise(LayerState& state, const at::Tensor& rows, std::int64_t leaving) const {
    const auto oldest = [&](const at::Tensor& held) { return held.narrow(2, 0, window_).index_select(0, rows); };
    const auto block =
        without_sinks(sinks_, {.key = oldest(state.key),
                               .value = oldest(state.value),
                               .scores = state.scores.defined() ? oldest(state.scores).transpose(2, 3) : at::Tensor(),
                               .first = leaving * window_});
    if (!block_) {
      const auto before = [&](const at::Tensor& held) { return held.defined() ? held.index_select(0, rows) : held; };
      const auto sums =
          rule_->sums_after({before(state.slots.key), before(state.slots.value), before(state.slots.mass)}, block);
      state.slots.key.index_copy_(0, rows, sums.key);
      state.slots.value.index_copy_(0, rows, sums.value);
      if (sums.mass.defined()) state.slots.mass.index_copy_(0, rows, sums.mass);
      return;
    }
    const auto made = rule_->summarise(block, {.window = window_, .block = true});
    const auto first = leaving * rule_->slots();
    for (const auto& [held, slots] :
         {std::pair{&state.slots.key, made.key}, std::pair{&state.slots.value, made.value}}) {
      const auto missing = first + rule_->slots() - held->size(2);
      if (missing > 0) *held = at::constant_pad_nd(*held, {0, 0, 0, missing});
      held->narrow(2, first, rule_->slots()).index_copy_(0, rows, slots);
    }
  }

  // One query per row attends to recent positions and slots in one softmax. What a row doesn't see gets a bias of minus
  // infinity. L columns: the 2W positions, then the slots, then the sinks.
  at::Tensor mix(const at::Tensor& query, const at::Tensor& rows, const LayerState& state) const {
    const auto current = rows.div(window_, "floor"), offset = rows.remainder(window_) + window_;
    const auto spots = at::arange(2 * window_, rows.options());
    const auto places = ((current - 1) * window_).unsqueeze(1) + spots;
    auto key_BHLD = (*rotation_)(normed(window_key_norm_, state.key), places);
    auto value_BHLD = normed(window_value_norm_, state.value);
    if (rule_) {
      const auto slots = means_of(state.slots);
      key_BHLD = at::cat({key_BHLD, normed(slot_key_norm_, slots.key)}, 2);
      value_BHLD = at::cat({value_BHLD, normed(slot_value_norm_, slots.value)}, 2);
    }
    if (sinks_ > 0) {
      key_BHLD = at::cat({key_BHLD, (*rotation_)(normed(window_key_norm_, state.sinks.key), 0)}, 2);
      value_BHLD = at::cat({value_BHLD, normed(window_value_norm_, state.sinks.value)}, 2);
    }
    key_BHLD = ops::repeat_heads(key_BHLD, heads_);
    value_BHLD = ops::repeat_heads(value_BHLD, heads_);
    const auto first = at::where(current > 0, at::zeros_like(rows), at::full_like(rows, window_));
    const auto window_hidden =
        (spots.unsqueeze(0) > offset.unsqueeze(1)).logical_or(spots.unsqueeze(0) < first.unsqueeze(1));
    const auto before = (current - 1).clamp_min(0);  // blocks that are slots
    const auto slot_count = key_BHLD.size(2) - 2 * window_ - sinks_, each = rule_ ? rule_->slots() : 0;
    const auto visible = (block_ ? before : before.clamp_max(1)) * each;
    const auto slots_hidden = at::arange(slot_count, rows.options()).unsqueeze(0) >= visible.unsqueeze(1);
    const auto sinks_hidden = (current < 2).unsqueeze(1).expand({-1, sinks_});
    const auto hidden_B11L = at::cat({window_hidden, slots_hidden, sinks_hidden}, 1).unsqueeze(1).unsqueeze(1);
    const auto turned_query = (*rotation_)(query, rows.unsqueeze(1));
    auto logits_BH1L = at::matmul(wide(turned_query), key_BHLD.transpose(2, 3));
    if (*rotation_) {  // slots have no position
      logits_BH1L.narrow(3, 2 * window_, slot_count)
          .copy_(at::matmul(wide(query), key_BHLD.narrow(2, 2 * window_, slot_count).transpose(2, 3)));
    }
    logits_BH1L.div_(std::sqrt(static_cast<double>(head_width_)));
    if (slot_bias_.defined()) logits_BH1L.narrow(3, 2 * window_, slot_count).add_(slot_bias_.view({1, -1, 1, 1}));
    if (const auto& mass = state.slots.mass; mass.defined())
      logits_BH1L.narrow(3, 2 * window_, slot_count).add_(ops::repeat_heads(log_mass(mass), heads_).unsqueeze(2));
    const auto weights =
        at::softmax(logits_BH1L.masked_fill(hidden_B11L, -std::numeric_limits<double>::infinity()), -1);
    return at::matmul(weights, value_BHLD).to(query.scalar_type());
  }

  std::int64_t window_, sinks_;
  bool block_;
  std::unique_ptr<SlotRule> rule_;  // null: a window alone
  Norm slot_key_norm_, slot_value_norm_, window_key_norm_, window_value_norm_;
  at::Tensor slot_bias_;
};

}  // namespace

std::unique_ptr<Attention> make_window(const LayerContext& context) {
  return std::make_unique<WindowAttention>(context);
}

}  // namespace linformer::nn
