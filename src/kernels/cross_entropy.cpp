#include "linformer/kernels/cross_entropy.hpp"

#include <ATen/Parallel.h>

#include "kernels/kernel_table.hpp"

namespace linformer::kernels {

void cross_entropy(const CrossEntropyRows& rows, double* loss) {
  const auto& table = current_table();
  at::parallel_for(0, rows.rows, 4, [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      const auto target = rows.target[row] == rows.ignore_index ? -1 : rows.target[row];
      loss[row] = table.cross_entropy_row(rows.logits + row * rows.vocabulary, rows.vocabulary, target,
                                          rows.gradient_scale);
    }
  });
}

}  // namespace linformer::kernels
