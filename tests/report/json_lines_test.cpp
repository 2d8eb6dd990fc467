#include "report/json_lines.hpp"

#include "linformer/core/json.hpp"
#include "report/folders.hpp"

namespace linformer::report {
namespace {

class JsonLines : public Folders {
 protected:
  // The steps that are read, and what is remarked.
  std::pair<std::vector<int>, std::string> read(const std::string& text) const {
    Remarks remarks;
    std::vector<int> steps;
    read_lines(write("metrics.jsonl", text), remarks, [&](json& line) { steps.push_back(line.at("step").get<int>()); });
    return {steps, remarks.list().empty() ? "" : remarks.list()[0]["text"].get<std::string>()};
  }
};

TEST_F(JsonLines, DeepAndLongOnesAreDamaged) {
  for (const auto* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int level = 0; level < 150'000; ++level) deep += open;
    const auto [steps, remark] = read("{\"step\":1}\n" + deep + "\n{\"step\":3}\n");
    EXPECT_EQ(steps, (std::vector<int>{1, 3}));
    EXPECT_EQ(remark, "1 damaged or unknown line left out, the first at line 2");
  }
  const auto [steps, remark] = read("{\"step\":1,\"x\":\"" + std::string(1 << 22, 'x') + "\"}\n{\"step\":2}\n");
  EXPECT_EQ(steps, (std::vector<int>{1, 2}));
  EXPECT_EQ(remark, "");
}

TEST_F(JsonLines, ManyKeysTakeLinearTime) {
  std::string line = "{\"step\":1";
  for (int key = 0; key < 300'000; ++key) line += ",\"" + std::to_string(key) + "\":0";
  EXPECT_EQ(read(line + "}\n").first, std::vector<int>{1});
}

}  // namespace
}  // namespace linformer::report
