#include "kernels/dropout.hpp"

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"

namespace linformer::kernels {

void dropout(const DropoutRows& rows) {
  const auto& table = current_table();
  parallel_for(0, rows.sequences * rows.length, 8,
               [&](std::int64_t first, std::int64_t last) { table.dropout(rows, first, last); });
}

}  // namespace linformer::kernels
