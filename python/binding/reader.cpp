// Texts that are read token by token, for a caller that chooses the tokens itself.
// Shape letters: B texts, N tokens, V vocabulary, d width.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "binding.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer::python {

namespace {

using Ids = std::vector<std::int64_t>;

/// By the fast decoder where it can run the model, as `generate` does; else by the model's general step.
class Reader {
 public:
  Reader(std::shared_ptr<LanguageModel> model, const std::string& weights, const std::string& prompt_dtype)
      : model_(std::move(model)), weights_(weights), prompt_dtype_(prompt_dtype) {
    require(model_->config().causal,
            "this model is bidirectional (model.causal = false): every position sees the whole text, so it can't "
            "continue one");
    const auto format = weights_of(weights, *model_);
    dtype_ = prompt_dtype_of(prompt_dtype, format, *model_);
    const auto obstacle = Decoder::obstacle(*model_);
    require(obstacle.empty() || format == WeightFormat::float32,
            "weights is '{}', but only 'auto' and 'float32' serve here, since {}", weights, obstacle);
    if (obstacle.empty()) decoder_.emplace(*model_, DecoderOptions{.format = format, .storable = true});
  }

  /// Prompts of any lengths → logits (B,1,V) after the last token of each.
  at::Tensor start(const std::vector<Ids>& prompts) {
    const Guards guards(*this);
    auto [logits_BV, state] = model_->prefill(prompts);
    take(std::move(state));
    return logits_BV.to(at::kFloat).unsqueeze(1);
  }

  /// The next ids (B,N) of each text → logits (B,N,V), or without `all` (B,1,V) after the last. At first texts are
  /// empty.
  at::Tensor read(const at::Tensor& ids_BN, bool all) {
    require(ids_BN.dim() == 2 && ids_BN.scalar_type() == at::kLong && ids_BN.size(1) > 0,
            "ids has shape ({}), expected (texts, tokens) of int64, and a token at least",
            joined(ids_BN.sizes(), ", "));
    const auto texts = static_cast<std::int64_t>(positions().size());
    require(texts == 0 || texts == ids_BN.size(0), "ids has {} texts, but the cache has {}", ids_BN.size(0), texts);
    const Guards guards(*this);
    if (texts > 0 && ids_BN.size(1) == 1) return step(ids_BN.select(1, 0));
    auto state_now = texts > 0 ? state() : DecodeState();
    std::vector<at::Tensor> parts;
    for (std::int64_t first = 0; first < ids_BN.size(1); first += LanguageModel::kPromptChunk) {
      const auto count = std::min(LanguageModel::kPromptChunk, ids_BN.size(1) - first);
      auto [hidden_BNd, after] = model_->read(ids_BN.narrow(1, first, count), state_now);
      state_now = std::move(after);
      const bool last = first + count == ids_BN.size(1);
      if (!all && !last) continue;
      parts.push_back(model_->head().logits(all ? hidden_BNd : hidden_BNd.narrow(1, count - 1, 1)).to(at::kFloat));
    }
    take(std::move(state_now));
    return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
  }

  /// Goes on with the texts of these rows, in this order.
  void select(const Ids& rows) {
    if (decoder_ && std::set<std::int64_t>(rows.begin(), rows.end()).size() == rows.size()) {
      decoder_->keep(rows);
    } else {
      take(state().select(rows));
    }
  }

  std::unique_ptr<Reader> copy() const {
    auto result = std::make_unique<Reader>(model_, weights_, prompt_dtype_);
    if (!positions().empty()) result->take(state());
    return result;
  }

  const Ids& positions() const { return decoder_ ? decoder_->positions() : state_.positions(); }
  std::int64_t bytes() const { return decoder_ ? decoder_->state_bytes() : state_.bytes(); }
  std::string description() const { return decoder_ ? decoder_->description() : "the general step"; }

 private:
  struct Guards {
    at::NoGradGuard no_grad;
    AutocastGuard autocast;
    ProductGuard products{ProductLibrary::automatic};
    explicit Guards(const Reader& reader) : autocast(reader.dtype_, reader.model_->output_weight().device().type()) {}
  };

  // A copy, since the general step writes into its state.
  DecodeState state() const {
    if (decoder_) return decoder_->state();
    auto tensors = state_.tensors();
    for (auto& tensor : tensors) tensor = tensor.clone();
    return state_.with(tensors);
  }

  void take(DecodeState state) {
    if (decoder_) {
      decoder_->load(std::move(state));
    } else {
      state_ = std::move(state);
    }
  }

  at::Tensor step(const at::Tensor& ids_B) {
    if (!decoder_) return model_->step(ids_B.to(model_->output_weight().device()), state_).to(at::kFloat).unsqueeze(1);
    const auto ids = ids_B.to(at::kCPU).contiguous();
    decoder_->step({ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.size(0))});
    auto logits_B1V = at::empty({ids.size(0), 1, model_->config().vocabulary});
    auto* out = logits_B1V.mutable_data_ptr<float>();
    for (std::int64_t row = 0; row < ids.size(0); ++row) {
      const auto logits_V = decoder_->logits(static_cast<std::size_t>(row));
      out = std::copy(logits_V.begin(), logits_V.end(), out);
    }
    return logits_B1V;
  }

  std::shared_ptr<LanguageModel> model_;
  std::string weights_, prompt_dtype_;
  at::ScalarType dtype_ = at::kFloat;
  std::optional<Decoder> decoder_;
  DecodeState state_;
};

}  // namespace

void add_reader(py::module_& module) {
  using Release = py::call_guard<py::gil_scoped_release>;
  py::class_<Reader>(module, "Reader")
      .def(py::init<std::shared_ptr<LanguageModel>, const std::string&, const std::string&>(), Release())
      .def("start", &Reader::start, Release())
      .def("read", &Reader::read, Release())
      .def("select", &Reader::select, Release())
      .def("copy", &Reader::copy, Release())
      .def("positions", &Reader::positions)
      .def("bytes", &Reader::bytes)
      .def("description", &Reader::description);
}

}  // namespace linformer::python
