// Checks whether a causal model sees later tokens. A model that reads its own targets has a low loss and writes
// nonsense (docs/maths.md, 2).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json_fwd.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct AuditOptions {
  std::int64_t length = 0;      ///< tokens of the longest text; 0 = chosen from the model
  std::int64_t vocabulary = 0;  ///< number of ids that a TorchScript model accepts; 0 = as many as it has logits
  std::vector<std::int64_t> text = {};  ///< ids of real text, tried beside random ids; may be empty
  std::uint64_t seed = 0;
  std::function<void(std::int64_t done, std::string_view what)> progress = {};  ///< `done` counts forward passes
};

// In the results below, positions count from 0. A change is a share of the outputs' range: for each channel, the
// maximum minus the minimum over positions; of these, the largest. A gradient is a share of the largest gradient by a
// token that the output is allowed to see. Losses are in nats.

struct AuditLeak {
  /// Changing token `changed` of `length` alters the output at `seen_at`, which is before it.
  std::int64_t length = 0, changed = 0, seen_at = 0;
  double change = 0;
};
struct AuditDistance {
  std::int64_t distance = 0;  ///< from `seen_at` to `changed`; stands for all distances up to the next entry
  double change = 0;
};
struct AuditGradient {
  double largest = 0, threshold = 0;
  std::int64_t length = 0, output = 0, input = 0;  ///< where the largest gradient is
  std::string obstacle = {};                       ///< why there is no gradient; else empty
};
struct AuditStreaming {
  std::string way = {};                          ///< how the tokens were read one at a time
  double largest_difference = 0, threshold = 0;  ///< between the losses at one position
  std::int64_t position = 0;                     ///< where the largest difference is
  double loss_streamed = 0, loss_teacher_forced = 0;
};

/// The results of all checks in one number format.
struct AuditPass {
  std::string dtype, path;  ///< path: of our attention operators ("reference", "composed", "kernel"); else empty
  std::vector<std::int64_t> lengths;
  std::int64_t changes = 0;  ///< number of tokens that were changed
  double largest_change = 0, threshold = 0;
  std::optional<AuditLeak> first_leak;
  std::vector<AuditDistance> by_distance;
  /// largest change before the changed token, after each block; empty for TorchScript files
  std::vector<double> by_layer;
  AuditGradient gradient;
  std::vector<AuditStreaming> streaming;
  /// True when any of these is above its threshold.
  bool leaks() const;
};

struct AuditReport {
  std::vector<AuditPass> passes;
  bool used_text = false;
  std::vector<std::string> remarks;
  bool leaks() const;
};

/// Checks a model of this project, in float64 and in float32 (the arithmetic that trains it). It changes tokens one by
/// one, takes gradients, and compares the loss of reading one token at a time. A bidirectional model is reported as a
/// leak. UserError for a length above model.length, for fewer than 3 ids and for fewer than 2 positions.
AuditReport audit(const LanguageModel& model, const AuditOptions& options = {});

/// Checks a TorchScript file that maps ids (B,N) to logits (B,N,V), or to a tuple or dictionary that holds them (as its
/// first entry, or as "logits"). It runs in float64 if the file can. UserError when there is no such file, for other
/// outputs, for NaN, when dropout is still on, and when no token changes the outputs.
AuditReport audit_file(const std::filesystem::path& file, const AuditOptions& options = {});

/// The keys of audit.json that come from the report (docs/formats.md).
json to_json(const AuditReport& report);

}  // namespace linformer
