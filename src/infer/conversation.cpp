#include "linformer/infer/conversation.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"
#include "linformer/nn/state_file.hpp"

namespace linformer {
namespace {

constexpr std::string_view kFormat = "linformer-state", kVersion = "1";

std::string hash_of(const at::Tensor& tensor) {
  const auto bytes = tensor.detach().cpu().contiguous();
  return sha256(std::span(static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()));
}

std::string hash_of_weights(const LanguageModel& model) {
  std::string all;
  for (const auto& [name, tensor] : model.parameters()) all += name + " " + hash_of(tensor) + "\n";
  return sha256(all);
}

// Of everything in the file but this hash itself.
std::string hash_of(const TensorFile& file) {
  std::string all;
  for (const auto& [name, tensor] : file.tensors)
    all +=
        formatted("{} {} {} {}\n", name, c10::toString(tensor.scalar_type()), at::str(tensor.sizes()), hash_of(tensor));
  for (const auto& [key, value] : file.metadata) {
    if (key != "sha256") all += formatted("{} {} {}\n", key, value.size(), value);
  }
  return sha256(all);
}

json fields_json(ModelConfig config) { return to_json(fields_of(config)); }

// The first field that differs, with both values.
void check_same_model(const std::string& file, const json& stored, const json& own) {
  for (const auto& [section, fields] : own.items()) {
    for (const auto& [name, value] : fields.items()) {
      const auto other = stored.contains(section) && stored[section].contains(name) ? stored[section][name] : json();
      require(other == value,
              "{}: was made by a model with {}.{} = {}, but this model has {}; use the model that made it", file,
              section, name, json_excerpt(other), json_excerpt(value));
    }
  }
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : name_(path.string()), file_(read_safetensors(path)) {
    const auto format = file_.metadata.find("format");
    require(format != file_.metadata.end() && format->second == kFormat,
            "{}: is no saved state; expected a file that generate --state-out made", name_);
    require(text("version") == kVersion, "{}: its version is {}, this program reads {}; use the program that made it",
            name_, excerpt(text("version")), kVersion);
    require(text("sha256") == hash_of(file_), "{}: was changed after it was written, or is damaged", name_);
  }

  const std::string& name() const { return name_; }
  const TensorFile& file() const { return file_; }
  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata.find(key);
    require(found != file_.metadata.end(), "{}: '{}' is missing", name_, key);
    return found->second;
  }
  json object(const std::string& key) const { return parse_json(text(key), name_); }
  std::vector<std::int64_t> ids(const std::string& key, std::int64_t vocabulary) const {
    const auto array = object(key);
    require(array.is_array(), "{}: '{}' is no list", name_, key);
    std::vector<std::int64_t> found;
    for (const auto& id : array) {
      require(id.is_number_integer() && id >= 0 && id < vocabulary, "{}: '{}' holds {}, expected ids below {}", name_,
              key, json_excerpt(id), vocabulary);
      found.push_back(id.get<std::int64_t>());
    }
    return found;
  }
  std::int64_t position() const {
    const auto value = object("position");
    require(value.is_number_integer() && value > 0 && value < ModelConfig::kUnlimited,
            "{}: 'position' is {}, expected a number of tokens", name_, json_excerpt(value));
    return value.get<std::int64_t>();
  }
  std::uint64_t random() const {
    const auto value = object("random");
    require(value.is_number_unsigned(), "{}: 'random' is {}, expected a whole number", name_, json_excerpt(value));
    return value.get<std::uint64_t>();
  }

 private:
  std::string name_;
  TensorFile file_;
};

}  // namespace

void save_conversation(const std::filesystem::path& path, const LanguageModel& model,
                       const Conversation& conversation) {
  require(conversation.state.batch() == 1, "a state of {} texts: expected one.", conversation.state.batch());
  TensorFile file{.tensors = named_tensors(conversation.state), .metadata = {}};
  file.metadata = {{"format", std::string(kFormat)},
                   {"version", std::string(kVersion)},
                   {"position", formatted("{}", conversation.state.positions().front())},
                   {"unread", json(conversation.unread).dump()},
                   {"seen", json(conversation.sampler.seen).dump()},
                   {"random", formatted("{}", conversation.sampler.random)},
                   {"weights", std::string(kernels::weight_format_name(conversation.weights))},
                   {"model", fields_json(model.config()).dump()},
                   {"model_weights_sha256", hash_of_weights(model)}};
  file.metadata["sha256"] = hash_of(file);
  write_safetensors(path, file);
}

Conversation load_conversation(const std::filesystem::path& path, const LanguageModel& model) {
  const Reader reader(path);
  check_same_model(reader.name(), reader.object("model"), fields_json(model.config()));
  require(reader.text("model_weights_sha256") == hash_of_weights(model),
          "{}: was made by a model with other weights than this one; use the model that made it", reader.name());
  const auto vocabulary = model.config().vocabulary;
  Conversation found{.state = {},
                     .unread = reader.ids("unread", vocabulary),
                     .sampler = {.random = reader.random(), .seen = reader.ids("seen", vocabulary)}};
  constexpr std::array kFormats{WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8};
  const auto format = std::ranges::find_if(
      kFormats, [&](auto one) { return kernels::weight_format_name(one) == reader.text("weights"); });
  require(format != kFormats.end(), "{}: 'weights' is {}, expected float32, bfloat16 or int8", reader.name(),
          excerpt(reader.text("weights")));
  found.weights = *format;
  try {
    found.state = state_of(model, 1, reader.position(), reader.file());
  } catch (const UserError& error) {
    fail("{}: {}", reader.name(), error.what());
  }
  return found;
}

}  // namespace linformer
