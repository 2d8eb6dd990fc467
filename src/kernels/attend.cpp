// Divides the work among threads.
#include "kernels/attend.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/parallel.hpp"

namespace linformer::kernels {

namespace {

/// Working memory on a cache line's border.
class Scratch {
 public:
  explicit Scratch(std::int64_t floats)
      : memory_(static_cast<float*>(::operator new(static_cast<std::size_t>(floats) * sizeof(float), alignment))) {}
  ~Scratch() { ::operator delete(memory_, alignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* get() const { return memory_; }

 private:
  static constexpr std::align_val_t alignment{64};
  float* memory_;
};

/// Each head of each sequence is cut into `runs` runs of blocks: as few as keep all threads busy.
struct Cut {
  std::int64_t blocks, runs, items;

  explicit Cut(const AttendShape& shape) {
    const auto size = shape.window > 0 ? shape.window : tile_rows;
    blocks = (shape.length + size - 1) / size;
    const auto sequences = shape.batch * shape.heads, threads = static_cast<std::int64_t>(at::get_num_threads());
    const auto wanted =
        sequences % threads == 0 || sequences >= 8 * threads ? 1 : (4 * threads + sequences - 1) / sequences;
    runs = std::min(threads == 1 ? 1 : wanted, blocks);
    items = sequences * runs;
  }

  AttendRange range(const AttendShape& shape, std::int64_t item) const {
    const auto sequence = item / runs, run = item % runs;
    return {sequence / shape.heads, sequence % shape.heads, run * blocks / runs, (run + 1) * blocks / runs};
  }
};

template <class Work>
void for_items(const Cut& cut, const AttendShape& shape, const Work& work) {
  parallel_for(0, cut.items, 1, [&](std::int64_t begin, std::int64_t end) {
    const Scratch scratch(current_table().scratch_floats(shape.width));
    for (auto item = begin; item < end; ++item) work(item, scratch.get());
  });
}

void add_rows(const float* from, std::int64_t rows, std::int64_t width, float* to, std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < width; ++j) to[i * stride + j] += from[i * width + j];
  }
}

float* head_of(const FloatView& view, const AttendRange& range) {
  return view.data + range.batch * view.batch + range.head * view.head;
}

/// What the runs after the first add to the block before them, and to the slots and sinks that all runs see.
class SharedGradients {
 public:
  SharedGradients(const AttendInputs& inputs, const Cut& cut)
      : shape_(inputs.shape),
        cut_(cut),
        border_(shape_.window * shape_.width),
        slots_(shape_.kind == SlotKind::running
                   ? 0
                   : (shape_.kind == SlotKind::block ? shape_.first_block + cut.blocks : 1) * shape_.slots *
                         shape_.width),
        sinks_(shape_.sinks * shape_.width),
        memory_(cut.runs > 1 ? static_cast<std::size_t>(cut.items * floats_of_a_run()) : 0),
        bias_(static_cast<std::size_t>(cut.items)) {}

  AttendShares of(std::int64_t item) {
    AttendShares shares{nullptr, nullptr, nullptr, nullptr, &bias_[static_cast<std::size_t>(item)], nullptr, nullptr};
    if (item % cut_.runs == 0) return shares;
    float* at = memory_.data() + item * floats_of_a_run();
    if (slots_ > 0) shares.slot_key = at, shares.slot_value = at + slots_;
    if (border_ > 0) shares.border_key = at + 2 * slots_, shares.border_value = at + 2 * slots_ + border_;
    float* sinks = at + 2 * (slots_ + border_);
    if (sinks_ > 0) shares.sink_key = sinks, shares.sink_value = sinks + sinks_;
    return shares;
  }

  /// Adds the shares of one head of one sequence, in the order of the runs.
  void add(std::int64_t sequence, const AttendGradients& gradients) {
    for (std::int64_t run = 1; run < cut_.runs; ++run) {
      const auto item = sequence * cut_.runs + run;
      const auto range = cut_.range(shape_, item);
      const auto shares = of(item);
      const auto width = shape_.width, rows = slots_ / width,
                 before = shape_.past() + (range.first - 1) * shape_.window;
      if (shares.slot_key != nullptr) {
        add_rows(shares.slot_key, rows, width, head_of(gradients.slot_key, range), gradients.slot_key.row);
        add_rows(shares.slot_value, rows, width, head_of(gradients.slot_value, range), gradients.slot_value.row);
      }
      if (shares.sink_key != nullptr) {
        add_rows(shares.sink_key, shape_.sinks, width, head_of(gradients.sink_key, range), gradients.sink_key.row);
        add_rows(shares.sink_value, shape_.sinks, width, head_of(gradients.sink_value, range),
                 gradients.sink_value.row);
      }
      if (shares.border_key != nullptr) {
        add_rows(shares.border_key, shape_.window, width, head_of(gradients.key, range) + before * gradients.key.row,
                 gradients.key.row);
        add_rows(shares.border_value, shape_.window, width,
                 head_of(gradients.value, range) + before * gradients.value.row, gradients.value.row);
      }
    }
  }

  float bias(std::int64_t item) const { return bias_[static_cast<std::size_t>(item)]; }

 private:
  std::int64_t floats_of_a_run() const { return 2 * (border_ + slots_ + sinks_); }

  const AttendShape& shape_;
  const Cut& cut_;
  std::int64_t border_, slots_, sinks_;  // floats
  std::vector<float> memory_, bias_;
};

}  // namespace

void attend_forward(const AttendInputs& inputs, const AttendOutputs& outputs) {
  const Cut cut(inputs.shape);
  for_items(cut, inputs.shape, [&](std::int64_t item, float* scratch) {
    current_table().forward(inputs, outputs, cut.range(inputs.shape, item), scratch);
  });
}

void attend_backward(const AttendInputs& inputs, const AttendGradients& gradients) {
  const Cut cut(inputs.shape);
  SharedGradients shared(inputs, cut);
  for_items(cut, inputs.shape, [&](std::int64_t item, float* scratch) {
    current_table().backward(inputs, gradients, cut.range(inputs.shape, item), shared.of(item), scratch);
  });
  const auto sequences = inputs.shape.batch * inputs.shape.heads;
  parallel_for(0, sequences, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto sequence = begin; sequence < end; ++sequence) shared.add(sequence, gradients);
  });
  if (gradients.slot_bias == nullptr) return;
  for (std::int64_t item = 0; item < cut.items; ++item)
    gradients.slot_bias[item / cut.runs % inputs.shape.heads] += shared.bias(item);
}

}  // namespace linformer::kernels
