// TorchScript files under audit; the only source that needs LibTorch's JIT. Shape letters: B batch, N length, S
// positions read, V vocabulary.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <set>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/device.hpp"
#include "study/audit_subject.hpp"

namespace linformer::study {
namespace {

// LibTorch's message without its backtrace: the line that names the error. It may be the last line, if the script
// raised it.
std::string reason(const std::exception& error) {
  const std::string text = error.what();
  for (const auto* mark : {"RuntimeError: ", "Error: ", "AssertionError: "}) {
    if (const auto at = text.rfind(mark); at != std::string::npos)
      return text.substr(at, std::min(text.find('\n', at) - at, std::size_t{300}));
  }
  return text.substr(0, std::min(text.find('\n'), std::size_t{300}));
}

torch::jit::Module load(const std::filesystem::path& file) {
  require(std::filesystem::exists(file), "{}: no such file or folder", file.string());
  try {
    auto module = torch::jit::load(file.string(), at::Device(at::kCPU));
    module.eval();
    return module;
  } catch (const std::exception& error) {
    fail(
        "{} is not a TorchScript file that can be read here ({}): save the model with "
        "torch.jit.script(model).save(FILE) or "
        "torch.jit.trace(model, ids).save(FILE), or name a run folder",
        file.string(), reason(error));
  }
}

// The logits are the result of the module itself, the first entry of a tuple or list, or "logits" of a dictionary.
at::Tensor logits_of(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor();
  if (value.isTuple() && !value.toTupleRef().elements().empty()) return logits_of(value.toTupleRef().elements()[0]);
  if (value.isList() && !value.toListRef().empty()) return logits_of(value.toListRef()[0]);
  if (value.isGenericDict()) {
    const auto dictionary = value.toGenericDict();
    if (dictionary.contains("logits")) return logits_of(dictionary.at("logits"));
  }
  fail(
      "the model gives {} where logits (batch, length, vocabulary) are expected: wrap it in a module that returns only "
      "these",
      value.tagKind());
}

class ScriptSubject final : public AuditSubject {
 public:
  ScriptSubject(const std::filesystem::path& file, const AuditOptions& options, std::vector<std::string>& remarks)
      : module_(load(file)) {
    const c10::NoGradGuard no_grad;
    measure_length(options);
    vocabulary_ = options.vocabulary > 0 ? options.vocabulary : forward(zeros(1, longest_)).size(2);
    // Logits of a large vocabulary fill the memory.
    while (free_ && options.length == 0 && longest_ < kLongest && 2 * longest_ * vocabulary_ <= kLogits &&
           works(1, 2 * longest_))
      longest_ *= 2;
    find_batch();
    to_double(file, remarks);
    dtype_ = forward(zeros(1, longest_)).scalar_type();
    if (dtype_ != at::kDouble && remarks.empty()) {
      remarks.push_back("the file computes in " + dtype_name(dtype_) +
                        " whatever its parameters are (it is frozen, or casts), so leaks below rounding are not seen");
    }
    check_ids();
    if (free_ && works(1, longest_ + 1)) remarks.push_back(longer_texts(longest_));
    if (!free_)
      remarks.push_back(formatted("the file takes texts of {} ids only: shorter ones are filled up", longest_));
    find_embeddings();
  }

  at::ScalarType dtype() const override { return dtype_; }
  std::int64_t vocabulary() const override { return vocabulary_; }
  std::int64_t parameter_count() const override {
    std::int64_t count = 0;
    for (const auto& tensor : module_.parameters()) count += tensor.numel();
    return count;
  }
  std::vector<std::int64_t> lengths() const override {
    std::set<std::int64_t> lengths{longest_};
    if (free_) {
      for (const auto length : {longest_ / 4 + 1, longest_ / 2 - 1, longest_ / 2 + 1, longest_ - 1})
        lengths.insert(std::max<std::int64_t>(length, 2));
    }
    return {lengths.begin(), lengths.end()};
  }
  at::Tensor outputs(const at::Tensor& ids_BN) const override { return logits(ids_BN); }
  at::Tensor logits(const at::Tensor& ids_BN) const override {
    if (batched_ || ids_BN.size(0) == 1) return forward(ids_BN);
    std::vector<at::Tensor> rows;
    for (const auto& row : ids_BN.split(1)) rows.push_back(forward(row));
    return at::cat(rows);
  }
  std::vector<std::pair<at::Tensor, int>> embeddings() const override { return embeddings_; }
  bool outputs_are_logits() const override { return true; }

  std::vector<Streamed> stream(const at::Tensor& ids_BN) const override {
    const double tolerance = dtype_ == at::kDouble ? 1e-6 : std::max(1e-4, 4 * change_threshold(dtype_));
    const auto places =
        spread_positions(ids_BN.size(1) - 1, std::clamp<std::int64_t>(kLogits / vocabulary_, 16, 160), 0);
    if (free_) {
      try {
        return {{"growing prefixes", places, prefixes(ids_BN, places), tolerance}};
      } catch (const std::exception&) {
        // Some traced models take all lengths except the shortest.
      }
    }
    return {{"prefixes filled up with other ids", places, filled(ids_BN, places), tolerance}};
  }

 private:
  static constexpr std::int64_t kLogits = 1 << 22;  // of one text
  static constexpr std::int64_t kLongest = 512;     // unless the user names another length

  static at::Tensor zeros(std::int64_t batch, std::int64_t length) { return at::zeros({batch, length}, at::kLong); }

  at::Tensor forward(const at::Tensor& ids_BN) const {
    // LibTorch may fuse code after a few calls, which would change the rounding between calls.
    const torch::jit::GraphOptimizerEnabledGuard plain(false);
    const auto out = logits_of(module_.forward({ids_BN.contiguous()}));
    require(out.dim() == 3 && out.size(0) == ids_BN.size(0) && out.size(1) == ids_BN.size(1) && out.is_floating_point(),
            "the model gives {} of shape [{}] for ids of shape [{}, {}], but must give logits of shape [{}, {}, "
            "vocabulary]: wrap it in a module that does",
            c10::toString(out.scalar_type()), joined(out.sizes(), ", "), ids_BN.size(0), ids_BN.size(1), ids_BN.size(0),
            ids_BN.size(1));
    return out;
  }
  bool works(std::int64_t batch, std::int64_t length, std::string* why = nullptr) const {
    try {
      forward(zeros(batch, length));
      return true;
    } catch (const std::exception& error) {
      if (why) *why = reason(error);
      return false;
    }
  }

  void measure_length(const AuditOptions& options) {
    require(options.length >= 0 && options.length != 1, "--model.length {}: an audit needs at least 2 tokens",
            options.length);
    std::string why, first;
    for (const std::int64_t length : {64, 128, 256, 512, 1024, 2048, 32, 16, 8}) {
      if (longest_ == 0 && options.length == 0 && works(1, length, &why)) longest_ = length;
      if (first.empty()) first = why;
    }
    if (options.length > 0 && works(1, options.length, &first)) longest_ = options.length;
    require(longest_ > 0, "the model fails on {} ({}); say how many ids it takes with --model.length N",
            options.length > 0 ? formatted("{} ids", options.length) : "8 to 2048 ids", first);
    free_ = longest_ > 3 && works(1, longest_ - 1) && works(1, longest_ / 2);
  }

  // A traced model may be fixed to the batch size of its example.
  void find_batch() {
    if (!works(3, longest_)) return;
    const auto ids = random_ids(*this, 3 * longest_, 5).remainder(vocabulary_).view({3, longest_});
    try {
      const auto together = forward(ids), alone = forward(ids.narrow(0, 1, 1));
      batched_ = (together[1] - alone[0]).abs().max().item<double>() <= 1e-3 * range_of(alone[0].to(at::kDouble));
    } catch (const std::exception&) {
      // check_ids() tells.
    }
  }

  void to_double(const std::filesystem::path& file, std::vector<std::string>& remarks) {
    try {
      for (const auto& tensors : {floating(module_.parameters()), floating(module_.buffers())}) {
        for (const auto& tensor : tensors) tensor.set_data(tensor.detach().to(at::kDouble));
      }
      forward(zeros(1, longest_));
    } catch (const std::exception& error) {
      remarks.push_back("the file does not run in float64 (" + reason(error) +
                        "), so leaks below rounding are not seen");
      module_ = load(file);
    }
  }
  template <class List>
  static std::vector<at::Tensor> floating(const List& list) {
    std::vector<at::Tensor> tensors;
    for (const auto& tensor : list) {
      if (tensor.is_floating_point()) tensors.push_back(tensor);
    }
    return tensors;
  }

  void check_ids() const {
    try {
      forward(at::full({1, longest_}, vocabulary_ - 1, at::kLong));
    } catch (const std::exception& error) {
      fail(
          "the model fails on id {} ({}); if it takes fewer ids than it gives logits, say how many with "
          "--model.vocabulary V",
          vocabulary_ - 1, reason(error));
    }
  }

  void find_embeddings() {
    for (const auto& tensor : module_.parameters()) {
      if (tensor.dim() != 2 || !tensor.is_floating_point()) continue;
      if (tensor.size(0) == vocabulary_)
        embeddings_.emplace_back(tensor, 0);
      else if (tensor.size(1) == vocabulary_)
        embeddings_.emplace_back(tensor, 1);
    }
    for (auto& [tensor, dimension] : embeddings_) tensor.requires_grad_();
  }

  at::Tensor prefixes(const at::Tensor& ids_BN, const std::vector<std::int64_t>& places) const {
    std::vector<at::Tensor> logits;
    for (const auto place : places) logits.push_back(this->logits(ids_BN.narrow(1, 0, place + 1)).select(1, place));
    return at::stack(logits, 1);
  }
  // For a causal model it doesn't matter what follows.
  at::Tensor filled(const at::Tensor& ids_BN, const std::vector<std::int64_t>& places) const {
    const auto filler_BN = random_ids(*this, ids_BN.numel(), 99).view_as(ids_BN);
    std::vector<at::Tensor> logits;
    for (const auto place : places) {
      const auto mixed_BN =
          at::cat({ids_BN.narrow(1, 0, place + 1), filler_BN.narrow(1, place + 1, ids_BN.size(1) - place - 1)}, 1);
      logits.push_back(this->logits(mixed_BN).select(1, place));
    }
    return at::stack(logits, 1);
  }

  mutable torch::jit::Module module_;
  std::int64_t longest_ = 0, vocabulary_ = 0;
  bool free_ = false, batched_ = false;
  at::ScalarType dtype_ = at::kFloat;
  std::vector<std::pair<at::Tensor, int>> embeddings_;
};

}  // namespace

std::unique_ptr<AuditSubject> subject_of(const std::filesystem::path& file, const AuditOptions& options,
                                         std::vector<std::string>& remarks) {
  return std::make_unique<ScriptSubject>(file, options, remarks);
}

}  // namespace linformer::study
