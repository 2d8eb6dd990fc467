// Backward sweep of kernels/running.hpp, from the right, with the gradients of S and U in cache. The sums are made
// again from the checkpoints that forward left, never by taking off what was added.
#pragma once

#include "kernels/attend_backward.hpp"
#include "kernels/running_forward.hpp"

namespace linformer::kernels {
namespace {

/// `stored`: the sums before a segment, and after each of its steps. `grad_window`: two halves like `normed`;
/// `grad_blocks`: what slots give to the rows of the last three blocks, by their number modulo 3. Rows of whole
/// vectors.
struct SideScratch {
  float *stored, *grad_sums, *grad_slots, *grad_window, *grad_blocks;
};

template <class Number>
struct RunningBackwardScratch {
  SumScratch<Number> sums;
  SideScratch key, value;
  float *grad_query, *grad_slot_query, *row, *attend;
};

inline SideScratch side_scratch(const RunningInputs& in, Arena& arena) {
  const Index stride = whole_vectors(in.shape.width), floats = in.shape.slots * stride,
              block = in.shape.window * stride;
  return {arena.take<float>((in.interval() + 1) * floats), arena.take<float>(floats), arena.take<float>(floats),
          arena.take<float>(2 * block), arena.take<float>(3 * block)};
}

template <class Number>
RunningBackwardScratch<Number> running_backward_scratch(const RunningInputs& in, Arena& arena) {
  const Index stride = whole_vectors(in.shape.width), block = in.shape.window * stride;
  return {sum_scratch<Number>(arena, in.shape.slots, in.shape.width),
          side_scratch(in, arena),
          side_scratch(in, arena),
          arena.take<float>(block),
          arena.take<float>(block),
          arena.take<float>(2 * stride),
          arena.take<float>(backward_scratch_floats(in.shape.width))};
}

inline Index running_scratch_floats(const RunningInputs& in, bool backward) {
  Arena arena{nullptr};
  sweep_of<float>(in, 0, 0, arena);
  backward ? static_cast<void>(running_backward_scratch<float>(in, arena))
           : static_cast<void>(running_forward_scratch<float>(in, arena));
  return arena.used;
}

inline void set_zero(float* to, Index count) {
  __builtin_memset(to, 0, static_cast<std::size_t>(count) * sizeof(float));
}

/// grad_x += the gradient of the norm of x, scale·(g − mean(g) − x̂·mean(g·x̂)) with g = grad·weight; without mean(g) in
/// an RMS norm. `sums` (2,D) takes those of weight and bias.
inline void norm_row_backward(const float* x, const float* grad, Index width, const RowNorm& norm, float* grad_x,
                              float* sums) {
  const auto [mean, scale] = statistics_of(x, width, norm.rms);
  Vector total{}, along{};
  for_vectors(width, [&](Index j, Index count) {
    const Vector y = load_row(grad + j, count), normal = (load_row(x + j, count) - mean) * scale,
                 g = y * load_row(norm.weight + j, count);
    total += g;
    along += g * normal;
    add_to_row(sums + j, y * normal, count);
    add_to_row(sums + width + j, y, count);
  });
  const float share = 1.0F / static_cast<float>(width), slope = quick_sum_of(along) * share;
  const float middle = norm.rms ? 0.0F : quick_sum_of(total) * share;
  for_vectors(width, [&](Index j, Index count) {
    const Vector g = load_row(grad + j, count) * load_row(norm.weight + j, count),
                 normal = (load_row(x + j, count) - mean) * scale;
    add_to_row(grad_x + j, (g - middle - normal * slope) * scale, count);
  });
}

/// From the gradient of slots to that of the sums they are.
inline void slots_backward(const RunningSide& side, const float* sums, Index slots, Index width, float* norm_sums,
                           const SideScratch& scratch) {
  const Index stride = whole_vectors(width);
  for (Index k = 0; k < slots; ++k) {
    const float* grad = scratch.grad_slots + k * stride;
    float* to = scratch.grad_sums + k * stride;
    if (side.slot_norm.weight != nullptr) {
      norm_row_backward(sums + k * stride, grad, width, side.slot_norm, to, norm_sums);
    } else {
      for (Index j = 0; j < stride; j += vector_width) store(to + j, load(to + j) + load(grad + j));
    }
  }
}

/// Σ_d grad ⊙ sums of each slot is added to what the decay gets.
inline void decay_backward(const float* grad, const float* sums, Index slots, Index width, float* to, Index to_stride) {
  const Index stride = whole_vectors(width);
  for (Index k = 0; k < slots; ++k) {
    Vector total{};
    for_vectors(width, [&](Index j, Index count) {
      total += load_row(grad + k * stride + j, count) * load_row(sums + k * stride + j, count);
    });
    to[k * to_stride] += sum_of(total);
  }
}

template <class Element>
struct BackwardSweep {
  const Sweep<Element>& sweep;
  const RunningGradients& gradients;
  const RunningShares& shares;
  const RunningBackwardScratch<NumberOf<Element>>& scratch;

  const RunningInputs& in() const { return sweep.in; }

  /// The sums before the first step of a segment, and after each step.
  void make_sums(Index first, Index last) const {
    const Index slots = in().shape.slots, width = in().shape.width, floats = sweep.sum_floats();
    const float *key = sweep.key.before, *value = sweep.value.before;
    if (first > 0) {
      key = gradients.checkpoints + checkpoint_at(in(), sweep.batch, sweep.head, first / in().interval() - 1);
      value = key + slots * width;
    }
    load_sums(key, slots, width, scratch.key.stored);
    load_sums(value, slots, width, scratch.value.stored);
    for (Index step = first; step < last; ++step) {
      const Index at = (step - first) * floats;
      for (const auto* side : {&scratch.key, &scratch.value})
        __builtin_memcpy(side->stored + at + floats, side->stored + at,
                         static_cast<std::size_t>(floats) * sizeof(float));
      advance(sweep, step, scratch.key.stored + at + floats, scratch.value.stored + at + floats, scratch.sums);
    }
  }

  /// One head of queries at one step: what it gives to query, window and slots.
  void attend(Index step, Index head) const {
    const auto inputs = step_inputs(sweep, step, head);
    const Index row = step * in().shape.window, stride = sweep.stride();
    const auto view_of = [&](const ConstView& view) {
      return ConstView{row_at<Element>(view, sweep.batch, head, row), 0, 0, view.row, 0};
    };
    // Of block 0 the window has no block before; then the view begins with the own one.
    const Index from = inputs.shape.first_block == 0 ? in().shape.window * stride : 0;
    const auto rows_from = [&](float* data) { return FloatView{data, 0, 0, stride, 0}; };
    float bias = 0;
    backward_range<Element>(
        inputs,
        {.output = view_of(gradients.output),
         .grad_output = view_of(gradients.grad_output),
         .log_sum = gradients.log_sum + (sweep.batch * in().shape.heads + head) * in().shape.length + row,
         .query = rows_from(scratch.grad_query),
         .key = rows_from(scratch.key.grad_window + from),
         .value = rows_from(scratch.value.grad_window + from),
         .slot_key = rows_from(scratch.key.grad_slots),
         .slot_value = rows_from(scratch.value.grad_slots),
         .slot_bias = nullptr,
         .slot_query = rows_from(scratch.grad_slot_query)},
        {0, 0, 0, 1}, {nullptr, nullptr, nullptr, nullptr, &bias, nullptr, nullptr}, scratch.attend);
    shares.slot_bias[head % in().shape.group] += static_cast<double>(bias);
    store_rows(scratch.grad_query, gradients.query, head, row, inputs.shape.length);
    if (inputs.slot_query.data != nullptr)
      store_rows(scratch.grad_slot_query, gradients.slot_query, head, row, inputs.shape.length);
  }

  void store_rows(const float* from, const ElementView& view, Index head, Index row, Index rows) const {
    Element* to = static_cast<Element*>(view.data) + sweep.batch * view.batch + head * view.head + row * view.row;
    for (Index i = 0; i < rows; ++i) {
      for_vectors(sweep.width(), [&](Index j, Index count) {
        store_row(to + i * view.row + j, load_row(from + i * sweep.stride() + j, count), count);
      });
    }
  }

  /// From the gradient of the sums after a step to that of the sums before it and of the block that came to them.
  void take_back(Index step, const SideOf<Element>& side, const SideScratch& own, const float* sums_before,
                 const FloatView& grad_weights) const {
    const Index block = sweep.taken_at(step), slots = in().shape.slots;
    const auto write = sweep.write_of(side, block);
    rows_of_block_backward(write, own.grad_sums, own.grad_blocks + block % 3 * in().shape.window * sweep.stride(),
                           scratch.sums);
    if (grad_weights.data != nullptr) {
      float* to = rows_of(grad_weights, sweep.batch, sweep.head) + sweep.column_from(gradients.column, block);
      weights_of_block_backward(write, own.grad_sums, to, grad_weights.row, scratch.sums);
    }
    const float* decay = sweep.decay_at(block);
    if (decay == nullptr) return;
    const bool by_block = gradients.decay_blocks > 0;
    if (shares.decay != nullptr)
      decay_backward(own.grad_sums, sums_before, slots, sweep.width(), shares.decay + (by_block ? block : 0),
                     by_block ? gradients.decay_blocks : 1);
    decay_sums(decay, in().decay.slot, slots, sweep.stride(), own.grad_sums);
  }

  /// A block that no step to the left sees: its gradient is complete. It stands in half `half` of the window's.
  void finish(Index block, Index half, const SideOf<Element>& side, const SideScratch& own,
              const RunningSideGradients& to, float* norm_sums) const {
    const Index stride = sweep.stride(), window = in().shape.window, rows = sweep.rows_of_block(block);
    const float* grad = own.grad_window + half * window * stride;
    float* of_slots = own.grad_blocks + block % 3 * window * stride;
    if (block > sweep.taken_at(in().steps() - 1)) set_zero(of_slots, rows * stride);
    const bool apart = side.in.own.data != nullptr;
    if (apart) store_rows(grad, to.own, sweep.head, block * window, rows);
    for (Index i = 0; i < rows && !apart; ++i) {
      float* row = of_slots + i * stride;
      if (side.in.window_norm.weight != nullptr) {
        load_tile(side.rows.from(block * window + i), 1, 1, sweep.width(), scratch.row);
        norm_row_backward(scratch.row, grad + i * stride, sweep.width(), side.in.window_norm, row, norm_sums);
      } else {
        for (Index j = 0; j < stride; j += vector_width) store(row + j, load(row + j) + load(grad + i * stride + j));
      }
    }
    store_rows(of_slots, to.rows, sweep.head, block * window, rows);
  }

  void finish_both(Index block, Index half) const {
    finish(block, half, sweep.key, scratch.key, gradients.key, shares.key_window_norm);
    finish(block, half, sweep.value, scratch.value, gradients.value, shares.value_window_norm);
  }

  void run_step(Index step, Index first) const {
    const Index slots = in().shape.slots, width = in().shape.width, floats = sweep.sum_floats(),
                half = in().shape.window * sweep.stride(), block = sweep.block_of(step);
    const float *key_before = scratch.key.stored + (step - first) * floats,
                *value_before = scratch.value.stored + (step - first) * floats;
    make_slots(sweep.key, key_before + floats, slots, width);
    make_slots(sweep.value, value_before + floats, slots, width);
    set_zero(scratch.key.grad_slots, floats), set_zero(scratch.value.grad_slots, floats);
    for (Index head = sweep.head * in().shape.group; head < (sweep.head + 1) * in().shape.group; ++head)
      attend(step, head);
    if (sweep.sees_slots(step)) {
      slots_backward(sweep.key.in, key_before + floats, slots, width, shares.key_slot_norm, scratch.key);
      slots_backward(sweep.value.in, value_before + floats, slots, width, shares.value_slot_norm, scratch.value);
    }
    if (sweep.taken_at(step) >= 0) {
      take_back(step, sweep.key, scratch.key, key_before, shares.key_weights);
      take_back(step, sweep.value, scratch.value, value_before, shares.value_weights);
    }
    finish_both(block, 1);
    for (const auto* side : {&scratch.key, &scratch.value})
      copy_half(side->grad_window, 0, half), set_zero(side->grad_window, half);
    const Index numbers = in().shape.window * width;
    copy_half(sweep.key.normed, 0, numbers), copy_half(sweep.value.normed, 0, numbers);
    norm_before(block - 1);
  }

  /// The block before block `block`, to its half.
  void norm_before(Index block) const {
    if (block < 1) return;
    norm_block(sweep, sweep.key, block - 1, 0), norm_block(sweep, sweep.value, block - 1, 0);
  }

  void run() const {
    const Index slots = in().shape.slots, width = in().shape.width, at = sums_at(in(), sweep.batch, sweep.head),
                steps = in().steps(), last_block = sweep.blocks() - 1, half = in().shape.window * sweep.stride();
    const auto from = [&](const float* sums) { return sums == nullptr ? nullptr : sums + at; };
    load_sums(from(gradients.key.sums), slots, width, scratch.key.grad_sums);
    load_sums(from(gradients.value.sums), slots, width, scratch.value.grad_sums);
    set_zero(scratch.key.grad_window, 2 * half), set_zero(scratch.value.grad_window, 2 * half);
    norm_block(sweep, sweep.key, last_block, 1), norm_block(sweep, sweep.value, last_block, 1);
    norm_before(last_block);
    for (Index segment = in().checkpoints(); segment >= 0; --segment) {
      const Index first = segment * in().interval(), last = smaller(steps, first + in().interval());
      make_sums(first, last);
      for (Index step = last - 1; step >= first; --step) run_step(step, first);
    }
    if (sweep.past() > 0) finish_both(0, 1);
    if (gradients.key.before != nullptr) store_sums(scratch.key.grad_sums, slots, width, gradients.key.before + at);
    if (gradients.value.before != nullptr)
      store_sums(scratch.value.grad_sums, slots, width, gradients.value.before + at);
  }
};

template <class Element>
void running_backward_head(const RunningInputs& in, const RunningGradients& gradients, Index batch, Index head,
                           const RunningShares& shares, float* memory) {
  Arena arena{memory};
  const auto sweep = sweep_of<Element>(in, batch, head, arena);
  const auto scratch = running_backward_scratch<NumberOf<Element>>(in, arena);
  BackwardSweep<Element>{sweep, gradients, shares, scratch}.run();
}

}  // namespace
}  // namespace linformer::kernels
