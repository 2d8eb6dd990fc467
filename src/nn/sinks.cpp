#include "nn/sinks.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace linformer::nn {

ops::Slots first_rows(std::int64_t sinks, const at::Tensor& key_BHMD, const at::Tensor& value_BHMD) {
  const auto first = [&](const at::Tensor& rows) {
    const auto count = std::min(sinks, rows.size(2));
    // In the layout in which a file gives them back: of another the gradients of norms would be summed in another
    // order, and a resumed run would differ in its last bits.
    return at::constant_pad_nd(rows.narrow(2, 0, count), {0, 0, 0, sinks - count}).contiguous();
  };
  return {first(key_BHMD), first(value_BHMD)};
}

void keep_sinks(const Heads& heads, const std::vector<std::int64_t>& positions, const ops::Slots& sinks) {
  if (!sinks.key.defined()) return;
  std::vector<std::int64_t> row_list, place_list;
  for (std::size_t row = 0; row < positions.size(); ++row) {
    if (positions[row] >= sinks.key.size(2)) continue;
    row_list.push_back(static_cast<std::int64_t>(row));
    place_list.push_back(positions[row]);
  }
  if (row_list.empty()) return;
  const auto rows = at::tensor(row_list, at::kLong).to(sinks.key.device()),
             places = at::tensor(place_list, at::kLong).to(sinks.key.device());
  for (const auto& [held, given] : {std::pair{sinks.key, heads.key}, std::pair{sinks.value, heads.value}})
    held.transpose(1, 2).index_put_({rows, places}, given.select(2, 0).index_select(0, rows).to(held.scalar_type()));
}

SlotText without_sinks(std::int64_t sinks, SlotText text) {
  if (sinks == 0 || text.first > 0) return text;
  text.sinks = std::min(sinks, text.key.size(2));
  for (auto* rows : {&text.key, &text.value}) {
    const auto rest = rows->narrow(2, text.sinks, rows->size(2) - text.sinks);
    *rows = at::constant_pad_nd(rest, {0, 0, text.sinks, 0});
  }
  return text;
}

}  // namespace linformer::nn
