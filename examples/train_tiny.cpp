// From a text file to a trained model: train_tiny TEXT FOLDER
#include <cmath>
#include <filesystem>
#include <iostream>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/data/prepare.hpp"
#include "linformer/train/run.hpp"

namespace {

void train(const std::filesystem::path& text, const std::filesystem::path& folder) {
  using namespace linformer;
  std::filesystem::create_directories(folder);
  prepare({.inputs = {text.string()}, .out = folder / "data", .tokenizer = "bytes", .overwrite = true, .quiet = true});

  RunConfig config;
  config.model.length = 64;
  config.model.width = 32;
  config.model.layers = 2;
  config.model.heads = 2;
  config.model.attention.slots = 16;
  config.model.attention.window = 8;
  config.train.steps = 40;
  config.train.batch = 4;
  config.train.learning_rate = 5e-3;
  config.data.folder = (folder / "data").string();
  Run run(config, {.out = folder / "run", .existing = ExistingRun::overwrite, .quiet = true});
  const auto summary = run.train();
  std::cout << formatted("{} steps: validation loss {:.2f} nats a byte (untrained: {:.2f})\n", summary.steps,
                         summary.validation->loss, std::log(256.0));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: train_tiny TEXT FOLDER\n";
    return 2;
  }
  try {
    train(argv[1], argv[2]);
  } catch (const linformer::UserError& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
