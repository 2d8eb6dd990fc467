// Multi-query associative recall (Arora et al. 2023, "Zoology", arXiv 2312.04927, section 4 and appendix E). It
// measures how well a model finds something that it has read before. Shape letters: B rows of a batch, N length, D
// pairs.
#pragma once

#include <vector>

#include "linformer/config/data_config.hpp"
#include "linformer/data/batches.hpp"

namespace linformer {

/// By default (`scatter` false) a sequence starts with D pairs of a key and its value; no key comes twice. After the
/// pairs each key comes once more, as a query, and the target at that position is the key's value. Queries can stand at
/// every other position behind the pairs, so there are (N − 2D)/2 places for them. D of these places are drawn without
/// replacement. Place g (from 1) has weight g^(power − 1).
///
/// With `scatter` pairs stand anywhere, and each query anywhere behind its pair: one key after the other takes a place
/// for its pair, evenly among those that are free and have a free one behind them, and then for its query the g-th free
/// one behind the pair, with weight g^(power − 1). So `power` = 1 spreads queries evenly, and a smaller one keeps them
/// near their pairs.
///
/// All other positions hold random ids and have no target. These ids are never one of the D keys: such a key would seem
/// to have a second, wrong value. With the 8192 ids of Arora et al. this is rare, but with few ids it would happen
/// often.
///
/// Ids: the keys are 0 to keys − 1, then come the values. `distances` count from a value to its query.
class RecallBatches final : public Batches {
 public:
  /// `limit` is the number of sequences; -1 = no end. UserError as check() of DataConfig.
  RecallBatches(const DataConfig& config, std::int64_t batch, std::int64_t length, std::uint64_t seed,
                std::int64_t limit = -1);
  Batch at(std::int64_t index) const override;
  std::int64_t count() const override;

 private:
  DataConfig config_;
  std::int64_t batch_, length_, limit_;
  std::uint64_t seed_;
  std::vector<double> sums_of_weights_;  // of gaps, with `scatter`
};

}  // namespace linformer
