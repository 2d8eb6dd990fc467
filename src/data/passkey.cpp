// Shape letters: B rows of a batch, N length.
#include "linformer/data/passkey.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "data/draw.hpp"
#include "linformer/core/error.hpp"

namespace linformer {
namespace {

std::vector<std::int64_t> ids_of_text(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  return {ids.begin(), ids.end()};
}

std::vector<std::int64_t> digits_of(const Tokenizer& tokenizer) {
  std::vector<std::int64_t> digits;
  for (const char digit : std::string_view("0123456789")) {
    const auto ids = tokenizer.encode({&digit, 1});
    require(
        ids.size() == 1,
        "the tokenizer '{}' has no token for the digit {} alone, but the key of data.source = passkey is of digits; "
        "use text that was prepared with another tokenizer, such as bytes or gpt2, or leave data.folder out",
        tokenizer.name(), digit);
    digits.push_back(ids.front());
  }
  return digits;
}

}  // namespace

PasskeyBatches::PasskeyBatches(const DataConfig& config, const Sizes& sizes)
    : config_(config), sizes_(sizes), symbols_(static_cast<std::size_t>(config.keys)) {
  check(config, sizes.length);
  std::iota(symbols_.begin(), symbols_.end(), 0);
  mark_ = question_ = {config.keys + config.values};
  fill_ = [config](Draws& draws, std::int64_t count, std::int64_t* out) {
    std::generate_n(out, count, [&] { return config.keys + draws.below(config.values); });
  };
  check_sizes();
}

PasskeyBatches::PasskeyBatches(const DataConfig& config, const TokenData& text, TextPart part, const Sizes& sizes)
    : config_(config), sizes_(sizes), symbols_(digits_of(*text.tokenizer())) {
  check(config, sizes.length);
  mark_ = ids_of_text(*text.tokenizer(), kMark);
  after_ = ids_of_text(*text.tokenizer(), kAfter);
  question_ = ids_of_text(*text.tokenizer(), kQuestion);
  check_sizes();
  const bool training = part == TextPart::train;
  const auto size = training ? text.train_size() : text.validation_size();
  require(size >= filler(),
          "the {} part of {} has {} tokens, too few for the {} of filler in a sequence of {}; use more text, a shorter "
          "length, or leave data.folder out, so that filler is generated",
          training ? "training" : "validation", config.folder, size, filler(), sizes.length);
  fill_ = [text, training, size](Draws& draws, std::int64_t count, std::int64_t* out) {
    const auto start = draws.below(size - count + 1);
    training ? text.copy_train(start, count, out) : text.copy_validation(start, count, out);
  };
}

void PasskeyBatches::check_sizes() const {
  require(sizes_.batch > 0, "batch is {}, expected 1 or more", sizes_.batch);
  const auto needed = sizes_.length - filler() + 1;
  require(
      filler() >= 1,
      "data.key_length is {}: the hidden key, the question and the answer need {} positions with one of filler, more "
      "than the length {}; use a longer one, or a smaller data.key_length",
      config_.key_length, needed, sizes_.length);
}

std::int64_t PasskeyBatches::filler() const {
  return sizes_.length - static_cast<std::int64_t>(mark_.size() + after_.size() + question_.size()) -
         (2 * config_.key_length - 1);
}

std::int64_t PasskeyBatches::count() const { return batches_of(sizes_.batch, sizes_.limit); }

Batch PasskeyBatches::at(std::int64_t index) const {
  const auto [batch, length, seed, limit] = sizes_;
  const auto rows = rows_of_batch("passkey", index, batch, limit);
  const auto ids = at::empty({rows, length}, at::kLong);
  Batch result{ids, at::full_like(ids, kIgnored), /*sparse=*/true, at::zeros_like(ids), at::empty({rows}, at::kDouble)};
  Ids key(static_cast<std::size_t>(config_.key_length)), stuff(static_cast<std::size_t>(filler()));
  for (std::int64_t row = 0; row < rows; ++row) {
    // Draws depend on the number of the sequence, so that another batch size gives the same sequences.
    Draws draws(scramble(seed ^ 0x706173736b6579), index * batch + row, 0);
    for (auto& token : key)
      token = symbols_[static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(symbols_.size())))];
    const auto before =
        config_.depth ? std::llround(*config_.depth * static_cast<double>(filler())) : draws.below(filler() + 1);
    fill_(draws, filler(), stuff.data());
    auto* ids_N = result.ids.mutable_data_ptr<std::int64_t>() + row * length;
    auto* out = ids_N;
    const auto put = [&](auto first, auto last) { out = std::copy(first, last, out); };
    put(stuff.begin(), stuff.begin() + before);
    put(mark_.begin(), mark_.end());
    const auto hidden = out - ids_N;
    put(key.begin(), key.end());
    put(after_.begin(), after_.end());
    put(stuff.begin() + before, stuff.end());
    put(question_.begin(), question_.end());
    put(key.begin(), key.end() - 1);
    const auto first = length - config_.key_length;
    std::ranges::copy(key, result.targets.mutable_data_ptr<std::int64_t>() + row * length + first);
    std::fill_n(result.distances.mutable_data_ptr<std::int64_t>() + row * length + first, config_.key_length,
                first - hidden);
    result.depths.mutable_data_ptr<double>()[row] = static_cast<double>(before) / static_cast<double>(filler());
  }
  return result;
}

}  // namespace linformer
