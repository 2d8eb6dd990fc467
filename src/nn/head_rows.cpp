#include "nn/head_rows.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/decode_kernels.hpp"

namespace linformer::nn {

HeadRows::HeadRows(std::int64_t sequences, std::int64_t heads, std::int64_t length, std::int64_t width)
    : sequences_(sequences),
      heads_(heads),
      length_(length),
      width_(width),
      stride_(kernels::padded(width)),
      data_(static_cast<std::size_t>(sequences * heads * length * stride_)) {}

void HeadRows::copy(std::int64_t sequence, std::int64_t first, const at::Tensor& rows_HLD) {
  if (rows_HLD.size(1) == 0) return;
  at::from_blob(row(sequence, 0, 0), {heads_, length_, stride_}, at::kFloat)
      .narrow(1, first, rows_HLD.size(1))
      .narrow(2, 0, width_)
      .copy_(rows_HLD);
}

at::Tensor HeadRows::read(std::int64_t sequence, std::int64_t first, std::int64_t count) const {
  if (count == 0) return at::empty({1, heads_, 0, width_}, at::kFloat);
  // from_blob only reads here.
  return at::from_blob(const_cast<float*>(row(sequence, 0, 0)), {1, heads_, length_, stride_}, at::kFloat)
      .narrow(2, first, count)
      .narrow(3, 0, width_)
      .clone(at::MemoryFormat::Contiguous);
}

void HeadRows::grow(std::int64_t length) {
  std::vector<float> grown(static_cast<std::size_t>(sequences_ * heads_ * length * stride_));
  const auto held = length_ * stride_;
  for (std::int64_t i = 0; i < sequences_ * heads_; ++i)
    std::copy_n(data_.data() + i * held, held, grown.data() + i * length * stride_);
  data_ = std::move(grown);
  length_ = length;
}

}  // namespace linformer::nn
