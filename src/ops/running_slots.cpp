// Shape letters: B batch, M positions, H heads, D head width, K slots, P projection length, W window, T blocks, S = T−2
// blocks that are summed, G groups of heads with a projection of their own (1 or H), C = H/G·D channels of a group.
#include "ops/running_slots.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "ops/checks.hpp"
#include "ops/composed.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Entry t of (B,H,S,K,D) with decay, one after the other; before them the sum of what is before, or zeros.
at::Tensor decayed_sums(const at::Tensor& x_BHSKD, std::int64_t zeros, const at::Tensor& before,
                        const at::Tensor& decay_HK) {
  auto sum = before.defined() ? before : at::zeros_like(x_BHSKD.sum(2));
  std::vector<at::Tensor> entries(before.defined() ? 1 : static_cast<std::size_t>(zeros), sum);
  for (std::int64_t i = 0; i < x_BHSKD.size(2); ++i) {
    sum = sum * decay_HK.unsqueeze(-1) + x_BHSKD.select(2, i);
    entries.push_back(sum);
  }
  return at::stack(entries, 2);
}

/// The same from tensor operations only, which have second derivatives.
at::Tensor composed_running_slots(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t window,
                                  const at::Tensor& before, const at::Tensor& decay) {
  const auto blocks = ceil_divide(x_BHMD.size(2), window), summed = std::max<std::int64_t>(blocks - 2, 0);
  const auto parts = projection.narrow(-1, 0, summed * window).unflatten(-1, {summed, window});
  const auto sums = composed::project_blocks(parts, composed::to_blocks(x_BHMD, 0, summed, window));
  if (decay.defined()) return decayed_sums(sums, std::min<std::int64_t>(blocks, 2), before, decay);
  if (before.defined()) return at::cat({before.unsqueeze(2), before.unsqueeze(2) + exact_cumsum(sums, 2)}, 2);
  return at::constant_pad_nd(exact_cumsum(sums, 2), {0, 0, 0, 0, std::min<std::int64_t>(blocks, 2), 0});
}

/// How the data of one batch entry and one group of heads is laid out in the tensors of a call. x and its gradient are
/// (B,M,H·D), slots are (B,T,K,H·D).
struct Sizes {
  std::int64_t groups, channels, summed, window;

  at::Tensor projection_SKW(const at::Tensor& projection_GKP, std::int64_t group) const {
    return projection_GKP[group].narrow(1, 0, summed * window).unflatten(1, {summed, window}).transpose(0, 1);
  }
  at::Tensor x_SWC(const at::Tensor& x_BMd, std::int64_t batch, std::int64_t group) const {
    return x_BMd[batch]
        .narrow(0, 0, summed * window)
        .unflatten(0, {summed, window})
        .narrow(2, group * channels, channels);
  }
  at::Tensor slots_SKC(const at::Tensor& slots_BSKd, std::int64_t batch, std::int64_t group) const {
    return slots_BSKd[batch].narrow(2, group * channels, channels);
  }
};

Sizes sizes_of(const at::Tensor& projection_GKP, const at::Tensor& x_BHMD, std::int64_t window) {
  const auto groups = projection_GKP.size(0);
  return {groups, x_BHMD.size(1) * x_BHMD.size(3) / groups,
          std::max<std::int64_t>(ceil_divide(x_BHMD.size(2), window) - 2, 0), window};
}

at::Tensor with_groups(const at::Tensor& projection) {
  return projection.dim() == 2 ? projection.unsqueeze(0) : projection;
}

/// (B,H,M,D) → (B,M,H·D); no copy where it lies so.
at::Tensor by_position(const at::Tensor& x_BHMD) { return x_BHMD.transpose(1, 2).flatten(2); }
/// (B,H,K,D) → (B,K,H·D).
at::Tensor by_slot(const at::Tensor& sums_BHKD) { return by_position(sums_BHKD); }
/// A number for each head and slot (H,K), for each channel of x: (K,H·D), in float32 at least.
at::Tensor by_channel(const at::Tensor& x_HK, const at::Tensor& x_BHMD) {
  return wide(x_HK).t().unsqueeze(-1).expand({-1, -1, x_BHMD.size(3)}).flatten(1);
}

/// Running sums over dimension 1, in float32 at least; `first` = true: entry t becomes the sum of `sum` (if defined)
/// and 0..t, else of t..last. With `decay` (K,d), what is summed so far is multiplied by it at each entry. Returns the
/// last sum.
at::Tensor sum_in_place(const at::Tensor& x_BSKd, bool first, at::Tensor sum, const at::Tensor& decay_Kd) {
  const auto count = x_BSKd.size(1);
  const bool wide = !is_short_float(x_BSKd);
  for (std::int64_t i = 0; i < count; ++i) {
    auto entry = x_BSKd.select(1, first ? i : count - 1 - i);
    if (!sum.defined()) {
      sum = wide ? entry : entry.to(at::kFloat);
    } else if (wide) {
      sum = decay_Kd.defined() ? entry.addcmul_(sum, decay_Kd) : entry.add_(sum);
    } else {
      if (decay_Kd.defined()) sum.mul_(decay_Kd);
      entry.copy_(sum.add_(entry));
    }
  }
  return sum;
}

class RunningSlots : public torch::autograd::Function<RunningSlots> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& projection, const at::Tensor& x_BHMD,
                            const std::optional<at::Tensor>& before, const std::optional<at::Tensor>& decay,
                            std::int64_t window) {
    const auto projection_GKP = with_groups(projection);
    const auto sizes = sizes_of(projection_GKP, x_BHMD, window);
    const auto x_BMd = by_position(x_BHMD);
    const auto batch = x_BHMD.size(0), heads = x_BHMD.size(1);
    const auto blocks = ceil_divide(x_BHMD.size(2), window) - (before ? 1 : 0);
    const auto slots_BTKd = at::empty({batch, blocks, projection.size(-2), x_BMd.size(2)}, x_BMd.options());
    const auto first_sum_B1Kd = before ? by_slot(*before).unsqueeze(1) : at::zeros({1}, x_BMd.options());
    slots_BTKd.narrow(1, 0, blocks - sizes.summed).copy_(first_sum_B1Kd);
    const auto summed_BSKd = slots_BTKd.narrow(1, blocks - sizes.summed, sizes.summed);
    for (std::int64_t b = 0; b < batch && sizes.summed > 0; ++b) {
      for (std::int64_t group = 0; group < sizes.groups; ++group) {
        auto out_SKC = sizes.slots_SKC(summed_BSKd, b, group);
        at::bmm_out(out_SKC, sizes.projection_SKW(projection_GKP, group), sizes.x_SWC(x_BMd, b, group));
      }
    }
    // A copy, since sums are computed in place.
    const auto decay_Kd = decay ? by_channel(*decay, x_BHMD) : at::Tensor();
    sum_in_place(summed_BSKd, true, before ? wide(by_slot(*before)).clone() : at::Tensor(), decay_Kd);
    const auto slots = slots_BTKd.unflatten(3, {heads, x_BHMD.size(3)}).permute({0, 3, 1, 2, 4});
    context->save_for_backward({projection, x_BHMD, before.value_or(at::Tensor()), decay.value_or(at::Tensor()),
                                decay ? slots : at::Tensor()});
    context->saved_data["window"] = window;
    return slots;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto window = context->saved_data["window"].toInt();
    if (at::GradMode::is_enabled()) return derivable_backward({saved.begin(), saved.begin() + 4}, gradients[0], window);
    const auto projection_GKP = with_groups(saved[0]);
    const auto sizes = sizes_of(projection_GKP, saved[1], window);
    const auto x_BMd = by_position(saved[1]);
    const auto blocks = gradients[0].size(2);
    // A copy, because others may hold the gradient; the running sums are computed in place.
    const auto grad_BSKd = gradients[0]
                               .narrow(2, blocks - sizes.summed, sizes.summed)
                               .permute({0, 2, 3, 1, 4})
                               .clone(at::MemoryFormat::Contiguous)
                               .flatten(3);
    const auto& decay = saved[3];
    const auto decay_Kd = decay.defined() ? by_channel(decay, saved[1]) : at::Tensor();
    const auto last_sum_BKd = sum_in_place(grad_BSKd, false, {}, decay_Kd);
    const auto grad_projection_GKP = context->needs_input_grad(0) ? at::zeros_like(projection_GKP) : at::Tensor();
    const auto grad_x_BMd = context->needs_input_grad(1) ? at::empty(x_BMd.sizes(), x_BMd.options()) : at::Tensor();
    if (grad_x_BMd.defined())
      grad_x_BMd.narrow(1, sizes.summed * window, x_BMd.size(1) - sizes.summed * window).zero_();
    for (std::int64_t b = 0; b < x_BMd.size(0) && sizes.summed > 0; ++b) {
      for (std::int64_t group = 0; group < sizes.groups; ++group) {
        const auto grad_SKC = sizes.slots_SKC(grad_BSKd, b, group);
        if (grad_projection_GKP.defined()) {
          sizes.projection_SKW(grad_projection_GKP, group)
              .baddbmm_(grad_SKC, sizes.x_SWC(x_BMd, b, group).transpose(1, 2));
        }
        if (grad_x_BMd.defined()) {
          auto grad_SWC = sizes.x_SWC(grad_x_BMd, b, group);
          at::bmm_out(grad_SWC, sizes.projection_SKW(projection_GKP, group).transpose(1, 2), grad_SKC);
        }
      }
    }
    return {grad_projection_GKP.defined() ? grad_projection_GKP.view(saved[0].sizes()) : at::Tensor(),
            grad_x_BMd.defined() ? grad_x_BMd.unflatten(2, {saved[1].size(1), saved[1].size(3)}).transpose(1, 2)
                                 : at::Tensor(),
            saved[2].defined() ? grad_of_before(gradients[0], saved[2], last_sum_BKd, decay) : at::Tensor(),
            decay.defined() ? grad_of_decay(grad_BSKd, saved[4], decay) : at::Tensor(),
            {}};
  }

 private:
  // Every entry holds the sum before. `later_BKd`: what all entries but the first give; undefined when there is one.
  static at::Tensor grad_of_before(const at::Tensor& gradient_BHTKD, const at::Tensor& before_BHKD,
                                   const at::Tensor& later_BKd, const at::Tensor& decay) {
    const auto first = gradient_BHTKD.select(2, 0);
    if (!later_BKd.defined()) return first.to(before_BHKD.scalar_type());
    auto later = later_BKd.unflatten(2, {before_BHKD.size(1), before_BHKD.size(3)}).permute({0, 2, 1, 3});
    if (decay.defined()) later = later * decay.unsqueeze(-1);
    return (later + first).to(before_BHKD.scalar_type());
  }

  // Entry t is λ times entry t−1, plus a block: Σ over entries, sequences and channels of gradient ⊙ entry t−1.
  static at::Tensor grad_of_decay(const at::Tensor& grad_BSKd, const at::Tensor& slots_BHTKD,
                                  const at::Tensor& decay_HK) {
    auto sum_HK = at::zeros_like(wide(decay_HK));
    const auto summed = grad_BSKd.size(1), start = slots_BHTKD.size(2) - summed - 1;
    for (std::int64_t i = 0; i < summed; ++i) {
      const auto grad_BHKD = grad_BSKd.select(1, i).unflatten(2, {slots_BHTKD.size(1), -1}).permute({0, 2, 1, 3});
      sum_HK.add_(at::mul(wide(grad_BHKD), wide(slots_BHTKD.select(2, start + i))).sum({0, 3}));
    }
    return sum_HK.to(decay_HK.scalar_type());
  }

  static variable_list derivable_backward(const variable_list& inputs, const at::Tensor& gradient,
                                          std::int64_t window) {
    auto results = derivable_gradients(
        [window](const Tensors& x) -> Tensors { return {composed_running_slots(x[0], x[1], window, x[2], x[3])}; },
        inputs, {gradient});
    results.emplace_back();
    return results;
  }
};

}  // namespace

at::Tensor running_slots(const at::Tensor& projection, const at::Tensor& x_BHMD, std::int64_t window,
                         const at::Tensor& before, const at::Tensor& decay) {
  const auto given = [](const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; };
  return RunningSlots::apply(projection, x_BHMD, given(before), given(decay), window);
}

}  // namespace linformer::ops
