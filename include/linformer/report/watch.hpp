// Serves the report of a run while the run trains.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace linformer {

struct WatchOptions {
  std::string version, command;
  int port = 0;                ///< 0: any free port
  std::function<bool()> stop;  ///< called several times a second; the server ends when it returns true
  /// Called once, with the address to open: "http://127.0.0.1:40123/".
  std::function<void(const std::string&)> listening;
};

/// Serves `/` (the page) and `/data.json` (the document, read again for each request), to this machine only. It listens
/// on 127.0.0.1 and answers only requests whose Host header names this machine; so a web page from elsewhere can't read
/// it under a name of its own. UserError when the folder is missing or the port is in use.
void watch(const std::filesystem::path& folder, const WatchOptions& options);

}  // namespace linformer
