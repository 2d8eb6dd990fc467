// Options that every verb has, and fields as flags.
#include <ATen/Parallel.h>
#include <ATen/Functions.h>

#include "linformer/core/error.hpp"
#include "linformer/nn/device.hpp"
#include "verbs.hpp"

namespace linformer::cli {

void add_common(CLI::App& verb, Common& common) {
  verb.add_option("--config", common.config, "TOML file with any of the fields; flags override it");
  verb.add_flag("--json", common.json, "print the result as JSON");
  verb.add_option("--threads", common.threads, "processor threads; 0: all")->check(CLI::Range(0, 4096));
  verb.add_option("--seed", common.seed, "seed of everything random");
  verb.add_option("--device", common.device, "cpu, cuda or cuda:INDEX");
  verb.add_option("--dtype", common.dtype, "auto, float32 or bfloat16")->check(CLI::IsMember({"auto", "float32", "bfloat16"}));
  verb.add_flag("--verbose", common.verbose, "say which implementations ran");
}

void apply(const Common& common) {
  if (common.threads > 0) at::set_num_threads(common.threads);
  at::manual_seed(common.seed);
  parse_device(common.device);  // a device that isn't there is an error before any work
}

FieldFlags::FieldFlags(CLI::App& verb, std::vector<FieldHandle> fields)
    : verb_(verb), fields_(std::move(fields)), values_(fields_.size()) {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    verb_.add_option("--" + fields_[i].name, values_[i], fields_[i].help)
        ->type_name(fields_[i].type)
        ->group("Fields")
        ->default_str(fields_[i].text());
  }
}

void FieldFlags::merge(const std::string& config_file) {
  if (!config_file.empty()) {
    // Sections of other verbs may stand in the same file.
    static const std::vector<std::string> all{"model", "attention", "train", "data", "generate"};
    std::vector<std::string> others;
    for (const auto& section : all) {
      const bool own = std::any_of(fields_.begin(), fields_.end(),
                                   [&](const FieldHandle& field) { return field.name.rfind(section + ".", 0) == 0; });
      if (!own) others.push_back(section);
    }
    from_json(fields_, read_toml(config_file), config_file, others);
  }
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (verb_.count("--" + fields_[i].name)) fields_[i].parse(values_[i]);
  }
}

}  // namespace linformer::cli
