// Looks inside a model: the rank of its attention, what its slots read, and how much they are used. Shape letters: S
// windows of text, N positions in one window, H heads, K slots, C columns after binning.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json_fwd.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

class BertEncoder;
class WordPiece;

/// A model whose attention can be inspected, from this project or another.
struct InspectSubject {
  std::string model;        ///< its path, for the results
  std::string description;  ///< "linformer, causal", "BERT encoder"
  std::int64_t layers = 0, heads = 0;
  std::int64_t length = 0;  ///< the longest text that it can read
  bool causal = false;
  bool has_slots = false;                             ///< true for a Linformer, hybrids too: no spectrum is made of it
  std::int64_t first_with_slots = 0;                  ///< queries before this position see no slots; 2W with a window
  std::vector<std::int64_t> before = {}, after = {};  ///< ids that every window starts and ends with
  std::function<void(const at::Tensor& ids_BN, const WeightsVisitor& visit)> weights;
  std::string projection = {};         ///< attention.projection of a Linformer
  std::vector<json> projections = {};  ///< the learned parts that make slots, as lines of type "projection"
};

/// `model` must outlive the subject that is returned.
InspectSubject inspect_subject(const LanguageModel& model);
/// The same for a BERT encoder. Each window stands between [CLS] and [SEP]. UserError when the tokenizer has more
/// tokens than the encoder.
InspectSubject inspect_subject(const BertEncoder& model, const WordPiece& tokenizer);

struct InspectOptions {
  /// What to look at. What the model doesn't have is left out, with a remark.
  bool spectrum = true, slots = true, attention = true;
  std::int64_t rank = 0;  ///< K, at which the spectrum is read; 0 = N/4, like 128 of 512 in the paper
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< counted in windows
};

struct Inspection {
  std::vector<json> lines;           ///< the lines of inspect.jsonl (docs/formats.md)
  std::vector<std::string> remarks;  ///< what was asked for but is not in this model
};

/// Cuts `ids` into windows of `length`, at most `count` of them, evenly spread, each between the subject's `before` and
/// `after`. Returns (S,N). UserError when the text is shorter than one window, or the model can't read this length.
at::Tensor inspect_windows(const InspectSubject& subject, const std::vector<std::int64_t>& ids, std::int64_t length,
                           std::int64_t count);

/// Computes means over the windows. UserError when the model has nothing of what was asked for, or the rank is not in 1
/// to N.
Inspection inspect(const InspectSubject& subject, const at::Tensor& ids_SN, const std::string& text,
                   const InspectOptions& options);

/// An inspection as a table for people to read. The maps are not in it; `kept` says where to find them.
std::string inspection_table(const Inspection& inspection, std::string_view kept);

/// As in Figure 1 of the paper: for i = 1…N, the sum of the largest i singular values divided by the sum of all.
/// (…,N,M) → (…,min(N,M)), in float64.
at::Tensor cumulative_singular_values(const at::Tensor& matrices);

/// A matrix (C,N) with C = min(N, most). Row c selects the positions c·N/C to (c+1)·N/C, so its product with x sums
/// each bin.
at::Tensor bin_sums(std::int64_t length, std::int64_t most);

}  // namespace linformer
