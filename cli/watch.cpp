// linformer watch: shows the report of a run while it trains, at an address of this machine.
#include "linformer/report/watch.hpp"

#include <memory>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/core/stop_signal.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct WatchFlags {
  Common common;
  std::string run;
  int port = 0;
};

void run(const WatchFlags& flags) {
  apply(flags.common);
  const StopSignal signal;
  watch(flags.run, {.version = LINFORMER_VERSION,
                    .command = "linformer watch " + quoted(flags.run),
                    .port = flags.port,
                    .stop = [] { return StopSignal::received() != 0; },
                    .listening =
                        [&](const std::string& address) {
                          put(flags.common.json ? dump(json{{"address", address}}) + "\n"
                                                : formatted("{} is at {} (Ctrl-C ends this)\n", flags.run, address));
                          flush();
                        }});
}

}  // namespace

void add_watch(CLI::App& app) {
  auto flags = std::make_shared<WatchFlags>();
  auto& verb = *app.add_subcommand(
      "watch", "Show the report of a run in a browser on this machine while it trains, until Ctrl-C");
  add_common(verb, flags->common);
  verb.add_option("run", flags->run, "folder of the run, or of several")->required();
  verb.add_option("--port", flags->port, "port at 127.0.0.1; 0: any free port")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  verb.callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
