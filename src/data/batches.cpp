// Legend: B rows of a batch, N window length.
#include "linformer/data/batches.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "data/draw.hpp"
#include "linformer/core/error.hpp"

namespace linformer {
namespace {

constexpr double kMasked = 0.15;

void check_sizes(std::int64_t batch, std::int64_t length) {
  require(batch > 0, "batch is {}, expected 1 or more", batch);
  require(length > 0, "the window length is {}, expected 1 or more", length);
}

// Windows that begin at `start_of(row)` in the training part.
template <class StartOf>
Batch windows_at(const TokenData& data, std::int64_t batch, std::int64_t length, const StartOf& start_of) {
  Batch result{at::empty({batch, length}, at::kLong), at::empty({batch, length}, at::kLong)};
  auto* ids_BN = result.ids.mutable_data_ptr<std::int64_t>();
  auto* targets_BN = result.targets.mutable_data_ptr<std::int64_t>();
  std::vector<std::int64_t> window(static_cast<std::size_t>(length) + 1);
  for (std::int64_t row = 0; row < batch; ++row) {
    data.copy_train(start_of(row), length + 1, window.data());
    std::copy_n(window.begin(), length, ids_BN + row * length);
    std::copy_n(window.begin() + 1, length, targets_BN + row * length);
  }
  return result;
}

}  // namespace

TrainBatches::TrainBatches(TokenData data, std::int64_t batch, std::int64_t length, std::uint64_t seed)
    : data_(std::move(data)), batch_(batch), length_(length), seed_(seed) {
  check_sizes(batch, length);
  require(data_.train_size() > length,
          "the training part has {} tokens, too few for windows of model.length {} and one more; "
          "use more text or a smaller model.length",
          data_.train_size(), length);
}

Batch TrainBatches::at(std::int64_t index) const {
  return windows_at(data_, batch_, length_,
                    [&](std::int64_t row) { return below(bits_at(seed_, index, row), data_.train_size() - length_); });
}

SequentialBatches::SequentialBatches(TokenData data, std::int64_t batch, std::int64_t length)
    : data_(std::move(data)), batch_(batch), length_(length) {
  check_sizes(batch, length);
  stretch_ = data_.train_size() / batch;
  windows_ = (stretch_ - 1) / length;
  require(windows_ >= 1,
          "the training part has {} tokens, {} for each of train.batch {} rows, too few for windows of model.length {} "
          "and one more; use more text, a smaller train.batch, or a smaller model.length",
          data_.train_size(), stretch_, batch, length);
}

Batch SequentialBatches::at(std::int64_t index) const {
  return windows_at(data_, batch_, length_,
                    [&](std::int64_t row) { return row * stretch_ + index % windows_ * length_; });
}

ValidationBatches::ValidationBatches(TokenData data, std::int64_t batch, std::int64_t length)
    : data_(std::move(data)), batch_(batch), length_(length) {
  check_sizes(batch, length);
  require(data_.validation_size() > 1,
          "the validation part has {} tokens, expected 2 or more; use more text or a larger "
          "--validation in `linformer prepare`",
          data_.validation_size());
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

MaskedBatches::MaskedBatches(std::unique_ptr<Batches> text, std::int64_t mask, std::uint64_t seed)
    : text_(std::move(text)), mask_(mask), seed_(scramble(seed ^ 0x6d61736b)) {}

Batch MaskedBatches::at(std::int64_t index) const {
  const auto text = text_->at(index);
  Batch result{text.ids.clone(), at::full_like(text.ids, kIgnored), /*sparse=*/true};
  const auto rows = text.ids.size(0), length = text.ids.size(1);
  const auto* next_BN = text.targets.const_data_ptr<std::int64_t>();
  auto* ids_BN = result.ids.mutable_data_ptr<std::int64_t>();
  auto* targets_BN = result.targets.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < rows; ++row) {
    if (next_BN[(row + 1) * length - 1] == kIgnored) continue;  // padded
    Draws draws(seed_, index, row);
    bool any = false;
    for (auto i = row * length; i < (row + 1) * length; ++i) {
      if (draws.unit() > kMasked) continue;
      any = true;
      targets_BN[i] = ids_BN[i];
      const auto way = draws.unit();
      if (way <= 0.8)
        ids_BN[i] = mask_;
      else if (way <= 0.9)
        ids_BN[i] = draws.below(mask_);
    }
    if (any) continue;
    const auto one = row * length + draws.below(length);
    targets_BN[one] = std::exchange(ids_BN[one], mask_);
  }
  return result;
}

}  // namespace linformer
