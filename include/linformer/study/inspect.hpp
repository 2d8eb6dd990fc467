// Why a model does what it does: the rank of its attention, what its slots read, how much they are used. Shape letters:
// S windows of text, N positions of one, H heads, K slots, C columns after binning.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

/// A model whose attention can be looked at, whoever trained it.
struct InspectSubject {
  std::string model;        ///< its path, for the results
  std::string description;  ///< "linformer, causal", "BERT encoder"
  std::int64_t layers = 0, heads = 0;
  std::int64_t length = 0;  ///< the longest text
  bool causal = false;
  bool has_slots = false;                             ///< a Linformer: no N×N matrix in it
  std::int64_t first_with_slots = 0;                  ///< queries before this position see no slots: 2W with a window
  std::vector<std::int64_t> before = {}, after = {};  ///< ids that every window starts and ends with
  std::function<void(const at::Tensor& ids_BN, const WeightsVisitor& visit)> weights;
  std::vector<json> projections = {};  ///< learned parts that make slots, ready lines of type "projection"
};

/// `model` must outlive the subject.
InspectSubject inspect_subject(const LanguageModel& model);

struct InspectOptions {
  bool spectrum = true, slots = true,
       attention = true;  ///< what is asked for; what the model doesn't have is left out with a remark
  std::int64_t rank = 0;  ///< K of "the value at K of N"; 0 = N/4, as 128 of the paper's 512
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< windows
};

struct Inspection {
  std::vector<json> lines;           ///< of inspect.jsonl (docs/formats.md)
  std::vector<std::string> remarks;  ///< what was asked for and isn't there
};

/// (S,N): windows of `length` ids, at most `count`, evenly spread over `ids`, each between the subject's `before` and
/// `after`. UserError: a text shorter than one window, a length that the model can't read.
at::Tensor inspect_windows(const InspectSubject& subject, const std::vector<std::int64_t>& ids, std::int64_t length,
                           std::int64_t count);

/// Means over the windows. UserError: nothing of what was asked for is in this model; a rank outside 1 to N.
Inspection inspect(const InspectSubject& subject, const at::Tensor& ids_SN, const std::string& text,
                   const InspectOptions& options);

/// An inspection as a table for people; `kept` says where the maps, which it leaves out, are.
std::string inspection_table(const Inspection& inspection, std::string_view kept);

/// The paper's Figure 1: Σ of the largest i singular values over Σ of all, for i = 1…N; (…,N,M) → (…,min(N,M)), in
/// float64.
at::Tensor cumulative_singular_values(const at::Tensor& matrices);

/// (C,N) with C = min(N, most): row c selects the positions c·N/C to (c+1)·N/C; times x sums each bin.
at::Tensor bin_sums(std::int64_t length, std::int64_t most);

}  // namespace linformer
