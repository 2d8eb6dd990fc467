#include "linformer/report/pictures.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "report/plot.hpp"

extern char** environ;

namespace linformer {
namespace {

namespace fs = std::filesystem;

// Runs gnuplot in `folder`; its messages go to standard error.
void run_gnuplot(const fs::path& folder, const std::string& script) {
  std::string name = "gnuplot", file = script;
  char* arguments[] = {name.data(), file.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  pid_t child = 0;
  const int error = posix_spawnp(&child, name.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  require(error != ENOENT,
          "gnuplot is missing, which draws the pictures: apt-get install gnuplot-nox, or leave out --pictures");
  require(error == 0, "gnuplot can't be started: {}", std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) require(errno == EINTR, "waiting for gnuplot: {}", std::strerror(errno));
  // posix_spawnp may find out only in the child that there is no such program.
  require(!(WIFEXITED(status) && WEXITSTATUS(status) == 127),
          "gnuplot is missing, which draws the pictures: apt-get install gnuplot-nox, or leave out --pictures");
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0,
          "gnuplot could not draw {}; its message is above (Debian's gnuplot-nox can)", (folder / script).string());
}

}  // namespace

std::vector<fs::path> draw_pictures(const json& document, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, "{} can't be made: {}", folder.string(), error.message());
  std::vector<fs::path> pictures;
  for (const auto& plot : report::plots_of(document)) {
    const auto script = plot.name + ".gnuplot";
    write_atomically(folder / script, report::script_of(plot));
    run_gnuplot(folder, script);
    for (const auto* ending : {".svg", ".png", ".pdf"}) pictures.push_back(folder / (plot.name + ending));
  }
  return pictures;
}

}  // namespace linformer
