// The language model on parameters that Python owns, and its generator.
#include <ATen/ATen.h>
#include <c10/core/DeviceType.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "binding.hpp"
#include "linformer/config/enum_text.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/json.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer::python {

namespace {

using Named = std::vector<std::pair<std::string, at::Tensor>>;

ModelConfig config_of(const std::string& text) {
  ModelConfig config;
  from_json(fields_of(config), parse_json(text, "the config"), "the config",
            {"format_version", "tokenizer", "train", "data", "seed", "from"});
  return config;
}

std::string text_of(ModelConfig config) { return dump(to_json(fields_of(config))); }

/// Name, help, kind and default of each field, as JSON.
std::vector<std::tuple<std::string, std::string, std::string, std::string>> fields() {
  ModelConfig config;
  std::vector<std::tuple<std::string, std::string, std::string, std::string>> result;
  for (const auto& field : fields_of(config))
    result.emplace_back(field.name, field.help, field.type, dump(field.to_json()));
  return result;
}

/// The parameters of a new model, in order.
std::pair<std::string, Named> drawn(const std::string& config, std::uint64_t seed) {
  const LanguageModel model(config_of(config), seed);
  return {text_of(model.config()), model.parameters()};
}

/// Names and shapes of the parameters of such a model. None is drawn, and none is written to.
std::pair<std::string, std::vector<std::pair<std::string, std::vector<std::int64_t>>>> shapes(
    const std::string& config) {
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> result;
  const LanguageModel model(config_of(config), [&](const std::string& name, at::IntArrayRef shape) {
    result.emplace_back(name, shape.vec());
    return at::empty(shape);
  });
  return {text_of(model.config()), result};
}

/// A model whose parameters are these very tensors: one storage, one leaf of autograd's graph.
std::shared_ptr<LanguageModel> model_on(const std::string& config, const Named& given) {
  std::map<std::string, at::Tensor> tensors(given.begin(), given.end());
  std::vector<at::Tensor> frozen;
  auto model = std::make_shared<LanguageModel>(
      config_of(config), [&](const std::string& name, at::IntArrayRef shape) -> at::Tensor {
        const auto found = tensors.find(name);
        require(found != tensors.end(), "parameter {} is missing", name);
        const auto& tensor = found->second;
        require(tensor.sizes() == shape, "parameter {} has shape ({}), expected ({})", name,
                joined(tensor.sizes(), ", "), joined(shape, ", "));
        if (!tensor.requires_grad()) frozen.push_back(tensor);
        return tensor;
      });
  for (const auto& tensor : frozen) tensor.requires_grad_(false);  // which the model asked for
  return model;
}

struct Loaded {
  std::string config;
  Named parameters;
  std::string tokenizer;  ///< "null" where the folder has none
};

Loaded load(const std::string& folder) {
  const py::gil_scoped_release release;
  const auto loaded = load_model(folder);
  return {text_of(loaded.model.config()), loaded.model.parameters(), dump(loaded.tokenizer)};
}

void save(const LanguageModel& model, const std::string& folder, const std::string& tokenizer) {
  const py::gil_scoped_release release;
  save_model(folder, model, parse_json(tokenizer, "the tokenizer"));
}

ForwardOptions options_of(std::optional<std::uint64_t> dropout_seed, bool checkpoint,
                          const std::optional<at::Tensor>& padding_mask) {
  return {.training = dropout_seed.has_value(),
          .dropout_seed = dropout_seed.value_or(0),
          .checkpoint = checkpoint,
          .padding_mask = padding_mask};
}

/// Sampling by JSON, the other options by name, as the program's flags have them.
struct Request {
  std::vector<std::string> prompts;
  std::string sampling;
  std::uint64_t seed = 0;
  std::int64_t samples = 1;
  std::string overflow, weights, prompt_dtype;
};

/// `on_text(sequence, bytes)` is asked for each piece. What it raises ends the generation, and so does Control-C.
py::list generate_text(const LanguageModel& model, const Tokenizer& tokenizer, const Request& request,
                       const py::object& on_text) {
  SamplingConfig sampling;
  from_json(sampling, parse_json(request.sampling, "generate"), "generate");
  const auto weights = weights_of(request.weights, model);
  GenerateOptions options{.samples = request.samples,
                          .seed = request.seed,
                          .overflow = enum_of<Overflow>(request.overflow, "overflow"),
                          .dtype = prompt_dtype_of(request.prompt_dtype, weights, model),
                          .weights = weights};
  options.on_text = [&](std::size_t sequence, std::string_view text) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!on_text.is_none()) on_text(sequence, py::bytes(text.data(), text.size()));
  };
  Generation made;
  {
    const py::gil_scoped_release release;
    const ProductGuard products(ProductLibrary::automatic);
    made = generate(model, tokenizer, request.prompts, sampling, options);
  }
  py::list result;
  for (const auto& sequence : made.sequences)
    result.append(py::make_tuple(py::bytes(sequence.text), sequence.tokens, sequence.stopped));
  return result;
}

}  // namespace

WeightFormat weights_of(const std::string& asked, const LanguageModel& model) {
  if (asked == "auto") return choose_weights(model).value;
  for (const auto format : {WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8}) {
    if (kernels::weight_format_name(format) == asked) return format;
  }
  fail("weights is '{}', expected one of auto, float32, bfloat16, int8", excerpt(asked));
}

at::ScalarType prompt_dtype_of(const std::string& asked, WeightFormat weights, const LanguageModel& model) {
  const auto dtype = enum_of<DType>(asked, "prompt_dtype");
  if (dtype == DType::automatic && weights == WeightFormat::float32) return at::kFloat;
  return choose_dtype(dtype, model.output_weight().device()).value;
}

void add_model(py::module_& module) {
  module.def("fields", &fields);
  module.def("resolved", [](const std::string& config) { return text_of(resolved(config_of(config))); });
  module.def("drawn", &drawn);
  module.def("shapes", &shapes);
  module.def("load", [](const std::string& folder) {
    auto loaded = load(folder);
    return py::make_tuple(loaded.config, loaded.parameters, loaded.tokenizer);
  });
  py::class_<LanguageModel, std::shared_ptr<LanguageModel>>(module, "Model")
      .def(py::init(&model_on))
      .def("longest_text", [](const LanguageModel& model) { return model.config().longest_text(); })
      .def("hidden",
           [](const LanguageModel& model, const at::Tensor& ids, std::optional<std::uint64_t> dropout_seed,
              bool checkpoint, const std::optional<at::Tensor>& padding_mask) {
             const py::gil_scoped_release release;
             return model.hidden(ids, options_of(dropout_seed, checkpoint, padding_mask));
           })
      .def("logits",
           [](const LanguageModel& model, const at::Tensor& ids, std::optional<std::uint64_t> dropout_seed,
              bool checkpoint, const std::optional<at::Tensor>& padding_mask) {
             const py::gil_scoped_release release;
             return model.logits(ids, options_of(dropout_seed, checkpoint, padding_mask));
           })
      .def("loss",
           [](const LanguageModel& model, const at::Tensor& ids, const at::Tensor& targets,
              std::optional<std::uint64_t> dropout_seed, bool checkpoint, const std::optional<at::Tensor>& padding_mask,
              at::ScalarType dtype) {
             const py::gil_scoped_release release;
             return model.loss(ids, {.ids = targets, .sparse = !model.config().causal},
                               options_of(dropout_seed, checkpoint, padding_mask), dtype);
           })
      .def("save", &save)
      .def("generate", [](const LanguageModel& model, const Text& text, std::vector<std::string> prompts,
                          std::string sampling, std::uint64_t seed, std::int64_t samples, std::string overflow,
                          std::string weights, std::string prompt_dtype, const py::object& on_text) {
        return generate_text(model, *text.tokenizer,
                             {std::move(prompts), std::move(sampling), seed, samples, std::move(overflow),
                              std::move(weights), std::move(prompt_dtype)},
                             on_text);
      });
}

}  // namespace linformer::python
