#include "kernels/packed_linear.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels/bfloat16.hpp"

namespace linformer::kernels {

namespace {

// The size of a huge page. With pages of 4 KiB the processor stops prefetching at the end of each page.
constexpr std::size_t kAlignment = std::size_t{1} << 21;

std::byte* allocate(std::size_t size) {
  if (size >= kAlignment / 2) size = (size + kAlignment - 1) / kAlignment * kAlignment;
  auto* pointer = static_cast<std::byte*>(::operator new[](size, std::align_val_t{kAlignment}));
#if defined(__linux__)
  if (size >= kAlignment) madvise(pointer, size, MADV_HUGEPAGE);  // only advice: what it returns changes nothing
#endif
  std::memset(pointer, 0, size);
  return pointer;
}

std::int64_t bytes_of(WeightFormat format) {
  return format == WeightFormat::float32 ? 4 : format == WeightFormat::bfloat16 ? 2 : 1;
}

}  // namespace

void PackedLinear::Free::operator()(std::byte* pointer) const {
  ::operator delete[](pointer, std::align_val_t{kAlignment});
}

PackedLinear::PackedLinear(std::int64_t rows, std::int64_t columns, WeightFormat format, const DecodeKernels& kernels)
    : rows_(rows),
      columns_(columns),
      stride_(padded(columns) * bytes_of(format)),
      lanes_(kernels.lanes),
      format_(format) {
  data_.reset(allocate(static_cast<std::size_t>(padded_rows() * stride_)));
  bias_.resize(static_cast<std::size_t>(padded_rows()), 0.0F);
  if (format == WeightFormat::int8) scales_.resize(static_cast<std::size_t>(padded_rows()), 0.0F);
}

void PackedLinear::set_rows(std::int64_t first, std::int64_t count, const float* weight, const float* bias) {
  for (std::int64_t row = 0; row < count; ++row) {
    pack_row(first + row, weight + row * columns_);
    if (bias != nullptr) bias_[static_cast<std::size_t>(first + row)] = bias[row];
  }
}

void PackedLinear::pack_row(std::int64_t row, const float* weight) {
  auto* out = data_.get() + row * stride_;
  if (format_ == WeightFormat::float32) {
    std::memcpy(out, weight, static_cast<std::size_t>(columns_) * sizeof(float));
  } else if (format_ == WeightFormat::bfloat16) {
    // Entries i and i + lanes of a group are stored side by side, so one shift and one mask of a register give both.
    auto* words = reinterpret_cast<std::uint16_t*>(out);
    for (std::int64_t i = 0; i < columns_; ++i) {
      const auto in_group = i % (2 * lanes_), group = i - in_group;
      narrow(weight[i], words[group + 2 * (in_group % lanes_) + in_group / lanes_]);
    }
  } else {
    float largest = 0;
    for (std::int64_t i = 0; i < columns_; ++i) largest = std::max(largest, std::abs(weight[i]));
    const bool finite = std::all_of(weight, weight + columns_, [](float value) { return std::isfinite(value); });
    scales_[static_cast<std::size_t>(row)] = finite ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
    auto* integers = reinterpret_cast<std::int8_t*>(out);
    for (std::int64_t i = 0; i < columns_ && finite && largest > 0; ++i) {
      integers[i] = static_cast<std::int8_t>(std::lround(std::clamp(weight[i] / largest, -1.0F, 1.0F) * 127));
    }
  }
}

std::int64_t PackedLinear::bytes() const {
  return padded_rows() * stride_ + static_cast<std::int64_t>((bias_.size() + scales_.size()) * sizeof(float));
}

float PackedLinear::quantise_limit() const {
  // Σ |w·x| ≤ 127 · limit · columns < 2³¹.
  const auto most = 2147483647.0 / (127.0 * static_cast<double>(std::max<std::int64_t>(columns_, 1)));
  return static_cast<float>(std::floor(std::min(32767.0, most)));
}

PackedWeights PackedLinear::weights() const {
  return {.format = format_,
          .data = data_.get(),
          .scales = scales_.empty() ? nullptr : scales_.data(),
          .bias = bias_.data(),
          .columns = padded(columns_),
          .stride = stride_};
}

}  // namespace linformer::kernels
