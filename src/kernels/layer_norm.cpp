#include "kernels/layer_norm.hpp"

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_shares.hpp"

namespace linformer::kernels {

void layer_norm_forward(const LayerNormRows& rows) {
  const auto& table = current_table();
  parallel_for(0, rows.rows, 8, [&](std::int64_t first, std::int64_t last) { table.layer_norm(rows, first, last); });
}

void layer_norm_backward(const LayerNormGradients& gradients) {
  const auto& table = current_table();
  const auto width = gradients.width;
  const auto sums = sum_over_rows(gradients.rows, 3 * width, [&](std::int64_t first, std::int64_t last, float* share) {
    table.layer_norm_backward(gradients, first, last, share);
  });
  float* const to[] = {gradients.weight_grad, gradients.bias_grad, gradients.branch_bias_grad};
  for (std::int64_t i = 0; i < 3; ++i) {
    if (to[i] != nullptr) std::copy_n(sums.begin() + i * width, width, to[i]);
  }
}

}  // namespace linformer::kernels
