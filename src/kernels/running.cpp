// Divides the heads of sequences among threads, and adds up what they share.
#include "kernels/running.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"

namespace linformer::kernels {

namespace {

/// Working memory of one thread, on a cache line's border.
struct FreeAligned {
  void operator()(float* memory) const { ::operator delete(memory, std::align_val_t(64)); }
};
using RunningMemory = std::unique_ptr<float, FreeAligned>;
RunningMemory running_memory(const RunningInputs& inputs, bool backward) {
  const auto floats = static_cast<std::size_t>(current_table().running_scratch_floats(inputs, backward));
  return RunningMemory(static_cast<float*>(::operator new(floats * sizeof(float), std::align_val_t(64))));
}

std::int64_t items_of(const RunningInputs& inputs) { return inputs.shape.batch * inputs.key_heads(); }

/// Whether each item has weights of its own, so that no other one adds to their gradient.
bool own_weights(const RunningInputs& inputs, const ConstView& weights) {
  return (weights.batch != 0 || inputs.shape.batch == 1) && (weights.head != 0 || inputs.key_heads() == 1);
}

void add_floats(const float* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
}

/// What the items of a backward pass add up: for each item, or for each part of them, which one thread goes through.
class RunningSharedGradients {
 public:
  RunningSharedGradients(const RunningInputs& inputs, const RunningGradients& gradients, std::int64_t parts)
      : inputs_(inputs),
        gradients_(gradients),
        width_(inputs.shape.width),
        small_(4 * 2 * width_ + inputs.shape.slots),
        of_items_(static_cast<std::size_t>(items_of(inputs) * small_)),
        bias_(static_cast<std::size_t>(items_of(inputs) * inputs.shape.group)) {
    for (auto* side : {&key_, &value_}) {
      const auto& weights = side == &key_ ? inputs.key.weights : inputs.value.weights;
      const auto& to = side == &key_ ? gradients.key : gradients.value;
      if (to.weights.data != nullptr && !own_weights(inputs, weights))
        side->resize(static_cast<std::size_t>((parts - 1) * to.weight_count));
    }
  }

  RunningShares of(std::int64_t item, std::int64_t part) {
    float* small = of_items_.data() + item * small_;
    const auto norm = [&](std::int64_t number) { return small + number * 2 * width_; };
    return {weights_of(gradients_.key, key_, part),
            weights_of(gradients_.value, value_, part),
            norm(0),
            norm(1),
            norm(2),
            norm(3),
            decay_of(item),
            bias_.data() + item * inputs_.shape.group};
  }

  void add() const {
    for (const auto* side : {&key_, &value_}) {
      const auto& to = side == &key_ ? gradients_.key : gradients_.value;
      for (std::size_t at = 0; at < side->size(); at += static_cast<std::size_t>(to.weight_count))
        add_floats(side->data() + at, to.weight_count, to.weights.data);
    }
    for (std::int64_t item = 0; item < items_of(inputs_); ++item) add_small(item);
  }

 private:
  FloatView weights_of(const RunningSideGradients& side, std::vector<float>& others, std::int64_t part) const {
    auto view = side.weights;
    if (view.data != nullptr && part > 0 && !others.empty()) view.data = others.data() + (part - 1) * side.weight_count;
    return view;
  }

  float* decay_of(std::int64_t item) {
    if (gradients_.decay == nullptr) return nullptr;
    return gradients_.decay_blocks > 0 ? gradients_.decay + item * inputs_.shape.slots * gradients_.decay_blocks
                                       : of_items_.data() + item * small_ + 8 * width_;
  }

  void add_small(std::int64_t item) const {
    const float* small = of_items_.data() + item * small_;
    const auto head = item % inputs_.key_heads();
    float* const norms[] = {gradients_.key.window_norm, gradients_.key.slot_norm, gradients_.value.window_norm,
                            gradients_.value.slot_norm};
    for (std::int64_t number = 0; number < 4; ++number) {
      if (norms[number] != nullptr) add_floats(small + number * 2 * width_, 2 * width_, norms[number]);
    }
    if (gradients_.decay != nullptr && gradients_.decay_blocks == 0)
      add_floats(small + 8 * width_, inputs_.shape.slots, gradients_.decay + head * inputs_.shape.slots);
    if (gradients_.slot_bias == nullptr) return;
    for (std::int64_t i = 0; i < inputs_.shape.group; ++i) {
      gradients_.slot_bias[head * inputs_.shape.group + i] +=
          static_cast<float>(bias_[static_cast<std::size_t>(item * inputs_.shape.group + i)]);
    }
  }

  const RunningInputs& inputs_;
  const RunningGradients& gradients_;
  std::int64_t width_, small_;
  std::vector<float> of_items_, key_, value_;
  std::vector<double> bias_;
};

/// Calls `work(item, part)` for all items, in parts of neighbours.
template <class Work>
void for_running_items(const RunningInputs& inputs, std::int64_t parts, bool backward, const Work& work) {
  const auto items = items_of(inputs);
  parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    const auto memory = running_memory(inputs, backward);
    for (auto part = begin; part < end; ++part) {
      for (auto item = part * items / parts; item < (part + 1) * items / parts; ++item) work(item, part, memory.get());
    }
  });
}

std::int64_t parts_of(const RunningInputs& inputs) {
  return std::min<std::int64_t>(at::get_num_threads(), items_of(inputs));
}

}  // namespace

std::int64_t RunningInputs::interval() const {
  // Few, because they are kept as long as the keys; the sums of the steps between them are a thread's working memory.
  const auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(steps())));
  return std::max<std::int64_t>(root, 256);
}

void running_forward(const RunningInputs& inputs, const RunningOutputs& outputs) {
  const auto heads = inputs.key_heads();
  for_running_items(inputs, parts_of(inputs), false, [&](std::int64_t item, std::int64_t, float* memory) {
    current_table().running_forward(inputs, outputs, item / heads, item % heads, memory);
  });
}

void running_backward(const RunningInputs& inputs, const RunningGradients& gradients) {
  const auto heads = inputs.key_heads(), parts = parts_of(inputs);
  RunningSharedGradients shared(inputs, gradients, parts);
  for_running_items(inputs, parts, true, [&](std::int64_t item, std::int64_t part, float* memory) {
    current_table().running_backward(inputs, gradients, item / heads, item % heads, shared.of(item, part), memory);
  });
  shared.add();
}

}  // namespace linformer::kernels
