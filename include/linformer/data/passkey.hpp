// A key hidden in filler, asked for at the end (Mohtashami and Jaggi 2023, arXiv 2305.16300). It measures how far back,
// and at which depth of a long text, a model finds something. Shape letters: B rows of a batch, N length.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "linformer/config/data_config.hpp"
#include "linformer/data/batches.hpp"

namespace linformer {

class Draws;

enum class TextPart { train, validation };

/// A sequence is filler, the mark and the key, filler, the question, and the key but for its last token. The targets
/// are the tokens of the key at the end; no other position has one. `depth` is the share of the filler that stands
/// before the key; auto draws each number of tokens before it evenly. Key tokens are drawn one by one.
///
/// Without a text, keys are of the ids below `keys`, filler is random ids of the `values` ids after them, and one more
/// id is both mark and question. In a text (data.folder), filler is a stretch of it, the key is of decimal digits, each
/// a token of its own, and the mark and the question are the words of kMark, kAfter and kQuestion.
///
/// `distances` count from a target to its token in the hidden key, `depths` are the share of filler before it.
class PasskeyBatches final : public Batches {
 public:
  static constexpr std::string_view kMark = "\nThe pass key is ", kAfter = ". Remember it.\n",
                                    kQuestion = "\nWhat is the pass key? The pass key is ";
  struct Sizes {
    std::int64_t batch, length;
    std::uint64_t seed = 0;
    std::int64_t limit = -1;  ///< number of sequences; -1 = no end
  };
  /// UserError as check() of DataConfig.
  PasskeyBatches(const DataConfig& config, const Sizes& sizes);
  /// Also when the part of the text is shorter than the filler, or its tokenizer has no token for each digit.
  PasskeyBatches(const DataConfig& config, const TokenData& text, TextPart part, const Sizes& sizes);
  Batch at(std::int64_t index) const override;
  std::int64_t count() const override;

 private:
  using Ids = std::vector<std::int64_t>;
  void check_sizes() const;
  std::int64_t filler() const;  ///< tokens of it in a sequence
  DataConfig config_;
  Sizes sizes_;
  Ids symbols_, mark_, after_, question_;
  std::function<void(Draws& draws, std::int64_t count, std::int64_t* out)> fill_;
};

}  // namespace linformer
