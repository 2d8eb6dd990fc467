// Text from a trained model, printed as it is made: stream_generation RUN PROMPT
#include <iostream>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/infer/model_tokenizer.hpp"

namespace {

void stream(const std::string& run, const std::string& prompt) {
  const auto loaded = linformer::load_model(run);
  const auto tokenizer = linformer::tokenizer_of(loaded);
  linformer::GenerateOptions options{.seed = 7, .overflow = linformer::Overflow::slide};
  options.on_text = [](std::size_t, std::string_view text) { std::cout << text << std::flush; };
  std::cout << prompt;
  const auto result = linformer::generate(loaded.model, *tokenizer, {prompt}, {.max_tokens = 100}, options);
  std::cout << "\n[" << result.sequences[0].tokens.size() << " tokens; the state holds " << result.state_bytes
            << " bytes, however long the text]\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: stream_generation RUN PROMPT\n";
    return 2;
  }
  try {
    stream(argv[1], argv[2]);
  } catch (const linformer::UserError& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
