// Linformer attention as one operator on tensors, without a model: the causal window form, forward and backward.
#include <ATen/ATen.h>

#include <iostream>

#include "linformer/ops/attention.hpp"

int main() {
  // B batch, H heads, N length, D head width, K slots; the projections may be longer than the text.
  const std::int64_t B = 1, H = 2, N = 50, D = 16, K = 8, P = 64;
  at::manual_seed(1);
  const auto query_BHND = at::randn({B, H, N, D}).requires_grad_();
  const auto key_BHND = at::randn({B, H, N, D}), value_BHND = at::randn({B, H, N, D}).requires_grad_();
  const auto e_KP = at::randn({K, P}) / 8, f_KP = at::randn({K, P}) / 8;

  const auto out_BHND =
      linformer::ops::attention(query_BHND, key_BHND, value_BHND, e_KP, f_KP, {.causal = true, .window = 8});

  // Causal: the output at position 30 does not depend on what comes after it.
  out_BHND.select(2, 30).sum().backward();
  const auto seen_N = value_BHND.grad().abs().sum({0, 1, 3}) > 0;
  std::cout << "output " << out_BHND.sizes() << '\n';
  std::cout << "position 30 depends on " << seen_N.narrow(0, 0, 31).sum().item<std::int64_t>()
            << " of the positions before it and on " << seen_N.narrow(0, 31, N - 31).sum().item<std::int64_t>()
            << " after it\n";
}
