// Forward sweep of kernels/running.hpp.
#pragma once

#include "kernels/attend_forward.hpp"
#include "kernels/running_sweep.hpp"

namespace linformer::kernels {
namespace {

template <class Number>
struct RunningForwardScratch {
  SumScratch<Number> sums;
  float *key_sums, *value_sums, *attend;
};

template <class Number>
RunningForwardScratch<Number> running_forward_scratch(const RunningInputs& in, Arena& arena) {
  const Index floats = in.shape.slots * whole_vectors(in.shape.width);
  return {sum_scratch<Number>(arena, in.shape.slots, in.shape.width), arena.take<float>(floats),
          arena.take<float>(floats), arena.take<float>(backward_scratch_floats(in.shape.width))};
}

/// Where the numbers of one head (B,G,K,D) begin.
inline Index sums_at(const RunningInputs& in, Index batch, Index head) {
  return (batch * in.key_heads() + head) * in.shape.slots * in.shape.width;
}

/// Checkpoint `number` of a head: S and then U, each (K,D).
inline Index checkpoint_at(const RunningInputs& in, Index batch, Index head, Index number) {
  return 2 * ((batch * in.key_heads() + head) * in.checkpoints() + number) * in.shape.slots * in.shape.width;
}

template <class Element>
void running_forward_head(const RunningInputs& in, const RunningOutputs& out, Index batch, Index head, float* memory) {
  Arena arena{memory};
  const auto sweep = sweep_of<Element>(in, batch, head, arena);
  const auto scratch = running_forward_scratch<NumberOf<Element>>(in, arena);
  const auto& shape = in.shape;
  const Index slots = shape.slots, width = shape.width, half = shape.window * width, interval = in.interval();
  load_sums(sweep.key.before, slots, width, scratch.key_sums);
  load_sums(sweep.value.before, slots, width, scratch.value_sums);
  if (sweep.past() > 0) norm_block(sweep, sweep.key, 0, 0), norm_block(sweep, sweep.value, 0, 0);
  for (Index step = 0; step < in.steps(); ++step) {
    if (out.checkpoints != nullptr && step > 0 && step % interval == 0) {
      float* to = out.checkpoints + checkpoint_at(in, batch, head, step / interval - 1);
      store_sums(scratch.key_sums, slots, width, to);
      store_sums(scratch.value_sums, slots, width, to + slots * width);
    }
    advance(sweep, step, scratch.key_sums, scratch.value_sums, scratch.sums);
    if (sweep.sees_slots(step)) {
      make_slots(sweep.key, scratch.key_sums, slots, width);
      make_slots(sweep.value, scratch.value_sums, slots, width);
    }
    norm_block(sweep, sweep.key, sweep.block_of(step), 1);
    norm_block(sweep, sweep.value, sweep.block_of(step), 1);
    for (Index own = head * shape.group; own < (head + 1) * shape.group; ++own) {
      const auto& to = out.output;
      Element* rows = static_cast<Element*>(to.data) + batch * to.batch + own * to.head + step * shape.window * to.row;
      float* log_sum = out.log_sum + (batch * shape.heads + own) * shape.length + step * shape.window;
      forward_range<Element>(step_inputs(sweep, step, own), {rows, 0, 0, to.row, log_sum}, {0, 0, 0, 1},
                             scratch.attend);
    }
    copy_half(sweep.key.normed, 1, half), copy_half(sweep.value.normed, 1, half);
  }
  store_sums(scratch.key_sums, slots, width, out.key_sums + sums_at(in, batch, head));
  store_sums(scratch.value_sums, slots, width, out.value_sums + sums_at(in, batch, head));
}

}  // namespace
}  // namespace linformer::kernels
