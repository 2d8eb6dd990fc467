#include "kernels/gelu.hpp"

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_shares.hpp"

namespace linformer::kernels {

void gelu_forward(const GeluRows& rows) {
  const auto& table = current_table();
  parallel_for(0, rows.rows, 8, [&](std::int64_t first, std::int64_t last) { table.gelu(rows, first, last); });
}

void gelu_backward(const GeluGradients& gradients) {
  const auto& table = current_table();
  const auto sums = sum_over_rows(
      gradients.rows, gradients.width,
      [&](std::int64_t first, std::int64_t last, float* share) { table.gelu_backward(gradients, first, last, share); });
  if (gradients.grad_bias != nullptr) std::copy(sums.begin(), sums.end(), gradients.grad_bias);
}

}  // namespace linformer::kernels
