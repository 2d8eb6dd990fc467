// Which folders the program wrote.
#include "linformer/config/output_folder.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>
#include <string>

namespace linformer {
namespace {

namespace fs = std::filesystem;

class OutputFolder : public testing::Test {
 protected:
  OutputFolder() { fs::create_directories(folder_); }
  ~OutputFolder() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& content) const { std::ofstream(folder_ / name) << content; }
  FolderKind kind() const { return folder_kind(folder_); }

  const fs::path folder_ = fs::temp_directory_path() / ("linformer_output_folder_" + std::to_string(::getpid()));
};

const std::string kRun = R"({"format_version":1,"model":{},"train":{},"data":{},"seed":0})";

TEST_F(OutputFolder, AFolderOfTextIsNone) {
  EXPECT_EQ(kind(), FolderKind::other);
  EXPECT_EQ(folder_kind(folder_ / "missing"), FolderKind::other);
  write("notes.txt", "text");
  write("config.json", R"({"editor":"vi"})");
  write("tokenizer.json", "{}");
  write("ablation.json", R"({"type":"surgery"})");
  EXPECT_EQ(kind(), FolderKind::other);
  for (const std::string damaged : {"", "{", "[1]", "\"train data seed\""}) {
    write("config.json", damaged);
    write("ablation.json", damaged);
    EXPECT_EQ(kind(), FolderKind::other) << damaged;
  }
}

TEST_F(OutputFolder, PreparedTextHasTokens) {
  write("tokens.bin", "");
  EXPECT_EQ(kind(), FolderKind::prepared);
}

TEST_F(OutputFolder, ARunIsKnownBeforeItHasWeights) {
  write("config.json", kRun);
  EXPECT_EQ(kind(), FolderKind::run);
  write("model.safetensors", "");
  EXPECT_EQ(kind(), FolderKind::run);
}

TEST_F(OutputFolder, CheckpointsAndOtherModelsAreModels) {
  write("config.json", kRun);
  write("state.json", "{}");
  EXPECT_EQ(kind(), FolderKind::model);  // set aside as damaged, it may lack its weights
  fs::remove(folder_ / "state.json");
  write("config.json", R"({"architectures":["GPT2LMHeadModel"]})");
  EXPECT_EQ(kind(), FolderKind::other);
  write("model.safetensors", "");
  EXPECT_EQ(kind(), FolderKind::model);
}

TEST_F(OutputFolder, AnAblationNamesItself) {
  write("ablation.json", R"({"type":"ablation","name":"x"})");
  EXPECT_EQ(kind(), FolderKind::ablation);
}

TEST_F(OutputFolder, ResultsAreKnownByNameAndFirstLine) {
  write("benchmark.jsonl", "{\"type\":\"machine\"}\n");
  write("inspect.jsonl", "{\"type\":\"spectrum\"}\n");
  write("evaluate.jsonl", "{\"type\":\"evaluation\"}\n");
  write("mine.jsonl", "{\"type\":\"machine\"}\n");
  EXPECT_TRUE(is_results_file(folder_ / "benchmark.jsonl"));
  EXPECT_TRUE(is_results_file(folder_ / "inspect.jsonl"));
  EXPECT_TRUE(is_results_file(folder_ / "evaluate.jsonl"));
  EXPECT_FALSE(is_results_file(folder_ / "mine.jsonl"));
  write("benchmark.jsonl", "{\"speed\":1}\n");
  EXPECT_FALSE(is_results_file(folder_ / "benchmark.jsonl"));
}

}  // namespace
}  // namespace linformer
