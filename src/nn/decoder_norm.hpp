// A norm for one vector at a time.
#pragma once

#include <ATen/ops/zeros_like.h>

#include <cstdint>

#include "kernels/decode_kernels.hpp"
#include "nn/parameters.hpp"

namespace linformer::nn {

class DecoderNorm {
 public:
  DecoderNorm() = default;  ///< no norm
  explicit DecoderNorm(const Norm& norm)
      : weight_(norm.weight),
        bias_(norm.rms || norm.bias.defined() ? norm.bias : at::zeros_like(norm.weight)),
        width_(norm.weight.size(0)) {}
  explicit operator bool() const { return weight_.defined(); }
  void operator()(const kernels::DecodeKernels& kernels, const float* x, float* out) const {
    const auto* weight = weight_.const_data_ptr<float>();
    if (bias_.defined()) {
      kernels.normalise(x, weight, bias_.const_data_ptr<float>(), width_, out);
    } else {
      kernels.rms_normalise(x, weight, width_, out);
    }
  }

 private:
  at::Tensor weight_, bias_;  // bias: undefined for an RMS norm
  std::int64_t width_ = 0;
};

}  // namespace linformer::nn
