// Multi-query associative recall (Arora et al. 2023, "Zoology", arXiv 2312.04927, section 4 and appendix E): how well a
// model looks up what it has read. Shape letters: B rows of a batch, N length, D pairs.
#pragma once

#include "linformer/config/data_config.hpp"
#include "linformer/data/batches.hpp"

namespace linformer {

/// A sequence starts with D pairs of a key and its value, all different; then each key comes once more, as a query, and
/// the target there is its value. Of the (N − 2D)/2 places for queries, every other position behind the pairs, D are
/// drawn without replacement with weight g^(power − 1), g = 1 for the first place. All other positions hold random ids,
/// but none of the D keys, and have no target: a key among them would be followed by a second, wrong value, which is
/// rare with Arora et al.'s 8192 ids, but the rule with few. Ids: keys from 0 to keys − 1, then values. `distances`
/// count from the value to its query.
class RecallBatches final : public Batches {
 public:
  /// `limit`: how many sequences there are; -1 = no end. UserError as check().
  RecallBatches(const DataConfig& config, std::int64_t batch, std::int64_t length, std::uint64_t seed,
                std::int64_t limit = -1);
  Batch at(std::int64_t index) const override;
  std::int64_t count() const override;

 private:
  DataConfig config_;
  std::int64_t batch_, length_, limit_;
  std::uint64_t seed_;
};

}  // namespace linformer
