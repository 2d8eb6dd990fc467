// A folder of its own for each test, filled with text.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "linformer/core/json.hpp"

namespace linformer {

class Folders : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root = std::filesystem::temp_directory_path() /
           (std::string("linformer_report_") + test->name() + "_" + std::to_string(getpid()));
    std::filesystem::create_directories(root);
  }
  void TearDown() override { std::filesystem::remove_all(root); }

  std::filesystem::path write(const std::filesystem::path& name, std::string_view content) const {
    std::filesystem::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << content;
    return root / name;
  }

  /// A run of `steps` steps with an evaluation at every 5th.
  std::filesystem::path run(const std::string& name, int steps, const std::string& kind = "softmax") const {
    write(name + "/config.json",
          R"({"format_version":1,"model":{"length":24},"attention":{"kind":")" + kind +
              R"("},"train":{"batch":3,"accumulate":2,"steps":7},"data":{"folder":"text of mine"},"seed":9})");
    std::string lines;
    for (int step = 1; step <= steps; ++step) {
      json line = {{"step", step}, {"loss", 4.0 / step}, {"learning_rate", 1e-3}, {"tokens_per_second", 72.0}};
      if (step % 5 == 0) line.update({{"validation_loss", 1.0 + 1.0 / step}, {"bits_per_byte", 2.0 + 1.0 / step}});
      lines += line.dump() + "\n";
    }
    write(name + "/metrics.jsonl", lines);
    return root / name;
  }

  std::filesystem::path root;
};

}  // namespace linformer
