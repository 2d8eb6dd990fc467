#include "infer/conversation_file.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "infer/tensor_hash.hpp"
#include "linformer/config/model_config.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"

namespace linformer {
namespace {

using kernels::WeightFormat;

class MetadataReader {
 public:
  MetadataReader(const TensorFile& file, const std::string& name) : file_(file), name_(name) {}

  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata.find(key);
    require(found != file_.metadata.end(), "{}: '{}' is missing", name_, key);
    return found->second;
  }
  json value(const std::string& key) const { return parse_json(text(key), name_); }

  std::vector<std::int64_t> ids(const std::string& key) const {
    const auto array = value(key);
    require(array.is_array(), "{}: '{}' is no list", name_, key);
    std::vector<std::int64_t> found;
    for (const auto& id : array) {
      require(id.is_number_integer() && id >= 0 && id < ModelConfig::kUnlimited, "{}: '{}' holds {}, expected ids",
              name_, key, json_excerpt(id));
      found.push_back(id.get<std::int64_t>());
    }
    return found;
  }
  std::int64_t position() const {
    const auto number = value("position");
    require(number.is_number_integer() && number > 0 && number < ModelConfig::kUnlimited,
            "{}: 'position' is {}, expected a number of tokens", name_, json_excerpt(number));
    return number.get<std::int64_t>();
  }
  std::uint64_t random() const {
    const auto number = value("random");
    require(number.is_number_unsigned(), "{}: 'random' is {}, expected a whole number", name_, json_excerpt(number));
    return number.get<std::uint64_t>();
  }
  WeightFormat weights() const {
    constexpr std::array kFormats{WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8};
    const auto& name = text("weights");
    const auto format =
        std::ranges::find_if(kFormats, [&](auto one) { return kernels::weight_format_name(one) == name; });
    require(format != kFormats.end(), "{}: 'weights' is '{}', expected float32, bfloat16 or int8", name_,
            excerpt(name));
    return *format;
  }

 private:
  const TensorFile& file_;
  const std::string& name_;
};

}  // namespace

std::string content_hash(const TensorFile& file) {
  std::string all;
  for (const auto& [name, tensor] : file.tensors)
    all += formatted("{} {} {} {}\n", name, c10::toString(tensor.scalar_type()), at::str(tensor.sizes()),
                     tensor_hash(tensor));
  for (const auto& [key, value] : file.metadata) {
    if (key != "sha256") all += formatted("{} {} {}\n", key, value.size(), value);
  }
  return sha256(all);
}

bool is_conversation(const TensorFile& file) {
  const auto format = file.metadata.find("format");
  return format != file.metadata.end() && format->second == ConversationFile::kFormat;
}

ConversationFile parse_conversation(const TensorFile& file, const std::string& name) {
  const MetadataReader reader(file, name);
  require(is_conversation(file), "{}: is no saved state; expected a file that generate --state-out made", name);
  require(reader.text("version") == ConversationFile::kVersion,
          "{}: its version is '{}', this program reads {}; use the program that made it", name,
          excerpt(reader.text("version")), ConversationFile::kVersion);
  require(reader.text("sha256") == content_hash(file), "{}: was changed after it was written, or is damaged", name);
  return {.model = reader.value("model"),
          .model_weights_sha256 = reader.text("model_weights_sha256"),
          .position = reader.position(),
          .unread = reader.ids("unread"),
          .seen = reader.ids("seen"),
          .random = reader.random(),
          .weights = reader.weights()};
}

}  // namespace linformer
