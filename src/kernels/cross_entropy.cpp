#include "kernels/cross_entropy.hpp"

#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"

namespace linformer::kernels {

void cross_entropy(const CrossEntropyRows& rows, double* loss) {
  const auto& table = current_table();
  parallel_for(0, rows.rows, 4, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scratch(rows.element == Element::float32 ? 0 : static_cast<std::size_t>(rows.vocabulary));
    const auto bytes = rows.vocabulary * (rows.element == Element::float32 ? 4 : 2);
    for (auto row = begin; row < end; ++row) {
      const auto target = rows.target[row] == rows.ignore_index ? -1 : rows.target[row];
      auto* logits = static_cast<char*>(rows.logits) + row * bytes;
      loss[row] =
          table.cross_entropy_row(rows.element, logits, scratch.data(), rows.vocabulary, target, rows.gradient_scale);
    }
  });
}

}  // namespace linformer::kernels
