// Does a causal model see what comes after? A model that reads its own targets scores well and writes nonsense
// (docs/maths.md, 2).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct AuditOptions {
  std::int64_t length = 0;              ///< of the longest text; 0 = chosen from the model
  std::int64_t vocabulary = 0;          ///< ids that a TorchScript model takes; 0 = as many as it gives logits
  std::vector<std::int64_t> text = {};  ///< ids of real text, beside the random ones; may be empty
  std::uint64_t seed = 0;
  std::function<void(std::int64_t done, std::string_view what)> progress = {};  ///< `done` counts forward passes
};

// Positions count from 0. Changes are shares of the range of the outputs (the largest, over channels, of their maximum
// less their minimum over positions), gradients shares of the largest gradient by a token that the output may see,
// losses in nats.

struct AuditLeak {
  std::int64_t length = 0, changed = 0,
               seen_at = 0;  ///< changing token `changed` of `length` alters the output at `seen_at` < `changed`
  double change = 0;
};
struct AuditDistance {
  std::int64_t distance = 0;  ///< from `seen_at` to `changed`; stands for those up to the next entry
  double change = 0;
};
struct AuditGradient {
  double largest = 0, threshold = 0;
  std::int64_t length = 0, output = 0, input = 0;  ///< of the largest
  std::string obstacle = {};                       ///< why there is none; else empty
};
struct AuditStreaming {
  std::string way = {};                          ///< how tokens were read one at a time
  double largest_difference = 0, threshold = 0;  ///< of the losses at one position
  std::int64_t position = 0;                     ///< of the largest
  double loss_streamed = 0, loss_teacher_forced = 0;
};

/// Everything checked in one number format.
struct AuditPass {
  std::string dtype, path;  ///< path: of our attention operators ("reference", "composed", "kernel"); else empty
  std::vector<std::int64_t> lengths;
  std::int64_t changes = 0;  ///< tokens changed
  double largest_change = 0, threshold = 0;
  std::optional<AuditLeak> first_leak;
  std::vector<AuditDistance> by_distance;
  std::vector<double> by_layer;  ///< largest change before the changed token, after each block; empty for files
  AuditGradient gradient;
  std::vector<AuditStreaming> streaming;
  bool leaks() const;
};

struct AuditReport {
  std::vector<AuditPass> passes;
  bool used_text = false;
  std::vector<std::string> remarks;
  bool leaks() const;
};

/// A model of this project, in float64 and in float32 (the arithmetic that trains it): tokens changed one by one,
/// gradients, and the loss of reading one token at a time. A bidirectional model leaks. UserError: a length beyond
/// model.length, fewer than 3 ids or 2 positions.
AuditReport audit(const LanguageModel& model, const AuditOptions& options = {});

/// A TorchScript file that maps ids (B,N) to logits (B,N,V), or to a tuple or dictionary that has them (first, or as
/// "logits"), in float64 where it runs so. UserError: no such file, other outputs, NaN, dropout that is still on,
/// outputs that no token alters.
AuditReport audit_file(const std::filesystem::path& file, const AuditOptions& options = {});

/// The keys of audit.json that the report knows of itself (docs/formats.md).
json to_json(const AuditReport& report);

}  // namespace linformer
