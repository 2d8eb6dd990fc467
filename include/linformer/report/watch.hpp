// The report of a run, served while it trains.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace linformer {

struct WatchOptions {
  std::string version, command;
  int port = 0;                ///< 0: any that is free
  std::function<bool()> stop;  ///< asked several times a second; true ends the server
  std::function<void(const std::string&)>
      listening;  ///< called once, with the address to open: "http://127.0.0.1:40123/"
};

/// Serves `/` (the page) and `/data.json` (the document, read anew) to this machine alone: it listens on 127.0.0.1, and
/// answers only requests whose Host names this machine, so that no web page can reach it under a name of its own.
/// UserError when the folder is missing or the port is taken.
void watch(const std::filesystem::path& folder, const WatchOptions& options);

}  // namespace linformer
