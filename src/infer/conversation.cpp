#include "linformer/infer/conversation.hpp"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "infer/conversation_file.hpp"
#include "infer/tensor_hash.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/state_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

std::string hash_of_weights(const LanguageModel& model) {
  std::string all;
  for (const auto& [name, tensor] : model.parameters()) all += name + " " + tensor_hash(tensor) + "\n";
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

bool holds_state(const fs::path& path) {
  try {
    return is_conversation(read_safetensors(path));
  } catch (const UserError&) {
    return false;
  }
}

}  // namespace

void check_state_file(const fs::path& path) {
  const auto folder = fs::absolute(path).parent_path();
  require(fs::is_directory(folder), "{}: there is no folder {}; make it, or name another file", path.string(),
          folder.string());
  if (::access(folder.c_str(), W_OK) != 0) {
    const auto reason = std::generic_category().message(errno);
    fail("{}: no file can be made in {}: {}; name another file", path.string(), folder.string(), reason);
  }
  if (!fs::exists(path)) return;
  require(fs::is_regular_file(path), "{}: is no ordinary file, expected one for the state; name another",
          path.string());
  require(fs::file_size(path) == 0 || holds_state(path),
          "{}: holds something other than a state, which would be lost; name another file, or remove it",
          path.string());
}

void save_conversation(const std::filesystem::path& path, const LanguageModel& model,
                       const Conversation& conversation) {
  require(conversation.state.batch() == 1, "a state of {} texts: expected one.", conversation.state.batch());
  TensorFile file{.tensors = named_tensors(conversation.state), .metadata = {}};
  file.metadata = {{"format", std::string(ConversationFile::kFormat)},
                   {"version", std::string(ConversationFile::kVersion)},
                   {"position", formatted("{}", conversation.state.positions().front())},
                   {"unread", json(conversation.unread).dump()},
                   {"seen", json(conversation.sampler.seen).dump()},
                   {"random", formatted("{}", conversation.sampler.random)},
                   {"weights", std::string(kernels::weight_format_name(conversation.weights))},
                   {"model", fields_json(model.config()).dump()},
                   {"model_weights_sha256", hash_of_weights(model)}};
  file.metadata["sha256"] = content_hash(file);
  write_safetensors(path, file);
}

Conversation load_conversation(const std::filesystem::path& path, const LanguageModel& model) {
  const auto name = path.string();
  const auto tensors = [&] {
    try {
      return read_safetensors(path);
    } catch (const UserError& error) {
      fail("{}; expected a file that generate --state-out made", error.what());
    }
  }();
  auto file = parse_conversation(tensors, name);
  check_same_model(name, file.model, fields_json(model.config()));
  require(file.model_weights_sha256 == hash_of_weights(model),
          "{}: was made by a model with other weights than this one; use the model that made it", name);
  for (const auto* ids : {&file.unread, &file.seen}) {
    for (const auto id : *ids)
      require(id < model.config().vocabulary, "{}: holds the id {}, but the vocabulary of this model has {} ids", name,
              id, model.config().vocabulary);
  }
  Conversation found{.state = {},
                     .unread = std::move(file.unread),
                     .sampler = {.random = file.random, .seen = std::move(file.seen)},
                     .weights = file.weights};
  try {
    found.state = state_of(model, 1, file.position, tensors);
  } catch (const UserError& error) {
    fail("{}: {}", name, error.what());
  }
  return found;
}

}  // namespace linformer
