// Shape letters: B batch, N window length, d width.
#include "linformer/infer/evaluate.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "infer/evaluation_sums.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/memory.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/ops/cross_entropy.hpp"

namespace linformer {
namespace {

static_assert(kIgnored == ops::CrossEntropyOptions{}.ignore_index, "heads and batches mean the same by no target");

// What a model keeps for one position in tables, float32.
double bytes_a_position(const ModelConfig& config) {
  double numbers = config.position == Position::learned ? static_cast<double>(config.width) : 0;
  const auto sharing = config.attention.sharing;
  const double tables = (sharing == Sharing::headwise || sharing == Sharing::none ? 2 : 1) *
                        (sharing == Sharing::none ? static_cast<double>(config.state_heads()) : 1);
  if (config.attention.kind == AttentionKind::linformer && config.attention.projection == Projection::linear) {
    std::int64_t slots = 0;
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
      slots = sharing == Sharing::layerwise ? std::max(slots, config.slots_of(layer)) : slots + config.slots_of(layer);
    numbers += tables * static_cast<double>(slots);
  }
  return numbers * sizeof(float);
}

// Why a causal or bidirectional model reads no longer text.
std::string limit_of(const ModelConfig& config, std::int64_t length) {
  const auto bytes = bytes_a_position(config);
  const bool positions = config.position == Position::learned || config.position == Position::sinusoidal;
  if (positions || bytes > 0)
    return formatted(
        "each position has a part of its own in {}, which was trained for no more; for {} positions it "
        "would take {}",
        positions ? "the table of positions" : "E and F", length, format_bytes(bytes * static_cast<double>(length)));
  if (form_of(config) != Form::running && form_of(config) != Form::block)
    return "its slots are made of a whole text of that length";
  return formatted("its slots were never read in training: texts of model.length fit into two windows of {}",
                   config.window());
}

void check_request(const LanguageModel& model, const Tokenizer& tokenizer, const EvaluateOptions& options) {
  const auto& config = model.config();
  require(config.causal || config.vocabulary == vocabulary_of(tokenizer, Objective::masked),
          "this model is bidirectional (model.causal = false), and its vocabulary of {} has no id for the mask beside "
          "the tokenizer's {}: it "
          "sees the tokens that it would have to predict, so its loss means nothing; evaluate a model that was trained "
          "with model.causal = "
          "true or train.objective = masked",
          config.vocabulary, tokenizer.size());
  require(!config.causal || tokenizer.size() == config.vocabulary,
          "the tokenizer '{}' has {} ids, but the model's vocabulary has {}: use data that was prepared with "
          "the model's tokenizer",
          tokenizer.name(), tokenizer.size(), config.vocabulary);
  require(options.batch >= 1, "batch is {}, but must be at least 1", options.batch);
  require(options.sequences >= 0, "sequences is {}, but must be at least 1, or 0 for all", options.sequences);
  require(options.length >= 0, "length is {}, but must be at least 1, or 0 for model.length", options.length);
  require(!options.by_position || config.causal,
          "this model is bidirectional (model.causal = false): at each position it sees the whole text, so there is no "
          "loss by position");
  require(
      options.length <= config.longest_text(),
      "--length {}: this model reads at most {} tokens (model.length), because {}. Models with model.position = "
      "rotary or none and a rule without a table, such as attention.projection = periodic, read texts of any length",
      options.length, config.length, limit_of(config, options.length));
}

std::int64_t length_of(const LanguageModel& model, const EvaluateOptions& options) {
  return options.length > 0 ? options.length : model.config().length;
}

std::int64_t batch_of(const LanguageModel& model, const EvaluateOptions& options) {
  const auto length = length_of(model, options), trained = model.config().length;
  if (length <= trained) return options.batch;
  return std::max<std::int64_t>(1, options.batch / ((length + trained - 1) / trained));
}

// The last window of a text may be shorter, but one has to be whole.
void check_tokens(std::int64_t tokens, const EvaluateOptions& options) {
  require(options.length == 0 || tokens > options.length,
          "--length {}: the text has {} tokens, too few for one window of that length and one more; use a smaller "
          "--length, or more text",
          options.length, tokens);
}

// Windows of one text, in batches. Like ValidationBatches, but without a token file.
class TextBatches final : public Batches {
 public:
  TextBatches(const std::vector<std::int32_t>& ids, std::int64_t batch, std::int64_t length)
      : ids_(at::tensor(at::ArrayRef<std::int32_t>(ids.data(), ids.size()), at::kLong)),
        batch_(batch),
        length_(length) {}

  std::int64_t targets() const { return ids_.numel() - 1; }
  std::int64_t windows() const { return (targets() + length_ - 1) / length_; }
  std::int64_t count() const override { return (windows() + batch_ - 1) / batch_; }

  Batch at(std::int64_t index) const override {
    const auto first = index * batch_ * length_;
    const auto size = std::min(batch_, windows() - index * batch_);
    const auto valid = std::min(size * length_, targets() - first);
    const auto ids = at::zeros({size * length_}, at::kLong), targets = at::full({size * length_}, kIgnored, at::kLong);
    ids.narrow(0, 0, valid).copy_(ids_.narrow(0, first, valid));
    targets.narrow(0, 0, valid).copy_(ids_.narrow(0, first + 1, valid));
    return {ids.view({size, length_}), targets.view({size, length_})};
  }

 private:
  at::Tensor ids_;
  std::int64_t batch_, length_;
};

// Of a long text, the memory of a part of it is enough: it is read in chunks, each with the state of those before.
// Calls `visit` with the hidden states of each part of the batch, the part, and the position of its first token.
template <class Visit>
void read_in_parts(const LanguageModel& model, const Batch& batch, const Visit& visit) {
  const auto ids_BN = batch.ids.to(model.output_weight().device());
  const auto length = ids_BN.size(1), chunk = LanguageModel::kPromptChunk;
  if (length <= chunk || !model.config().causal) return visit(model.hidden(ids_BN), batch, std::int64_t{0});
  DecodeState state;
  for (std::int64_t first = 0; first < length; first += chunk) {
    const auto part = [&](const at::Tensor& all_BN) {
      return all_BN.defined() ? all_BN.narrow(1, first, std::min(chunk, length - first)).contiguous() : all_BN;
    };
    auto [hidden, after] = model.read(part(ids_BN), state);
    state = std::move(after);
    visit(hidden, Batch{part(batch.ids), part(batch.targets), batch.sparse, part(batch.distances), batch.depths},
          first);
  }
}

// The first rows of a batch.
Batch first_rows(const Batch& batch, std::int64_t rows) {
  const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, 0, rows).contiguous() : all; };
  return {part(batch.ids), part(batch.targets), batch.sparse, part(batch.distances), part(batch.depths)};
}

// Adds up in float64 over batches. The mean of each batch is weighted by its number of targets.
Evaluation evaluate_batches(const LanguageModel& model, const Batches& batches, std::optional<double> bytes_per_token,
                            const EvaluateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const c10::NoGradGuard no_grad;
  const AutocastGuard autocast(options.dtype, model.output_weight().device().type());
  const auto weight_Vd = model.output_weight();
  const auto dtype = options.dtype == at::kBFloat16 ? at::kBFloat16 : weight_Vd.scalar_type();
  Evaluation result;
  Answers answers(length_of(model, options));
  Keys keys;
  Octaves octaves;
  double sum = 0;
  bool cut = false;  // the last batch
  const auto rows = batch_of(model, options), most = options.sequences > 0 ? options.sequences : batches.count() * rows;
  const auto count = std::min(batches.count(), (most + rows - 1) / rows);
  for (std::int64_t index = 0; index < count; ++index) {
    Batch batch = batches.at(index);
    if (const auto left = most - index * rows; left < batch.ids.size(0)) batch = first_rows(batch, left), cut = true;
    if (batch.targets.ne(kIgnored).any().item<bool>()) {
      read_in_parts(model, batch, [&](const at::Tensor& hidden, const Batch& part, std::int64_t first) {
        const bool recall = part.distances.defined();
        if (options.by_position) {
          for (std::int64_t row = 0; row < part.ids.size(0); ++row) {
            const auto of_row = [&](const at::Tensor& all, std::int64_t from, std::int64_t size) {
              return all.narrow(0, row, 1).narrow(1, from, size);
            };
            octaves.over(static_cast<std::size_t>(row), first, part.ids.size(1), [&](auto from, auto size) {
              return model.head().score(of_row(hidden, from, size),
                                        {of_row(part.targets, from, size).contiguous(), part.sparse}, dtype, false);
            });
          }
        }
        const auto score = model.head().score(hidden, {part.targets, part.sparse}, dtype, recall);
        sum += score.loss;
        result.tokens += score.targets;
        if (!score.right.defined()) return;
        answers.add(score.right, part.distances.masked_select(part.targets.ne(kIgnored)));
        if (part.depths.defined()) keys.add(score.right, part.targets);
      });
    }
    octaves.end_batch();
    if (batch.depths.defined()) keys.end_batch(batch.depths);
    if (options.progress) options.progress(index + 1, count);
  }
  require(result.tokens > 0,
          "there is nothing to evaluate: the text has fewer than two tokens, and the first can't be predicted");
  result.loss = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  const bool all_read = options.sequences == 0 || (count == batches.count() && !cut);
  if (bytes_per_token && all_read) result.bits_per_byte = result.loss / std::log(2.0) / *bytes_per_token;
  answers.report(result);
  keys.report(result);
  result.loss_by_position = octaves.losses(length_of(model, options));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

Evaluation evaluate(const LanguageModel& model, const Dataset& data, const EvaluateOptions& options) {
  check_request(model, *data.tokenizer(), options);
  const auto length = length_of(model, options);
  const bool text = data.bytes_per_token().has_value();  // what is generated has no end
  if (text) check_tokens(data.validation_tokens(length), options);
  const auto batches = data.validation({.batch = batch_of(model, options),
                                        .length = length,
                                        .objective = model.config().causal ? Objective::causal : Objective::masked});
  const auto bytes_per_token = model.head().gives_code_length() ? data.bytes_per_token() : std::nullopt;
  return evaluate_batches(model, *batches, bytes_per_token, options);
}

Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options) {
  return evaluate(model, *dataset_of(data), options);
}

Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options) {
  require(
      model.config().causal,
      "this model is bidirectional (model.causal = false): it is evaluated on prepared text, whose validation part is "
      "masked; prepare the text with --tokenizer MODEL/tokenizer.json");
  check_request(model, tokenizer, options);
  const auto ids = tokenizer.encode(text);
  require(ids.size() >= 2,
          "the text has {} tokens, but at least 2 are needed, since the first token can't be predicted", ids.size());
  check_tokens(static_cast<std::int64_t>(ids.size()), options);
  const TextBatches batches(ids, batch_of(model, options), length_of(model, options));
  const double bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(ids.size());
  return evaluate_batches(model, batches, bytes_per_token, options);
}

std::string description_of(const Evaluation& evaluation) {
  auto text = formatted("loss {:.4f}, perplexity {:.2f}", evaluation.loss, evaluation.perplexity);
  if (evaluation.bits_per_byte) text += formatted(", {:.4f} bits per byte", *evaluation.bits_per_byte);
  if (evaluation.found)
    text += formatted(", {:.2f} % of keys found", 100 * *evaluation.found);
  else if (evaluation.accuracy)
    text += formatted(", {:.2f} % of queries answered", 100 * *evaluation.accuracy);
  return text;
}

json to_json(const Evaluation& evaluation, const std::string& prefix) {
  json object = {{prefix + "loss", evaluation.loss}, {"perplexity", evaluation.perplexity}};
  if (evaluation.bits_per_byte) object["bits_per_byte"] = *evaluation.bits_per_byte;
  if (evaluation.accuracy) object["accuracy"] = *evaluation.accuracy;
  if (evaluation.found) object["found"] = *evaluation.found;
  for (const auto& [from, to, keys, accuracy, found] : evaluation.accuracy_by_depth) {
    object["accuracy_by_depth"].push_back(
        {{"from", from}, {"to", to}, {"keys", keys}, {"accuracy", accuracy}, {"found", found}});
  }
  for (const auto& [first, last, queries, accuracy] : evaluation.accuracy_by_distance) {
    object["accuracy_by_distance"].push_back({{"distance", (first + last + 1) / 2},
                                              {"first", first},
                                              {"last", last},
                                              {"queries", queries},
                                              {"accuracy", accuracy}});
  }
  for (const auto& [from, to, tokens, loss, standard_error] : evaluation.loss_by_position) {
    auto& one =
        object["loss_by_position"].emplace_back(json{{"from", from}, {"to", to}, {"loss", loss}, {"tokens", tokens}});
    if (standard_error) one["standard_error"] = *standard_error;
  }
  return object;
}

}  // namespace linformer
