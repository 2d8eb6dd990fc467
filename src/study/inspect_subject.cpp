// Models as subjects, and what the learned projections of ours read. Shape letters: H heads, K slots, P positions of
// a projection.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/pretrained/bert.hpp"
#include "linformer/pretrained/wordpiece.hpp"
#include "linformer/study/inspect.hpp"
#include "study/inspect_json.hpp"

namespace linformer {

double rounded(double value) { return std::stod(formatted("{:.6g}", value)); }

json to_json(const at::Tensor& values) {
  if (values.dim() == 0) return rounded(values.item<double>());
  auto list = json::array();
  for (const auto& part : values.unbind(0)) list.push_back(to_json(part));
  return list;
}

void put_matrix(json& object, const at::Tensor& values_RC) {
  object["rows"] = values_RC.size(0);
  object["columns"] = values_RC.size(1);
  object["values"] = to_json(values_RC);
}

at::Tensor projection_map(const at::Tensor& projection) {
  constexpr std::int64_t kRows = 128, kColumns = 64;
  const auto means = [](std::int64_t length, std::int64_t most) {
    const auto sums = bin_sums(length, most);
    return sums / sums.sum(1, true);
  };
  const auto size = projection.abs().to(at::kCPU, at::kDouble);
  return at::matmul(at::matmul(means(size.size(-2), kRows), size), means(size.size(-1), kColumns).t());
}

namespace {

// (Σ|e|)² / Σe² of a row, mean over rows: as many positions as a slot would read that read them alike.
double positions_read(const at::Tensor& projection_KP) {
  const auto size = projection_KP.abs();
  return (size.sum(-1).square() / size.square().sum(-1)).mean().item<double>();
}

json projection_line(const ModelConfig& config, std::int64_t layer, const json& head, const char* which,
                     const at::Tensor& projection_KP) {
  const auto& attention = config.attention;
  const bool convolution = attention.projection == Projection::convolution;
  const bool block = form_of(config) == Form::block;
  json object = {{"type", "projection"},
                 {"model", ""},
                 {"layer", layer},
                 {"head", head},
                 {"which", which},
                 {"kind", enum_name(attention.projection)},
                 {"over", convolution           ? "segment"
                          : block               ? "block"
                          : config.period() > 0 ? "period"
                                                : "sequence"},
                 {"sharing", enum_name(attention.sharing)},
                 {"slots", block ? config.block_slots_of(layer) : config.slots_of(layer)},
                 {"length", projection_KP.size(1)},
                 {"positions_read", rounded(positions_read(projection_KP))}};
  put_matrix(object, projection_map(projection_KP));
  return object;
}

std::vector<json> projection_lines(const LanguageModel& model) {
  std::vector<json> lines;
  std::map<std::string, at::Tensor> parameters;
  for (const auto& [name, tensor] : model.parameters()) parameters[name] = tensor.detach().to(at::kCPU, at::kDouble);
  const auto& config = model.config();
  const bool kernel = config.attention.projection == Projection::convolution;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const auto* which : {"key", "value"}) {
      const auto found = parameters.find(formatted("blocks.{}.attention.projection_{}", layer, which));
      if (found == parameters.end()) continue;  // shared with keys, or with an earlier layer
      const auto projection =
          kernel ? found->second.unsqueeze(-2) : found->second;  // a convolution's kernel is the row of each slot
      if (projection.dim() == 2) {
        lines.push_back(projection_line(config, layer, nullptr, which, projection));
        continue;
      }
      for (std::int64_t head = 0; head < projection.size(0); ++head)
        lines.push_back(projection_line(config, layer, head, which, projection[head]));
    }
  }
  return lines;
}

}  // namespace

InspectSubject inspect_subject(const LanguageModel& model) {
  const auto& config = model.config();
  InspectSubject subject;
  subject.has_slots = config.attention.kind == AttentionKind::linformer;
  subject.description = formatted("{}{}, {}", enum_name(config.attention.kind),
                                  config.attention.softmax_layers.empty() ? "" : " with softmax layers",
                                  config.causal ? "causal" : "bidirectional");
  if (subject.has_slots) subject.projection = enum_name(config.attention.projection);
  subject.layers = config.layers;
  subject.heads = config.heads;
  subject.length = config.length;
  subject.causal = config.causal;
  subject.first_with_slots = subject.has_slots ? 2 * config.window() : 0;
  subject.weights = [&model](const at::Tensor& ids_BN, const WeightsVisitor& visit) {
    model.attention_weights(ids_BN.to(model.output_weight().device()), visit);
  };
  if (subject.has_slots) subject.projections = projection_lines(model);
  return subject;
}

InspectSubject inspect_subject(const BertEncoder& model, const WordPiece& tokenizer) {
  require(tokenizer.size() <= model.vocabulary(), "{}: its vocabulary has {} ids, vocab.txt {} tokens", model.file(),
          model.vocabulary(), tokenizer.size());
  InspectSubject subject;
  subject.description = "BERT encoder, bidirectional";
  subject.layers = model.layers();
  subject.heads = model.heads();
  subject.length = model.length();
  subject.before = {tokenizer.id("[CLS]")};
  subject.after = {tokenizer.id("[SEP]")};
  subject.weights = [&model](const at::Tensor& ids_BN, const WeightsVisitor& visit) {
    model.attention_weights(ids_BN, visit);
  };
  return subject;
}

}  // namespace linformer
