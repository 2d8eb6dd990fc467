#include "infer/token_steps.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

// The general step writes into its state.
DecodeState copy_of(const DecodeState& state) {
  auto tensors = state.tensors();
  for (auto& tensor : tensors) tensor = tensor.clone();
  return state.with(tensors);
}

}  // namespace

TokenSteps::TokenSteps(const LanguageModel& model, WeightFormat format, bool storable) : model_(model) {
  const auto obstacle = Decoder::obstacle(model);
  if (obstacle.empty()) {
    decoder_ = std::make_unique<Decoder>(model, DecoderOptions{.format = format, .storable = storable});
    path_ = "decoder: " + decoder_->description();
    return;
  }
  require(format == WeightFormat::float32, "{} weights can't be used here, since {}; use --dtype float32.",
          kernels::weight_format_name(format), obstacle);
  path_ = "general step, since " + obstacle;
}

void TokenSteps::prefill(const std::vector<Ids>& prompts, std::int64_t times) {
  auto [logits, state] = model_.prefill(prompts);
  logits_BV_ = times > 1 ? logits.repeat_interleave(times, 0) : logits;
  state_ = times > 1 ? state.repeat(times) : std::move(state);
  if (decoder_) decoder_->load(std::exchange(state_, {}));
}

void TokenSteps::load(DecodeState state) {
  logits_BV_.reset();
  if (decoder_) {
    decoder_->load(std::move(state));
  } else {
    state_ = std::move(state);
  }
}

// One token is a step like any other, so that its bits are those of a text without a pause.
void TokenSteps::resume(const DecodeState& state, const Ids& ids) {
  auto before = copy_of(state);
  if (ids.size() == 1) {
    load(std::move(before));
    step(ids);
    return;
  }
  const auto all_1N = at::tensor(ids, at::kLong).unsqueeze(0);
  at::Tensor last_1d;
  for (std::int64_t first = 0; first < all_1N.size(1); first += LanguageModel::kPromptChunk) {
    const auto count = std::min(LanguageModel::kPromptChunk, all_1N.size(1) - first);
    auto [hidden, after] = model_.read(all_1N.narrow(1, first, count).to(model_.output_weight().device()), before);
    last_1d = hidden.select(1, -1);
    before = std::move(after);
  }
  load(std::move(before));
  logits_BV_ = model_.head().logits(last_1d);
}

DecodeState TokenSteps::state() const { return decoder_ ? decoder_->state() : copy_of(state_); }

void TokenSteps::step(const Ids& ids) {
  if (decoder_) {
    logits_BV_.reset();
    decoder_->step(ids);
  } else {
    logits_BV_ = model_.step(at::tensor(ids, at::kLong).to(model_.output_weight().device()), state_);
  }
}

void TokenSteps::keep(const Ids& rows) {
  if (decoder_) {
    decoder_->keep(rows);
  } else {
    state_ = state_.select(rows);
  }
}

std::int64_t TokenSteps::draw(std::size_t row, Sampler& sampler) {
  if (!logits_BV_) return sampler.draw(decoder_->logits(row));
  const auto values = logits_BV_->select(0, static_cast<std::int64_t>(row)).to(at::kCPU, at::kDouble).contiguous();
  return sampler.draw(std::span(values.const_data_ptr<double>(), static_cast<std::size_t>(values.numel())));
}

}  // namespace linformer
