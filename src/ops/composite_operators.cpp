// Shape letters: see ops/attention.hpp.
#include "ops/composite_operators.hpp"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "linformer/ops/autocast.hpp"
#include "linformer/ops/reference.hpp"
#include "ops/checks.hpp"
#include "ops/operator_node.hpp"

namespace linformer::ops {

namespace {

using MaybeTensor = std::optional<at::Tensor>;

/// How a call is computed: with the fastest operations, and with such that can be derived twice.
struct CompositeCall {
  Composite forward, derivable;
};

at::Tensor listed(const at::Tensor& x) { return x; }
at::Tensor listed(const MaybeTensor& x) { return or_undefined(x); }
template <class T>
T unlisted(const at::Tensor& x) {
  if constexpr (std::is_same_v<T, MaybeTensor>) {
    return or_none(x);
  } else {
    return x;
  }
}

/// What of a number a gradient may keep: names live on.
template <class T>
T kept(T number) {
  return number;
}
inline std::string_view kept(std::string_view path) { return path_name(any_path(path)); }

template <class... T>
struct List {};

template <std::size_t>
using One = at::Tensor;

/// The operator Form::name, with a gradient operator, from Form::call(numbers…) and Form::shape(tensors…, numbers…).
template <class Form, class TensorArguments = typename Form::TensorArguments, class Numbers = typename Form::Numbers>
struct CompositeOperator;

template <class Form, class... TensorArguments, class... Numbers>
struct CompositeOperator<Form, List<TensorArguments...>, List<Numbers...>> {
  using Indices = std::index_sequence_for<TensorArguments...>;
  template <std::size_t... i>
  static std::tuple<One<i>...> tuple_type(std::index_sequence<i...>);
  using Gradients = decltype(tuple_type(Indices()));
  using ForwardSignature = at::Tensor(const TensorArguments&..., Numbers...);
  using BackwardSignature = Gradients(const at::Tensor&, const TensorArguments&..., Numbers...);

  static at::Tensor forward(const TensorArguments&... tensors, Numbers... numbers) {
    const Tensors inputs{listed(tensors)...};
    const AutocastOff autocast_off(inputs[0].device().type());
    return Form::call(numbers...).forward(inputs)[0].clone(at::MemoryFormat::Contiguous);
  }

  static Gradients backward(const at::Tensor& grad_out, const TensorArguments&... tensors, Numbers... numbers) {
    const AutocastOff autocast_off(grad_out.device().type());
    return as_tuple(gradients_of(Form::call(numbers...).forward, {listed(tensors)...}, {grad_out}), Indices());
  }

  static Gradients backward_shapes(const at::Tensor& grad_out, const TensorArguments&... tensors, Numbers...) {
    Tensors gradients;
    for (const auto& x : {listed(tensors)...}) {
      const bool real = x.defined() && at::isFloatingType(x.scalar_type());
      gradients.push_back(real ? at::empty_symint(x.sym_sizes(), x.options()) : nothing_like(grad_out));
    }
    return as_tuple(gradients, Indices());
  }

  static at::Tensor forward_with_gradient(const TensorArguments&... tensors, Numbers... numbers) {
    const auto run = [&] { return Tensors{call_forward(tensors..., numbers...)}; };
    const auto numbers_kept = std::make_tuple(kept(numbers)...);
    const auto gradient = [numbers_kept](const SavedCall& saved, const Tensors& grads) {
      auto found = call_backward(grads[0], saved.inputs, numbers_kept, Indices());
      for (auto& gradient_of_one : found) gradient_of_one = unless_nothing(gradient_of_one);
      return found;
    };
    return with_gradient(Form::node, {listed(tensors)...}, 1, run, gradient)[0];
  }

  static Gradients backward_with_gradient(const at::Tensor& grad_out, const TensorArguments&... tensors,
                                          Numbers... numbers) {
    const Tensors inputs{listed(tensors)...};
    Tensors all{grad_out};
    all.insert(all.end(), inputs.begin(), inputs.end());
    const auto numbers_given = std::make_tuple(numbers...);
    const auto run = [&] { return call_backward(grad_out, inputs, numbers_given, Indices()); };
    const auto gradient = [composite = Form::call(numbers...).derivable](const SavedCall& saved, const Tensors& grads) {
      return second_gradients(composite, 1, saved, grads);
    };
    return as_tuple(with_gradient(Form::second_node, all, inputs.size(), run, gradient), Indices());
  }

  static at::Tensor call_forward(const TensorArguments&... tensors, Numbers... numbers) {
    static const auto handle = operator_named<ForwardSignature>(Form::name);
    return handle.call(tensors..., numbers...);
  }

  template <std::size_t... i>
  static Tensors call_backward(const at::Tensor& grad_out, const Tensors& inputs, const std::tuple<Numbers...>& numbers,
                               std::index_sequence<i...>) {
    static const auto handle = operator_named<BackwardSignature>(Form::backward_name);
    const auto gradients = std::apply(
        [&](auto... each) { return handle.call(grad_out, unlisted<TensorArguments>(inputs[i])..., each...); }, numbers);
    return {std::get<i>(gradients)...};
  }

  template <std::size_t... i>
  static Gradients as_tuple(const Tensors& x, std::index_sequence<i...>) {
    return {x[i]...};
  }

  static void implement(torch::Library& library) {
    library.impl(Form::name, forward);
    library.impl(Form::backward_name, backward);
  }
  static void implement_shapes(torch::Library& library) {
    library.impl(Form::name, Form::shape);
    library.impl(Form::backward_name, backward_shapes);
  }
  static void implement_gradients(torch::Library& library) {
    library.impl(Form::name, forward_with_gradient);
    library.impl(Form::backward_name, backward_with_gradient);
  }
};

struct SoftmaxForm {
  using TensorArguments = List<at::Tensor, at::Tensor, at::Tensor, MaybeTensor>;
  using Numbers = List<bool, std::optional<double>, std::string_view>;
  static constexpr const char *name = "linformer::softmax_attention_forward",
                              *backward_name = "linformer::softmax_attention_backward",
                              *node = "SoftmaxAttentionBackward", *second_node = "SoftmaxAttentionSecondBackward";

  static CompositeCall call(bool causal, std::optional<double> scale, std::string_view path) {
    const auto by = [=](Path taken) {
      return [=](const Tensors& x) -> Tensors {
        return {direct::softmax_attention(
            x[0], x[1], x[2], {.causal = causal, .key_padding_mask = or_none(x[3]), .scale = scale, .path = taken})};
      };
    };
    return {by(any_path(path)), by(Path::composed)};
  }

  static at::Tensor shape(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const MaybeTensor& key_padding_mask, bool, std::optional<double>, std::string_view) {
    if (sizes_are_known({query, key, value})) {
      check_query_key_value(query, key, value);
      check_padding_mask(key_padding_mask, key);
    }
    return at::empty_symint(query.sym_sizes(), query.options());
  }
};

struct PrefixForm {
  using TensorArguments = List<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, MaybeTensor, MaybeTensor>;
  using Numbers = List<std::int64_t, std::optional<double>, std::string_view>;
  static constexpr const char *name = "linformer::prefix_attention_forward",
                              *backward_name = "linformer::prefix_attention_backward",
                              *node = "PrefixAttentionBackward", *second_node = "PrefixAttentionSecondBackward";

  static CompositeCall call(std::int64_t chunk, std::optional<double> scale, std::string_view path) {
    const auto by = [=, taken = any_path(path)](const Tensors& x) -> Tensors {
      PrefixOptions options{.chunk = chunk, .scale = scale, .path = taken};
      if (x[5].defined()) options.before = Slots{x[5], x[6]};
      return {direct::prefix_attention(x[0], x[1], x[2], x[3], x[4], options)};
    };
    return {by, by};
  }

  static at::Tensor shape(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const at::Tensor& projection_key, const at::Tensor& projection_value, const MaybeTensor&,
                          const MaybeTensor&, std::int64_t, std::optional<double>, std::string_view) {
    if (sizes_are_known({query, key, value, projection_key, projection_value})) {
      check_query_key_value(query, key, value);
      check_same_length(query, key);
      check_projections(projection_key, projection_value, key, key.size(2), false);
    }
    return at::empty_symint(query.sym_sizes(), query.options());
  }
};

/// Slots of keys or of values.
struct SlotsForm {
  using TensorArguments = List<at::Tensor, at::Tensor, MaybeTensor, MaybeTensor, MaybeTensor>;
  using Numbers = List<std::int64_t, bool, std::string_view>;
  static constexpr const char *name = "linformer::linear_slots_forward",
                              *backward_name = "linformer::linear_slots_backward", *node = "LinearSlotsBackward",
                              *second_node = "LinearSlotsSecondBackward";

  static CompositeCall call(std::int64_t window, bool block, std::string_view path) {
    const auto by = [=, reference = any_path(path) == Path::reference](const Tensors& x) -> Tensors {
      SummariseOptions options{
          .window = window, .block = block, .key_padding_mask = or_none(x[2]), .decay = or_none(x[4])};
      if (x[3].defined()) options.before = Slots{x[3], x[3]};
      check_linear_summary(x[0], x[0], x[1], x[1], options);
      return {reference ? reference::summarise_linear(x[0], x[0], x[1], x[1], options).key
                        : linear_slots(x[1], x[0], options, x[3])};
    };
    return {by, by};
  }

  static at::Tensor shape(const at::Tensor& x, const at::Tensor& projection, const MaybeTensor&,
                          const MaybeTensor& before, const MaybeTensor&, std::int64_t window, bool block,
                          std::string_view path) {
    const auto batch = x.sym_size(0), heads = x.sym_size(1), length = x.sym_size(2), width = x.sym_size(3),
               slots = projection.sym_size(-2);
    const auto options = x.options().dtype(any_path(path) == Path::reference ? wide_type(x) : x.scalar_type());
    if (window == 0) return at::empty_symint({batch, heads, slots, width}, options);
    const auto blocks = (length + (window - 1)) / window;
    if (block) return at::empty_symint({batch, heads, blocks * slots, width}, options);
    return at::empty_symint({batch, heads, blocks - (before ? 1 : 0), slots, width}, options);
  }
};

TORCH_LIBRARY_FRAGMENT(linformer, library) {
  library.def(
      "softmax_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, bool causal, "
      "float? scale, str path) -> Tensor");
  library.def(
      "softmax_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, "
      "bool causal, float? scale, str path) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "prefix_attention_forward(Tensor query, Tensor key, Tensor value, Tensor projection_key, "
      "Tensor projection_value, Tensor? before_key, Tensor? before_value, int chunk, float? scale, str path) -> "
      "Tensor");
  library.def(
      "prefix_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor projection_key, "
      "Tensor projection_value, Tensor? before_key, Tensor? before_value, int chunk, float? scale, str path) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "linear_slots_forward(Tensor x, Tensor projection, Tensor? key_padding_mask, Tensor? before, Tensor? decay, "
      "int window, bool block, str path) -> Tensor");
  library.def(
      "linear_slots_backward(Tensor grad_out, Tensor x, Tensor projection, Tensor? key_padding_mask, Tensor? before, "
      "Tensor? decay, int window, bool block, str path) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(linformer, CompositeExplicitAutograd, library) {
  CompositeOperator<SoftmaxForm>::implement(library);
  CompositeOperator<PrefixForm>::implement(library);
  CompositeOperator<SlotsForm>::implement(library);
}
TORCH_LIBRARY_IMPL(linformer, Meta, library) {
  CompositeOperator<SoftmaxForm>::implement_shapes(library);
  CompositeOperator<PrefixForm>::implement_shapes(library);
  CompositeOperator<SlotsForm>::implement_shapes(library);
}
TORCH_LIBRARY_IMPL(linformer, Autograd, library) {
  CompositeOperator<SoftmaxForm>::implement_gradients(library);
  CompositeOperator<PrefixForm>::implement_gradients(library);
  CompositeOperator<SlotsForm>::implement_gradients(library);
}

}  // namespace

at::Tensor softmax_attention_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                         const SoftmaxOptions& options) {
  // The engine's fused attention takes autocast's dtype; the other paths keep theirs.
  const bool fused = options.path == Path::automatic || options.path == Path::fused;
  const auto cast = [&](const at::Tensor& x) { return fused ? as_autocast(x) : x; };
  return CompositeOperator<SoftmaxForm>::call_forward(cast(query), cast(key), cast(value), options.key_padding_mask,
                                                      options.causal, options.scale, path_name(options.path));
}

at::Tensor prefix_attention_as_operator(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                        const at::Tensor& projection_key, const at::Tensor& projection_value,
                                        const PrefixOptions& options) {
  const auto before = options.before.value_or(Slots{});
  return CompositeOperator<PrefixForm>::call_forward(query, key, value, projection_key, projection_value,
                                                     or_none(before.key), or_none(before.value), options.chunk,
                                                     options.scale, path_name(options.path));
}

Slots summarise_linear_as_operator(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                                   const at::Tensor& projection_value, const SummariseOptions& options,
                                   bool reference) {
  // Autocast changes the dtype of plain products; running sums keep theirs, and so does the reference.
  const bool products = !reference && (options.window == 0 || options.block);
  const auto slots_of = [&](const at::Tensor& x, const at::Tensor& projection, const at::Tensor& before) {
    return CompositeOperator<SlotsForm>::call_forward(
        products ? as_autocast(x) : x, products ? as_autocast(projection) : projection, options.key_padding_mask,
        or_none(before), options.decay, options.window, options.block,
        path_name(reference ? Path::reference : Path::composed));
  };
  const auto before = options.before.value_or(Slots{});
  return {slots_of(key, projection_key, before.key), slots_of(value, projection_value, before.value)};
}

}  // namespace linformer::ops
