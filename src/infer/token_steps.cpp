#include "infer/token_steps.hpp"

#include <ATen/ATen.h>

#include "linformer/core/error.hpp"

namespace linformer {

TokenSteps::TokenSteps(const LanguageModel& model, WeightFormat format) : model_(model) {
  const auto obstacle = Decoder::obstacle(model);
  if (obstacle.empty()) {
    decoder_ = std::make_unique<Decoder>(model, DecoderOptions{.format = format});
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
