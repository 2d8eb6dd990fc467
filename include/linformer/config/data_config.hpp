// The fields of a config that say which data a model is trained on.
#pragma once

#include "linformer/config/field.hpp"

namespace linformer {

/// text: a folder that `linformer prepare` made.
/// recall: generated data for multi-query associative recall (data/recall.hpp).
enum class DataSource { text, recall };
template <>
struct EnumNames<DataSource> {
  static constexpr std::array names{"text", "recall"};
};

/// random: windows from anywhere in the training text. sequential: each row of a batch reads a stretch of the text from
/// its start to its end, one window after the other.
enum class DataOrder { random, sequential };
template <>
struct EnumNames<DataOrder> {
  static constexpr std::array names{"random", "sequential"};
};

/// The fields after `order` are only used when `source` is recall.
struct DataConfig {
  DataSource source = DataSource::text;
  std::string folder;
  DataOrder order = DataOrder::random;
  std::int64_t pairs = 16;    ///< key-value pairs per sequence
  std::int64_t keys = 256;    ///< number of ids that serve as keys
  std::int64_t values = 256;  ///< number of ids that serve as values
  double power = 0.01;        ///< a gap of g places is drawn with weight g^(power − 1); 1 = all gaps are equally likely
  std::int64_t sequences = 512;  ///< number of validation sequences
  std::int64_t seed = 0;         ///< seed of the validation sequences; training sequences follow from the run's seed

  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("data.source", self.source,
            "text (a prepared folder) or recall (multi-query associative recall, generated)");
    visitor("data.folder", self.folder, "folder that `linformer prepare` made; the same as --data");
    visitor("data.order", self.order,
            "text: random windows, or sequential: each row of a batch reads its stretch of the text from start to end");
    visitor("data.pairs", self.pairs, "recall: key-value pairs per sequence");
    visitor("data.keys", self.keys, "recall: number of ids that are keys");
    visitor("data.values", self.values, "recall: number of ids that are values");
    visitor("data.power", self.power, "recall: a gap g has weight g^(power - 1); 1: all gaps are equally likely");
    visitor("data.sequences", self.sequences, "recall: number of validation sequences");
    visitor("data.seed", self.seed, "recall: seed of the validation sequences");
  }
  bool operator==(const DataConfig&) const = default;
};

/// Checks every value. A UserError names the field that is impossible. `length` is model.length.
void check(const DataConfig& config, std::int64_t length);

}  // namespace linformer
