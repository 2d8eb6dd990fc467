// metrics.jsonl and the other files of lines that `report` reads; what is wrong with them is a remark, never an error.
#include "fuzz.hpp"
#include "linformer/report/document.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  static const fuzz::Folder folder;
  static const bool prepared = [] {
    folder.write("config.json",
                 R"({"format_version":1,"model":{"length":24},"train":{"batch":3,"steps":7},"data":{"folder":"x"}})");
    folder.write("ablation.json", R"({"format_version":1,"name":"x"})");
    return true;
  }();
  fuzz::expect(prepared, "no folder");
  for (const auto* name :
       {"metrics.jsonl", "samples.jsonl", "table.jsonl", "benchmark.jsonl", "inspect.jsonl", "evaluate.jsonl"})
    folder.write(name, fuzz::text_of(data, size));
  const auto document = read_report({folder.path()}, {});
  fuzz::expect(parse_json(dump(document), "document").is_object(), "the page's data is no JSON");
  return 0;
}
