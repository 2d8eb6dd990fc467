// Shape letters: B sequences, N tokens, C tokens a chunk.
#include "train/chunked_backward.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "linformer/core/memory.hpp"
#include "linformer/data/batches.hpp"
#include "linformer/nn/device.hpp"
#include "train/state_stack.hpp"

namespace linformer {
namespace {

DecodeState detached(const DecodeState& state) {
  auto tensors = state.tensors();
  for (auto& tensor : tensors) tensor = tensor.detach();
  return state.with(tensors);
}

// The state before a chunk, where gradients end, and these gradients. Both lie in memory that stays: made anew for each
// chunk, beside its large buffers, they would leave holes that grow with the text.
class Leaf {
 public:
  DecodeState hold(const DecodeState& state) {
    const at::NoGradGuard no_grad;
    const auto given = state.tensors();
    tensors_.resize(given.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
      auto& own = tensors_[i];
      if (own.defined() && own.sizes() == given[i].sizes() && own.scalar_type() == given[i].scalar_type()) {
        own.copy_(given[i]);
        own.mutable_grad().zero_();
      } else {
        own = given[i].clone().requires_grad_(true);
        own.mutable_grad() = at::zeros_like(own);
      }
    }
    return state.with(tensors_);
  }

  std::vector<at::Tensor> gradients() const {
    std::vector<at::Tensor> all;
    for (const auto& tensor : tensors_) all.push_back(tensor.grad());
    return all;
  }

 private:
  std::vector<at::Tensor> tensors_;
};

class Chunks {
 public:
  Chunks(const LanguageModel& model, const at::Tensor& ids_BN, const Targets& targets, const ChunkOptions& options)
      : model_(model),
        ids_BN_(ids_BN.to(model.output_weight().device())),
        targets_(targets),
        options_(options),
        count_(chunks_of(ids_BN.size(1), options.chunk)) {}
  std::int64_t count() const { return count_; }

  DecodeState read(std::int64_t index, const DecodeState& before) const {
    const AutocastGuard autocast(options_.dtype, ids_BN_.device().type());
    return model_.read(part(ids_BN_, index), before, options_.forward).second;
  }

  /// With the chunk's part of the loss, which is undefined where it has no targets.
  std::pair<at::Tensor, DecodeState> read_with_loss(std::int64_t index, const DecodeState& before) const {
    const AutocastGuard autocast(options_.dtype, ids_BN_.device().type());
    auto [hidden_BCd, after] = model_.read(part(ids_BN_, index), before, options_.forward);
    const auto own = part(targets_.ids, index).contiguous();
    const auto count = own.ne(kIgnored).sum().item<double>();
    if (count == 0) return {at::Tensor(), std::move(after)};
    const auto loss = model_.head().loss(hidden_BCd, {own, targets_.sparse}, options_.dtype);
    return {loss * (count / options_.all_targets), std::move(after)};
  }

  /// Of all readings, of which each chunk but the last has two. A backward pass counts as two more.
  void report(std::int64_t readings, std::int64_t backwards) const {
    if (options_.progress)
      options_.progress(static_cast<double>(readings + 2 * backwards) / static_cast<double>(4 * count_ - 1));
  }

 private:
  at::Tensor part(const at::Tensor& all_BN, std::int64_t index) const {
    const auto first = index * options_.chunk;
    return all_BN.narrow(1, first, std::min(options_.chunk, all_BN.size(1) - first));
  }

  const LanguageModel& model_;
  at::Tensor ids_BN_;
  const Targets& targets_;
  const ChunkOptions& options_;
  std::int64_t count_;
};

// A chunk leaves holes in the heap, and the next one does not fill them all: without this the memory of a process grows
// with the number of its chunks.
void give_back_holes(std::int64_t index) {
  constexpr std::int64_t kChunksBetween = 16;
  if (index > 0 && index % kChunksBetween == 0) give_back_free_memory();
}

void keep_borders(const Chunks& chunks, const DecodeState& before, StateStack& borders) {
  const at::NoGradGuard no_grad;
  auto state = before.with(before.tensors());
  for (std::int64_t i = 0; i + 1 < chunks.count(); ++i) {
    state = chunks.read(i, state);
    borders.push(state);
    give_back_holes(i);
    chunks.report(i + 1, 0);
  }
}

// Backward passes of the loss of a chunk, if it has any, and of its state, of which the chunk after it gave the
// gradients. False where there is neither.
bool backward_of(const at::Tensor& loss, const DecodeState& after, const std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> roots, given;
  if (loss.defined()) roots.push_back(loss), given.emplace_back();
  const auto tensors = after.tensors();
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (!tensors[i].requires_grad()) continue;
    roots.push_back(tensors[i]), given.push_back(gradients[i]);
  }
  if (!roots.empty()) torch::autograd::backward(roots, given);
  return !roots.empty();
}

}  // namespace

std::int64_t chunks_of(std::int64_t length, std::int64_t chunk) { return (length + chunk - 1) / chunk; }

ChunkedLoss backward_in_chunks(const LanguageModel& model, const at::Tensor& ids_BN, const Targets& targets,
                               const DecodeState& before, const ChunkOptions& options) {
  const Chunks chunks(model, ids_BN, targets, options);
  StateStack borders(options.folder);
  keep_borders(chunks, before, borders);
  ChunkedLoss result{at::zeros({}, at::kDouble), {}};
  std::array<Leaf, 2> leaves;  // of this chunk and of the one after it
  std::vector<at::Tensor> gradients;
  for (auto i = chunks.count() - 1; i >= 0; --i) {
    auto& leaf = leaves.at(static_cast<std::size_t>(i % 2));
    const auto [loss, after] = chunks.read_with_loss(i, i > 0 ? leaf.hold(borders.pop()) : detached(before));
    if (i + 1 == chunks.count()) result.after = detached(after);
    const bool done = backward_of(loss, after, gradients);
    if (loss.defined()) result.loss = result.loss + loss.detach().to(at::kDouble);
    gradients = done && i > 0 ? leaf.gradients() : std::vector<at::Tensor>();
    give_back_holes(i);
    chunks.report(2 * chunks.count() - 1 - i, chunks.count() - i);
  }
  return result;
}

}  // namespace linformer
