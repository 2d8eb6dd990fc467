// Text from a trained model, printed as it is made: stream_generation RUN PROMPT
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/infer/model_tokenizer.hpp"

namespace {

void stream(const std::string& run, const std::string& prompt) {
  const auto loaded = linformer::load_model(run);
  const auto tokenizer = linformer::tokenizer_of(loaded);
  linformer::GenerateOptions options{.seed = 7, .overflow = linformer::Overflow::slide};
  options.on_text = [](std::size_t, std::string_view text) {
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  fmt::print("{}", prompt);
  const auto result = linformer::generate(loaded.model, *tokenizer, {prompt}, {.max_tokens = 100}, options);
  fmt::print("\n[{} tokens; the state holds {} bytes, however long the text]\n", result.sequences[0].tokens.size(),
             result.state_bytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: stream_generation RUN PROMPT\n");
    return 2;
  }
  try {
    stream(argv[1], argv[2]);
  } catch (const linformer::UserError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
