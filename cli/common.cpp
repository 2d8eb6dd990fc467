// Options that every verb has, and fields as flags.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/ops/attention.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

// Every section, whichever of them the verb reads.
void check_config_file(const std::string& file) {
  FileConfig config;
  from_json(fields_of(config), read_toml(file), file);
}

// "--max-tokens" of "generate.max_tokens".
std::string short_flag(const std::string& field) {
  auto flag = "--" + field.substr(field.find('.') + 1);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

[[noreturn]] void fail_output(int error) {
  fail("standard output can't be written{}", error == 0 ? "" : formatted(": {}", std::strerror(error)));
}

}  // namespace

void add_common(CLI::App& verb, Common& common, const DTypeFlag& dtype) {
  verb.add_option("--config", common.config, "TOML file with any of the fields; flags override it");
  verb.add_flag("--json", common.json, "print the result as JSON");
  verb.add_option("--threads", common.threads, "processor threads; 0: all")->check(CLI::Range(0, 4096));
  verb.add_option("--seed", common.seed, "seed of everything random");
  verb.add_option("--device", common.device, "cpu, cuda or cuda:INDEX");
  verb.add_option(dtype.flag, common.dtype, dtype.help)->check(CLI::IsMember(dtype.names));
}

void add_verbose(CLI::App& verb, Common& common) {
  verb.add_flag("--verbose", common.verbose,
                "say which implementation of attention ran: kernel, fused (the engine's), composed or reference");
}

void say_path(const Common& common) {
  if (!common.verbose) return;
  const auto path = ops::last_path();
  say("attention: {}\n", path == ops::Path::automatic ? "none ran" : ops::path_name(path));
}

void put(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_output(errno);
}

void flush() {
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) fail_output(errno);
}

void apply(const Common& common) {
  if (!common.config.empty()) check_config_file(common.config);
  if (common.threads > 0) at::set_num_threads(common.threads);
  at::manual_seed(common.seed);
  parse_device(common.device);  // a device that isn't there is an error before any work
}

void make_out_folder(const std::string& folder) {
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error && std::filesystem::is_directory(folder, error), "--out {}: the folder can't be made: {}", folder,
          error ? error.message() : "there is a file of this name");
}

FieldFlags::FieldFlags(CLI::App& verb, std::vector<FieldHandle> fields, Spelling spelling)
    : verb_(verb), fields_(std::move(fields)), values_(fields_.size()) {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    auto names = "--" + fields_[i].name;
    if (spelling == Spelling::full_and_short) names = short_flag(fields_[i].name) + "," + names;
    verb_.add_option(names, values_[i], fields_[i].help)
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)  // take() says what is wrong with two
        ->type_name(fields_[i].type)
        ->group(kFieldGroup)
        ->default_str(fields_[i].text());
  }
}

void FieldFlags::merge(const std::string& config_file) {
  // The same file may hold sections for other verbs.
  if (!config_file.empty()) from_json(fields_, read_toml(config_file), config_file, sections_without(fields_));
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (!values_[i].empty()) take(fields_[i], values_[i]);
  }
}

void FieldFlags::take(FieldHandle& field, const std::vector<std::string>& values) const {
  if (field.repeats) {
    field.from_json(values);
    return;
  }
  for (const auto& value : values)
    require(value == values.front(), "{} is given twice, as {} and as {}; give one of them",
            verb_.get_option("--" + field.name)->get_name(false, true), values.front(), value);
  field.parse(values.front());
}

}  // namespace linformer::cli
