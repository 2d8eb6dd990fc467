// Models of this project under audit. Shape letters: B batch, N length, V vocabulary.
#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/ops/attention.hpp"
#include "study/audit_subject.hpp"

namespace linformer::study {
namespace {

constexpr std::int64_t kLongestModel =
    1024;                            // unless the user names another length, or a window hides the slots for longer
constexpr std::int64_t kChunk = 64;  // of `prefix` attention

// Lengths that end inside, at and just after the borders of blocks and chunks, up to `longest`.
std::vector<std::int64_t> lengths_of(const ModelConfig& config, std::int64_t longest) {
  const auto block = config.window() > 0 ? config.window() : kChunk / 2;
  std::set<std::int64_t> lengths{longest, longest % 2 == 0 ? longest - 1 : longest};
  for (const auto length : {2 * block - 1, 2 * block + 1, 4 * block + block / 2 + 1}) {
    if (length >= 3 && length <= longest) lengths.insert(length);
  }
  if (longest > 2) lengths.erase(1);
  return {lengths.begin(), lengths.end()};
}

class ModelSubject final : public AuditSubject {
 public:
  ModelSubject(const LanguageModel& model, at::ScalarType dtype, std::int64_t length)
      : model_(first_blocks(model, model.config().layers)) {
    const auto& config = model_.config();
    const auto window = config.window();
    require(length >= 0 && length <= config.longest_text(),
            "--model.length {}: this model reads at most {} tokens (its model.length)", length, config.length);
    longest_ = length > 0
                   ? length
                   : std::min(config.length, std::max(kLongestModel, 3 * window + window / 2 +
                                                                         1));  // slots are seen from 2 windows on
    require(longest_ >= 2, "an audit needs at least 2 tokens, but the length is {}", longest_);
    model_.to(at::kCPU, dtype);
    for (std::int64_t count = 1; count < config.layers; ++count) {
      cut_.push_back(first_blocks(model, count));
      cut_.back().to(at::kCPU, dtype);
    }
  }

  at::ScalarType dtype() const override { return model_.output_weight().scalar_type(); }
  std::string path() const override { return path_; }
  std::int64_t vocabulary() const override { return model_.config().vocabulary; }
  std::int64_t parameter_count() const override { return model_.parameter_count() - model_.output_weight().numel(); }
  std::vector<std::int64_t> lengths() const override { return lengths_of(model_.config(), longest_); }

  // The output layer works on each position alone, so its input is compared instead of its output.
  at::Tensor outputs(const at::Tensor& ids_BN) const override {
    auto hidden = model_.hidden(ids_BN);
    path_ = ops::path_name(ops::last_path());
    return hidden;
  }
  at::Tensor logits(const at::Tensor& ids_BN) const override { return model_.logits(ids_BN); }
  std::int64_t layers() const override { return model_.config().layers; }
  at::Tensor outputs_after(std::int64_t count, const at::Tensor& ids_BN) const override {
    return count == layers() ? outputs(ids_BN) : cut_.at(static_cast<std::size_t>(count - 1)).hidden(ids_BN);
  }

  std::vector<std::pair<at::Tensor, int>> embeddings() const override {
    for (const auto& [name, tensor] : model_.parameters()) {
      if (name == "token_embedding.weight") return {{tensor, 0}};
    }
    return {};
  }
  bool outputs_are_logits() const override { return false; }

  std::vector<Streamed> stream(const at::Tensor& ids_BN) const override {
    if (!model_.config().causal) return {};
    const double tolerance = dtype() == at::kDouble ? 1e-10 : 1e-4;
    std::vector<Streamed> ways{{"prefill and step", places(ids_BN), stepped(ids_BN), tolerance},
                               {"chunks", places(ids_BN), in_chunks(ids_BN), tolerance}};
    if (Decoder::obstacle(model_).empty())
      ways.push_back({"packed decoder", places(ids_BN), decoded(ids_BN), tolerance});
    return ways;
  }

 private:
  static std::vector<std::int64_t> places(const at::Tensor& ids_BN) {
    std::vector<std::int64_t> all;
    for (std::int64_t place = 0; place + 1 < ids_BN.size(1); ++place) all.push_back(place);
    return all;
  }
  static std::vector<std::int64_t> column(const at::Tensor& ids_BN, std::int64_t place) {
    const auto ids_B = ids_BN.select(1, place).contiguous();
    return {ids_B.const_data_ptr<std::int64_t>(), ids_B.const_data_ptr<std::int64_t>() + ids_B.numel()};
  }
  static std::vector<std::vector<std::int64_t>> prompts_of_one(const at::Tensor& ids_BN) {
    std::vector<std::vector<std::int64_t>> prompts;
    for (const auto id : column(ids_BN, 0)) prompts.push_back({id});
    return prompts;
  }

  at::Tensor stepped(const at::Tensor& ids_BN) const {
    auto [first_BV, state] = model_.prefill(prompts_of_one(ids_BN));
    std::vector<at::Tensor> logits{first_BV};
    for (std::int64_t place = 1; place + 1 < ids_BN.size(1); ++place)
      logits.push_back(model_.step(ids_BN.select(1, place), state));
    return at::stack(logits, 1);
  }
  // As training and prompts read, with a border at each block.
  at::Tensor in_chunks(const at::Tensor& ids_BN) const {
    const auto chunk = model_.config().window() > 0 ? model_.config().window() : kChunk / 4;
    std::vector<at::Tensor> logits;
    DecodeState state;
    for (std::int64_t first = 0; first < ids_BN.size(1); first += chunk) {
      auto [hidden, after] = model_.read(ids_BN.narrow(1, first, std::min(chunk, ids_BN.size(1) - first)), state);
      logits.push_back(model_.head().logits(hidden));
      state = std::move(after);
    }
    return at::cat(logits, 1).narrow(1, 0, ids_BN.size(1) - 1);
  }
  at::Tensor decoded(const at::Tensor& ids_BN) const {
    Decoder decoder(model_);
    auto [first_BV, state] = model_.prefill(prompts_of_one(ids_BN));
    decoder.load(std::move(state));
    std::vector<at::Tensor> logits{first_BV};
    for (std::int64_t place = 1; place + 1 < ids_BN.size(1); ++place) {
      decoder.step(column(ids_BN, place));
      std::vector<at::Tensor> rows;
      for (std::int64_t row = 0; row < ids_BN.size(0); ++row) {
        const auto values = decoder.logits(static_cast<std::size_t>(row));
        rows.push_back(at::tensor(at::ArrayRef<float>(values.data(), values.size()), at::kFloat));
      }
      logits.push_back(at::stack(rows));
    }
    return at::stack(logits, 1);
  }

  LanguageModel model_;
  std::vector<LanguageModel> cut_;  // after 1, 2, … blocks
  std::int64_t longest_ = 0;
  mutable std::string path_;
};

}  // namespace

LanguageModel first_blocks(const LanguageModel& model, std::int64_t layers) {
  auto config = model.config();
  config.layers = layers;
  auto& slots = config.attention.slots_by_layer;
  if (!slots.empty()) slots.resize(static_cast<std::size_t>(layers));
  auto& softmax = config.attention.softmax_layers;
  std::erase_if(softmax, [&](std::int64_t layer) { return layer >= layers; });
  if (static_cast<std::int64_t>(softmax.size()) == layers) {
    config.attention.kind = AttentionKind::softmax;
    softmax.clear();
  }
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : model.parameters()) named.emplace(name, tensor);
  // Copies, because a model keeps the tensors that it is given, and to() later changes them in place.
  return LanguageModel(config,
                       [&](const std::string& name, at::IntArrayRef) { return named.at(name).detach().clone(); });
}

std::unique_ptr<AuditSubject> subject_of(const LanguageModel& model, at::ScalarType dtype, std::int64_t length) {
  return std::make_unique<ModelSubject>(model, dtype, length);
}

}  // namespace linformer::study
