// A tokenizer that a file made: text must come back from its ids.
#pragma once

#include "fuzz.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer::fuzz {

inline void use(const Tokenizer& tokenizer) {
  const std::string text = tokenizer.name() == "numbers" ? "0 0 " : "The 12 fö\xC3\xB6xes'll\n\n  jump\xFF!";
  expect(tokenizer.decode(tokenizer.encode(text)) == text, "text does not come back from its ids");
}

}  // namespace linformer::fuzz
