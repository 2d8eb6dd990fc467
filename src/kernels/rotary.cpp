#include "kernels/rotary.hpp"

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"

namespace linformer::kernels {

void rotate(const RotaryRows& rows) {
  const auto& table = current_table();
  parallel_for(0, rows.batch * rows.length, 8,
               [&](std::int64_t first, std::int64_t last) { table.rotary(rows, first, last); });
}

}  // namespace linformer::kernels
