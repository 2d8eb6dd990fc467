// The verbs of the program. Each has a file of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/config/io.hpp"

namespace linformer::cli {

/// A verb throws this to end the program with its own status, after it has said why (130 and 143 after a signal).
struct Exit {
  int status;
};

/// Options that every verb has.
struct Common {
  std::string config;  ///< --config FILE.toml; every verb checks the whole file
  bool json = false;   ///< --json: machine-readable results on standard output
  int threads = 0;     ///< 0 = as many as there are processors
  std::uint64_t seed = 0;
  std::string device = "cpu";
  std::string dtype = "auto";  ///< number format for inference; in training it sets train.dtype
  bool verbose = false;        ///< only for verbs that run a model
};
/// Adds them to a verb. Call apply() first in the verb's callback: it sets threads, seed and device for the process,
/// and checks the whole config file, because a verb reads only some of its sections.
void add_common(CLI::App& verb, Common& common);
void apply(const Common& common);

/// --verbose, for verbs that run attention. say_path() then names the implementation that ran, on standard error.
void add_verbose(CLI::App& verb, Common& common);
void say_path(const Common& common);

/// Writes to standard output. UserError when it can't be written: a full disk, a closed pipe. put() may keep bytes
/// until flush().
void put(std::string_view text);
void flush();

/// Adds one flag for each field ("--model.length"). Command-line flags override the `--config` file, which overrides
/// the defaults. The handles must exist until parsing is done. Call `merge` in the verb's callback: it reads the TOML
/// file (if one is named), and then the flags that were given.
class FieldFlags {
 public:
  FieldFlags(CLI::App& verb, std::vector<FieldHandle> fields);
  void merge(const std::string& config_file);

 private:
  CLI::App& verb_;
  std::vector<FieldHandle> fields_;
  std::vector<std::string> values_;
};

// Each of these adds its verb to `app`. The verb's callback does the work.
void add_prepare(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_train(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_generate(CLI::App& app);
void add_logits(CLI::App& app);
void add_benchmark(CLI::App& app);
void add_ablate(CLI::App& app);
void add_audit(CLI::App& app);
void add_inspect(CLI::App& app);
void add_report(CLI::App& app);
void add_watch(CLI::App& app);
void add_info(CLI::App& app);

}  // namespace linformer::cli
