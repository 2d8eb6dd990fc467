#include "linformer/config/sampling_config.hpp"

#include <cmath>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

bool assign(std::int64_t& member, const json& value) {
  if (value.is_number_integer()) member = value.get<std::int64_t>();
  return value.is_number_integer();
}
bool assign(double& member, const json& value) {
  if (value.is_number()) member = value.get<double>();
  return value.is_number();
}
bool assign(std::vector<std::string>& member, const json& value) {
  if (!value.is_array()) return false;
  member.clear();
  for (const auto& item : value) {
    if (!item.is_string()) return false;
    member.push_back(item.get<std::string>());
  }
  return true;
}

constexpr std::string_view type_name(const std::int64_t&) { return "a whole number"; }
constexpr std::string_view type_name(const double&) { return "a number"; }
constexpr std::string_view type_name(const std::vector<std::string>&) { return "a list of texts"; }

}  // namespace

void from_json(SamplingConfig& config, const json& object, std::string_view source) {
  for (const auto& [name, value] : object.items()) {
    require(name == "generate" || name == "model" || name == "attention" || name == "train" || name == "data",
            "{}: unknown section '{}'; sampling is set in [generate]", source, name);
  }
  const auto section = object.find("generate");
  if (section == object.end()) return;
  require(section->is_object(), "{}: 'generate' must be a section with keys", source);
  for (const auto& [key, value] : section->items()) {
    bool known = false;
    std::string names;
    SamplingConfig::visit(config, [&](std::string_view name, auto& member, std::string_view) {
      name.remove_prefix(name.find('.') + 1);
      names += fmt::format(" {}", name);
      if (name != key) return;
      known = true;
      require(assign(member, value), "{}: generate.{} is {}, but must be {}", source, key, value.dump(),
              type_name(member));
    });
    require(known, "{}: unknown key generate.{}; there are{}", source, key, names);
  }
}

void check(const SamplingConfig& config) {
  require(config.max_tokens >= 1, "max-tokens is {}, but must be at least 1", config.max_tokens);
  require(std::isfinite(config.temperature) && config.temperature >= 0,
          "temperature is {}, but must be 0 (greedy) or a positive number such as 0.8", config.temperature);
  require(config.top_k >= 0, "top-k is {}, but must be 0 (off) or a positive number of tokens", config.top_k);
  require(config.top_p > 0 && config.top_p <= 1,
          "top-p is {}, but must be above 0 and at most 1 (off), such as 0.95", config.top_p);
  require(config.min_p >= 0 && config.min_p <= 1, "min-p is {}, but must be from 0 (off) to 1, such as 0.05",
          config.min_p);
  require(std::isfinite(config.repetition_penalty) && config.repetition_penalty > 0,
          "repetition-penalty is {}, but must be a positive number: 1 is off, 1.1 a usual value",
          config.repetition_penalty);
  for (const auto& stop : config.stop)
    require(!stop.empty(), "stop holds an empty text, which would end every sample at once: leave it out");
}

}  // namespace linformer
