// What a model keeps between generated tokens: a key-value cache or slots; callers can't tell which.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace linformer {

class DecodeState {
 public:
  struct Layer {
    virtual ~Layer() = default;
    virtual std::int64_t bytes() const = 0;
    virtual std::unique_ptr<Layer> select(const std::vector<std::int64_t>& rows) const = 0;
  };
  DecodeState() = default;
  DecodeState(std::vector<std::int64_t> positions, std::vector<std::unique_ptr<Layer>> layers)
      : positions_(std::move(positions)), layers_(std::move(layers)) {}
  const std::vector<std::int64_t>& positions() const { return positions_; }  ///< tokens read so far, a sequence
  std::int64_t batch() const { return static_cast<std::int64_t>(positions_.size()); }
  std::int64_t bytes() const;  ///< memory held
  /// Each sequence `times` times in a row, for several samples of one prompt.
  DecodeState repeat(std::int64_t times) const;
  /// The sequences of these rows, in this order; a row may be left out (a finished sequence) or taken several times.
  /// UserError on no row, or one that isn't there.
  DecodeState select(const std::vector<std::int64_t>& rows) const;
  Layer& layer(std::size_t index) { return *layers_.at(index); }
  void advance() {
    for (auto& position : positions_) ++position;
  }

 private:
  std::vector<std::int64_t> positions_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace linformer
