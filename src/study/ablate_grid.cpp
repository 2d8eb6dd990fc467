// Grid files.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/study/ablate.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

// Of a run, thus not what `generate` reads.
std::vector<std::string> run_section_names() {
  SamplingConfig sampling;
  return sections_without(fields_of(sampling));
}

std::vector<std::string> grid_keys() {
  std::vector<std::string> keys{"name", "title", "config", "base", "seeds", "point"};
  std::ranges::move(run_section_names(), std::back_inserter(keys));
  return keys;
}

void check_keys(const json& object, const std::vector<std::string>& known, const std::string& source) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto near = nearest_name(key, known);
    fail("{}: unknown key {}; {}", source, excerpt(key),
         near.empty() ? formatted("expected {}", joined(known, ", ")) : "did you mean " + near + "?");
  }
}

std::string text_of(const json& object, const std::string& key, const std::string& source,
                    const std::string& otherwise) {
  if (!object.contains(key)) return otherwise;
  require(object[key].is_string() && object[key] != "", "{}: {} is {}, expected text in quotes", source, key,
          json_excerpt(object[key]));
  return object[key];
}

// The name becomes a folder beside the ablation's own files.
std::string point_name(const json& point, const std::string& source) {
  require(point.contains("name"), "{}: every [[point]] needs a name; it becomes the folder of its runs", source);
  const auto name = text_of(point, "name", source, "");
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=+";
  require(name.find_first_not_of(kLetters) == std::string::npos && name[0] != '.',
          "{}: the point's name is \"{}\", expected letters, digits and - _ . = +, since it becomes a folder", source,
          excerpt(name));
  require(name != "ablation.json" && name != "table.jsonl",
          "{}: the point's name is \"{}\", which is a file of the ablation; choose another", source, name);
  constexpr std::size_t kLongest = 200;  // file systems take 255 bytes, of which temporaries need some
  require(name.size() <= kLongest,
          "{}: the point's name \"{}…\" has {} characters, expected at most {}, since it becomes a folder", source,
          name.substr(0, 40), name.size(), kLongest);
  return name;
}

std::vector<std::uint64_t> seeds_of(const json& file, const std::string& source) {
  if (!file.contains("seeds")) return {0};
  const auto& list = file["seeds"];
  std::set<std::uint64_t> seen;
  const auto good = [&](const json& seed) {
    return seed.is_number_integer() && seed >= 0 && seen.insert(seed.get<std::uint64_t>()).second;
  };
  require(list.is_array() && !list.empty() && std::all_of(list.begin(), list.end(), good),
          "{}: seeds is {}, expected a list of different whole numbers of at least 0, such as [0, 1]", source,
          json_excerpt(list));
  return {list.begin(), list.end()};
}

// What all points share: defaults, then the config file, then the grid's own sections.
RunConfig shared_config(const json& file, const fs::path& path) {
  RunConfig config;
  // A comparison must not depend on a timing at start-up.
  config.train.dtype = DType::float32;
  if (const auto name = text_of(file, "config", path.string(), ""); !name.empty()) {
    const auto config_path = path.parent_path() / name;
    const auto fields = fields_of(config);
    from_json(fields, read_toml(config_path), config_path.string(), sections_without(fields));
  }
  auto sections = json::object();
  for (const auto& section : run_section_names()) {
    if (file.contains(section)) sections[section] = file[section];
  }
  from_json(fields_of(config), sections, path.string());
  if (config.train.dtype == DType::automatic) config.train.dtype = DType::float32;
  return config;
}

json changes_of(const json& sections) {
  json changes = json::object();
  for (const auto& [section, values] : sections.items()) {
    for (const auto& [key, value] : values.items()) changes[section + "." + key] = value;
  }
  return changes;
}

// Prepared text is opened once for all points.
class Datasets {
 public:
  const Dataset& of(const RunConfig& config) {
    auto copy = config.data;
    auto& entry = opened_[dump(linformer::to_json(fields_of(copy))) + std::to_string(config.model.length)];
    if (!entry) entry = open_dataset(config.data, config.model.length);
    return *entry;
  }

 private:
  std::map<std::string, std::unique_ptr<Dataset>> opened_;
};

}  // namespace

AblationGrid read_grid(const fs::path& path, const std::string& data_folder, DType dtype) {
  const auto source = path.string();
  AblationGrid grid;
  grid.file = read_toml(path);
  check_keys(grid.file, grid_keys(), source);
  grid.name = text_of(grid.file, "name", source, path.stem().string());
  grid.title = text_of(grid.file, "title", source, grid.name);
  grid.seeds = seeds_of(grid.file, source);
  auto shared = shared_config(grid.file, path);
  if (!data_folder.empty() && shared.data.source == DataSource::text) shared.data.folder = data_folder;
  if (dtype != DType::automatic) shared.train.dtype = dtype;
  require(grid.file.contains("point") && grid.file["point"].is_array() && !grid.file["point"].empty(),
          "{}: holds no points; write a [[point]] with a name and the fields in which it differs for each", source);
  Datasets datasets;
  std::set<std::string> names;
  for (const auto& entry : grid.file["point"]) {
    require(entry.is_object(), "{}: a point is {}, expected a table: write [[point]]", source, json_excerpt(entry));
    AblationPoint point{.name = point_name(entry, source), .changes = {}, .config = shared, .from = ""};
    const auto place = formatted("{}: point {}", source, point.name);
    point.from = text_of(entry, "from", place, "");
    require(point.from.empty() || names.contains(point.from),
            "{}: from is \"{}\", expected the name of a point that stands before it", place, excerpt(point.from));
    require(names.insert(point.name).second, "{}: there are two of this name", place);
    auto sections = entry;
    sections.erase("name"), sections.erase("from");
    try {
      from_json(fields_of(point.config), sections, "fields");
      require(point.config.train.dtype != DType::automatic,
              "train.dtype is auto, but a comparison must not depend on the processor; name one");
      point.config = completed(point.config, datasets.of(point.config));
      require(point.config.identity.validation_tokens > 0,
              "{}: has no validation part, but points are compared by their validation losses; prepare it again with a "
              "larger --validation",
              point.config.data.folder);
    } catch (const UserError& error) {
      fail("{}: {}", place, error.what());
    }
    point.changes = changes_of(sections);
    if (!point.from.empty()) point.changes["from"] = point.from;
    grid.points.push_back(std::move(point));
  }
  const bool reads_text = std::any_of(grid.points.begin(), grid.points.end(),
                                      [](const auto& point) { return point.config.data.source == DataSource::text; });
  require(
      data_folder.empty() || reads_text,
      "{}: --data is {}, but every point makes its data itself (data.source is recall or passkey); leave --data out",
      source, data_folder);
  grid.base = text_of(grid.file, "base", source, grid.points.front().name);
  require(names.contains(grid.base), "{}: base is \"{}\", but there is no point of this name; the points are {}",
          source, excerpt(grid.base), joined(names, ", "));
  return grid;
}

}  // namespace linformer
