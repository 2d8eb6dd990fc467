#include "linformer/config/io.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "config/field_codec.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"

namespace linformer {
namespace {

// A number that is written well, and refused all the same.
std::string_view remark_on_number(std::string_view text) {
  if (is_whole_number(text) && !parse_number<std::int64_t>(text)) return "; this one has too many digits";
  if (is_decimal_number(text) && !parse_number<double>(text)) return "; this one is too large, or too near to 0";
  return "";
}

template <class T>
FieldHandle handle(const char* name, T& value, const char* help) {
  using C = Codec<T>;
  FieldHandle field{.name = name,
                    .help = help,
                    .type = C::type(),
                    .repeats = std::is_same_v<T, std::vector<std::string>>,
                    .parse = {},
                    .text = {},
                    .from_json = {},
                    .to_json = {}};
  field.parse = [name = field.name, &value](const std::string& text) {
    auto parsed = C::parse(text);
    if (!parsed) fail("{} is '{}', expected {}{}", name, excerpt(text), C::expected(), remark_on_number(text));
    value = std::move(*parsed);
  };
  field.text = [&value] { return C::text(value); };
  field.from_json = [name = field.name, &value](const json& found) {
    auto read = C::from_json(found);
    if (!read) fail("{} is {}, expected {}", name, json_excerpt(found), C::expected());
    value = std::move(*read);
  };
  field.to_json = [&value] { return C::to_json(value); };
  return field;
}

template <class Config>
std::vector<FieldHandle> handles(Config& config) {
  std::vector<FieldHandle> fields;
  Config::visit(config, [&fields](const char* name, auto& value, const char* help) {
    fields.push_back(handle(name, value, help));
  });
  return fields;
}

std::string section_of(const std::string& name) { return name.substr(0, name.find('.')); }
std::string key_of(const std::string& name) { return name.substr(name.find('.') + 1); }

// The number of letters to insert, remove, replace or swap with their neighbour (optimal string alignment distance).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1), above, two_above;
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    two_above = std::exchange(above, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], two_above[j - 2] + 1);
    }
  }
  return row.back();
}

[[noreturn]] void fail_unknown_key(const std::vector<FieldHandle>& fields, std::string_view source,
                                   const std::string& section, const std::string& key) {
  std::vector<std::string> here, all;
  for (const auto& field : fields) {
    if (section_of(field.name) == section) here.push_back(key_of(field.name));
    all.push_back(key_of(field.name));
  }
  if (const auto near = nearest_name(key, here); !near.empty()) {
    fail("{}: unknown key {}.{}; did you mean {}.{}?", source, section, excerpt(key), section, near);
  }
  if (const auto near = nearest_name(key, all); !near.empty()) {
    const auto known = std::find(all.begin(), all.end(), near) - all.begin();
    fail("{}: unknown key {}.{}; did you mean {}?", source, section, excerpt(key),
         fields[static_cast<std::size_t>(known)].name);
  }
  fail("{}: unknown key {}.{}; [{}] has {}", source, section, excerpt(key), section, joined(here, ", "));
}

void read_section(const std::vector<FieldHandle>& fields, std::string_view source, const std::string& section,
                  const json& values) {
  require(values.is_object(), "{}: {} is not a section; write [{}] and a line for each of its keys", source, section,
          section);
  for (const auto& [key, value] : values.items()) {
    const auto name = section + "." + key;
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
    if (field == fields.end()) fail_unknown_key(fields, source, section, key);
    try {
      field->from_json(value);
    } catch (const UserError& error) {
      fail("{}: {}", source, error.what());
    }
  }
}

}  // namespace

std::vector<FieldHandle> fields_of(ModelConfig& config) { return handles(config); }
std::vector<FieldHandle> fields_of(TrainConfig& config) { return handles(config); }
std::vector<FieldHandle> fields_of(SamplingConfig& config) { return handles(config); }
std::vector<FieldHandle> fields_of(DataConfig& config) { return handles(config); }

std::vector<FieldHandle> fields_of(FileConfig& config) {
  std::vector<FieldHandle> fields;
  for (auto part : {handles(config.model), handles(config.train), handles(config.data), handles(config.sampling)})
    std::ranges::move(part, std::back_inserter(fields));
  return fields;
}

std::vector<std::string> sections_without(const std::vector<FieldHandle>& fields) {
  const auto stands_in = [](const std::string& section) {
    return [&section](const FieldHandle& field) { return section_of(field.name) == section; };
  };
  FileConfig config;
  std::vector<std::string> sections;
  for (const auto& field : fields_of(config)) {
    const auto section = section_of(field.name);
    if (std::ranges::any_of(fields, stands_in(section)) || std::ranges::find(sections, section) != sections.end())
      continue;
    sections.push_back(section);
  }
  return sections;
}

json to_json(std::vector<FieldHandle> fields) {
  json sections = json::object();
  for (const auto& field : fields) sections[section_of(field.name)][key_of(field.name)] = field.to_json();
  return sections;
}

void from_json(std::vector<FieldHandle> fields, const json& object, std::string_view source,
               const std::vector<std::string>& other_sections) {
  require(object.is_object(), "{}: expected sections such as \"model\"", source);
  std::vector<std::string> sections;
  for (const auto& field : fields) {
    const auto section = section_of(field.name);
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) sections.push_back(section);
  }
  for (const auto& [section, values] : object.items()) {
    const auto among = [&name = section](const auto& names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (among(sections)) {
      read_section(fields, source, section, values);
    } else if (!among(other_sections)) {
      auto known = sections;
      known.insert(known.end(), other_sections.begin(), other_sections.end());
      const auto near = nearest_name(section, known);
      fail("{}: unknown section {}; {}", source, excerpt(section),
           near.empty() ? formatted("the sections are {}", joined(known, ", ")) : "did you mean " + near + "?");
    }
  }
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& names) {
  std::string nearest;
  // No name is so long; comparing letter with letter takes the product of the lengths.
  constexpr std::size_t kLongest = 64;
  if (name.size() > kLongest) return nearest;
  // More wrong letters than a third of the word is another word, not a slip.
  auto smallest = std::max<std::size_t>(name.size() / 3, 1) + 1;
  for (const auto& candidate : names) {
    const auto distance = edit_distance(name, candidate);
    if (distance < smallest) {
      smallest = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace linformer
