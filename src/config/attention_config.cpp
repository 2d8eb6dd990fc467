#include "linformer/config/attention_config.hpp"

#include <cmath>
#include <tuple>

namespace linformer {

bool AttentionConfig::operator==(const AttentionConfig& other) const {
  const auto rest = [](const AttentionConfig& c) {
    return std::tie(c.kind, c.slots, c.slots_by_layer, c.softmax_layers, c.sharing, c.projection, c.period,
                    c.projection_start, c.reassociate, c.window, c.sinks, c.summary, c.normalise, c.plain);
  };
  const bool both_without = slot_bias && other.slot_bias && std::isnan(*slot_bias) && std::isnan(*other.slot_bias);
  return rest(*this) == rest(other) && (both_without || slot_bias == other.slot_bias);
}

}  // namespace linformer
