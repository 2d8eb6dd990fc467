// Legend: B rows of a batch, N window length.
#include "linformer/data/batches.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kIgnored = -100;

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of `x`.
std::uint64_t scramble(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

/// Uniform in [0, bound) from (seed, index, row) alone; the bias of the multiplication is below bound / 2^64.
std::int64_t draw(std::uint64_t seed, std::int64_t index, std::int64_t row, std::int64_t bound) {
  const std::uint64_t bits =
      scramble(scramble(scramble(seed) ^ static_cast<std::uint64_t>(index)) ^ static_cast<std::uint64_t>(row));
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::int64_t>(Wide{bits} * static_cast<std::uint64_t>(bound) >> 64);
}

void check_sizes(std::int64_t batch, std::int64_t length) {
  require(batch > 0, "batch is {}, expected 1 or more", batch);
  require(length > 0, "the window length is {}, expected 1 or more", length);
}

}  // namespace

TrainBatches::TrainBatches(TokenData data, std::int64_t batch, std::int64_t length, std::uint64_t seed)
    : data_(std::move(data)), batch_(batch), length_(length), seed_(seed) {
  check_sizes(batch, length);
  require(data_.train_size() > length, "the training part has {} tokens, too few for windows of model.length {} and one more; "
          "use more text or a smaller model.length", data_.train_size(), length);
}

Batch TrainBatches::at(std::int64_t index) const {
  Batch result{at::empty({batch_, length_}, at::kLong), at::empty({batch_, length_}, at::kLong)};
  auto* ids_BN = result.ids.mutable_data_ptr<std::int64_t>();
  auto* targets_BN = result.targets.mutable_data_ptr<std::int64_t>();
  std::vector<std::int64_t> window(static_cast<std::size_t>(length_) + 1);
  for (std::int64_t row = 0; row < batch_; ++row) {
    data_.copy_train(draw(seed_, index, row, data_.train_size() - length_), length_ + 1, window.data());
    std::copy_n(window.begin(), length_, ids_BN + row * length_);
    std::copy_n(window.begin() + 1, length_, targets_BN + row * length_);
  }
  return result;
}

ValidationBatches::ValidationBatches(TokenData data, std::int64_t batch, std::int64_t length)
    : data_(std::move(data)), batch_(batch), length_(length) {
  check_sizes(batch, length);
  require(data_.validation_size() > 1, "the validation part has {} tokens, expected 2 or more; use more text or a larger "
          "--validation in `linformer prepare`", data_.validation_size());
}

std::int64_t ValidationBatches::count() const {
  const std::int64_t windows = (data_.validation_size() - 1 + length_ - 1) / length_;
  return (windows + batch_ - 1) / batch_;
}

Batch ValidationBatches::at(std::int64_t index) const {
  require(index >= 0 && index < count(), "validation batch {} asked, there are {}", index, count());
  const std::int64_t targets = data_.validation_size() - 1;
  const std::int64_t first = index * batch_ * length_;
  const std::int64_t rows = std::min(batch_, (targets - first + length_ - 1) / length_);
  Batch result{at::zeros({rows, length_}, at::kLong), at::full({rows, length_}, kIgnored, at::kLong)};
  const std::int64_t count = std::min(rows * length_, targets - first);
  // Rows are consecutive, so the batch is one stretch of the file.
  data_.copy_validation(first, count, result.ids.mutable_data_ptr<std::int64_t>());
  data_.copy_validation(first + 1, count, result.targets.mutable_data_ptr<std::int64_t>());
  return result;
}

}  // namespace linformer
