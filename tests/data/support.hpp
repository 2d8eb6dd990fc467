// What the tests of the data layer share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/support.hpp"
#include "linformer/data/tokenizer.hpp"
#include "support/paths.hpp"

namespace linformer::test {

/// GPT-2's, loaded once.
inline std::shared_ptr<const Tokenizer> gpt2() {
  static const auto tokenizer = load_tokenizer(test::source_path("data/gpt2"));
  return tokenizer;
}

/// Random text of items that meet every alternative of the split pattern; with `invalid`, also bytes that are no UTF-8.
inline std::string random_text(std::mt19937_64& random, std::size_t items, bool invalid) {
  static const std::vector<std::string> valid{" ",
                                              " ",
                                              " ",
                                              "  ",
                                              "\n",
                                              "\t",
                                              "\r\n",
                                              "\v",
                                              "a",
                                              "the",
                                              "Z",
                                              "'",
                                              "'s",
                                              "'ll",
                                              "'ve",
                                              "'re",
                                              "'t",
                                              "'l",
                                              "0",
                                              "12",
                                              "!",
                                              "?!",
                                              "-",
                                              "\xC2\xA0",
                                              "\xE3\x80\x80",
                                              "\xE2\x80\xA8",
                                              "\xC3\xA9",
                                              "\xC2\xBD",
                                              "\xE6\xBC\xA2",
                                              "\xE5\xAD\x97",
                                              "\xF0\x9F\x98\x80",
                                              "\xD9\xA3",
                                              "\xCC\x81",
                                              "\xE2\x85\xA7",
                                              std::string(1, '\0'),
                                              "\x1C",
                                              "\x7F",
                                              "lll",
                                              "veve",
                                              "<|endoftext|>"};
  static const std::vector<std::string> broken{"\x80",         "\xFF",         "\xC3",     "\xE2\x80",
                                               "\xED\xA0\x80", "\xF0\x9F\x98", "\xC0\xAF", "\xF4\x90\x80\x80"};
  std::string text;
  for (std::size_t i = 0; i < items; ++i) {
    const auto& from = invalid && random() % 4 == 0 ? broken : valid;
    text += from[random() % from.size()];
  }
  return text;
}

}  // namespace linformer::test
