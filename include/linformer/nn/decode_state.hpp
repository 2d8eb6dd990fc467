// What a model remembers between generated tokens: a key-value cache or slots. Callers needn't know which.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace linformer {

/// The state of several sequences that are decoded together, one layer after the other.
class DecodeState {
 public:
  /// What one layer remembers. select() is that of DecodeState.
  struct Layer {
    virtual ~Layer() = default;
    /// What it consists of, in a fixed order. Where a tensor grows with the text, it grows along dimension 2, and a
    /// shorter one is its beginning.
    virtual std::vector<at::Tensor> tensors() const = 0;
    /// The same with other tensors, in the order of tensors().
    virtual std::unique_ptr<Layer> with(const std::vector<at::Tensor>& tensors) const = 0;
    virtual std::int64_t bytes() const = 0;
    virtual std::unique_ptr<Layer> select(const std::vector<std::int64_t>& rows) const = 0;
  };
  DecodeState() = default;
  DecodeState(std::vector<std::int64_t> positions, std::vector<std::unique_ptr<Layer>> layers)
      : positions_(std::move(positions)), layers_(std::move(layers)) {}
  /// The number of tokens read so far, for each sequence.
  const std::vector<std::int64_t>& positions() const { return positions_; }
  std::int64_t batch() const { return static_cast<std::int64_t>(positions_.size()); }
  std::int64_t bytes() const;  ///< memory that the state holds
  /// Those of all layers, one after the other, and the state with others in their place: for gradients, which flow
  /// through states as through any tensor (LanguageModel::read).
  std::vector<at::Tensor> tensors() const;
  DecodeState with(const std::vector<at::Tensor>& tensors) const;
  /// Repeats each sequence `times` times in a row, for several samples of one prompt.
  DecodeState repeat(std::int64_t times) const;
  /// Takes the sequences of these rows, in this order. A row may be left out (when its sequence is finished) or taken
  /// several times. UserError when `rows` is empty or names a row that doesn't exist.
  DecodeState select(const std::vector<std::int64_t>& rows) const;
  std::size_t layers() const { return layers_.size(); }
  Layer& layer(std::size_t index) { return *layers_.at(index); }
  const Layer& layer(std::size_t index) const { return *layers_.at(index); }
  /// Counts one more token for every sequence.
  void advance() {
    for (auto& position : positions_) ++position;
  }

 private:
  std::vector<std::int64_t> positions_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace linformer
