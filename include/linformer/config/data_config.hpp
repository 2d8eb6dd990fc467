// The fields of a config that say which data a model is trained on.
#pragma once

#include <optional>

#include "linformer/config/field.hpp"

namespace linformer {

/// text: a folder that `linformer prepare` made.
/// recall: generated data for multi-query associative recall (data/recall.hpp).
/// passkey: a key hidden in filler, which is generated or of a prepared folder (data/passkey.hpp).
enum class DataSource { text, recall, passkey };
template <>
struct EnumNames<DataSource> {
  static constexpr std::array names{"text", "recall", "passkey"};
};

/// random: windows from anywhere in the training text. sequential: each row of a batch reads a stretch of the text from
/// its start to its end, one window after the other.
enum class DataOrder { random, sequential };
template <>
struct EnumNames<DataOrder> {
  static constexpr std::array names{"random", "sequential"};
};

/// The fields after `order` are only used when `source` is recall or passkey, as their help says.
struct DataConfig {
  DataSource source = DataSource::text;
  std::string folder;
  DataOrder order = DataOrder::random;
  std::int64_t pairs = 16;    ///< key-value pairs per sequence
  std::int64_t keys = 256;    ///< number of ids that serve as keys
  std::int64_t values = 256;  ///< number of ids that serve as values
  double power = 0.01;        ///< a gap of g places is drawn with weight g^(power − 1); 1 = all gaps are equally likely
  bool scatter = false;       ///< pairs anywhere, each query behind its pair; false: all pairs at the start
  std::int64_t key_length = 5;                 ///< tokens of a hidden key
  std::optional<double> depth = std::nullopt;  ///< share of the filler before it, from 0 to 1; auto: drawn evenly
  std::int64_t sequences = 512;                ///< number of validation sequences
  std::int64_t seed = 0;  ///< seed of the validation sequences; training sequences follow from the run's seed

  template <class Self, class Visitor>
  static void visit(Self& self, Visitor&& visitor) {
    visitor("data.source", self.source,
            "text (a prepared folder), recall (multi-query associative recall, generated) or passkey (a key hidden in "
            "filler, which is generated, or text of data.folder)");
    visitor("data.folder", self.folder, "folder that `linformer prepare` made; the same as --data");
    visitor("data.order", self.order,
            "text: random windows, or sequential: each row of a batch reads its stretch of the text from start to end");
    visitor("data.pairs", self.pairs, "recall: key-value pairs per sequence");
    visitor("data.keys", self.keys, "recall: number of ids that are keys; passkey without a folder: of which keys are");
    visitor("data.values", self.values,
            "recall: number of ids that are values; passkey without a folder: that are filler");
    visitor("data.power", self.power, "recall: a gap g has weight g^(power - 1); 1: all gaps are equally likely");
    visitor("data.scatter", self.scatter,
            "recall: pairs stand anywhere, and each query behind its pair; false: all pairs stand at the start");
    visitor("data.key_length", self.key_length, "passkey: tokens of the key");
    visitor("data.depth", self.depth,
            "passkey: share of the filler that stands before the key, from 0 to 1; auto: drawn evenly");
    visitor("data.sequences", self.sequences, "recall and passkey: number of validation sequences");
    visitor("data.seed", self.seed, "recall and passkey: seed of the validation sequences");
  }
  bool operator==(const DataConfig&) const = default;
};

/// Checks every value. A UserError names the field that is impossible. `length` is model.length.
void check(const DataConfig& config, std::int64_t length);

}  // namespace linformer
