// linformer report: runs, benchmarks, ablations and inspections as one page.
#include "linformer/report/document.hpp"

#include <filesystem>
#include <memory>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/report/page.hpp"
#include "linformer/report/pictures.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  Common common;
  std::vector<std::string> folders;
  std::string out, pictures;
};

std::string command_of(const ReportFlags& flags) {
  std::string command = "linformer report";
  for (const auto& folder : flags.folders) command += " " + quoted(folder);
  return command + " --out " + quoted(flags.out) +
         (flags.pictures.empty() ? "" : " --pictures " + quoted(flags.pictures));
}

void run(const ReportFlags& flags) {
  apply(flags.common);
  const auto document = read_report({flags.folders.begin(), flags.folders.end()},
                                    {.version = LINFORMER_VERSION, .command = command_of(flags)});
  for (const auto& remark : document["remarks"]) {
    say("linformer: {}: {}\n", remark["path"].get<std::string>(), remark["text"].get<std::string>());
  }
  require(!is_empty_report(document),
          "nothing to report: expected folders of runs (config.json and metrics.jsonl), benchmarks (benchmark.jsonl), "
          "ablations (ablation.json) or "
          "inspections (inspect.jsonl)");
  write_atomically(flags.out, render_page(document));
  const auto pictures = flags.pictures.empty() ? std::vector<fs::path>() : draw_pictures(document, flags.pictures);
  json result = {{"page", flags.out}};
  for (const auto* section : {"runs", "benchmarks", "ablations", "inspections", "remarks"})
    result[section] = document[section].size();
  result["pictures"] = json::array();
  for (const auto& picture : pictures) result["pictures"].push_back(picture.string());
  if (flags.common.json) {
    put(dump(result) + "\n");
  } else {
    put(formatted("{}: {} runs, {} benchmarks, {} ablations, {} inspections\n", flags.out, result["runs"].get<int>(),
                  result["benchmarks"].get<int>(), result["ablations"].get<int>(), result["inspections"].get<int>()));
    if (!flags.pictures.empty())
      put(formatted("{}: {} pictures, each as SVG, PNG and PDF\n", flags.pictures, pictures.size() / 3));
  }
}

}  // namespace

void add_report(CLI::App& app) {
  auto flags = std::make_shared<ReportFlags>();
  auto& verb =
      *app.add_subcommand("report", "runs, benchmarks, ablations and inspections as one HTML page that opens offline");
  add_common(verb, flags->common);
  verb.add_option("folders", flags->folders,
                  "folders of results, of any kind; other folders are searched three levels deep")
      ->required();
  verb.add_option("--out", flags->out, "the page, such as report.html")->required();
  verb.add_option("--pictures", flags->pictures,
                  "also draw pictures for papers into this folder, as SVG, PNG and PDF, through gnuplot");
  verb.callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
