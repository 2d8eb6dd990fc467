// Tiny models of every legal causal form, in float64 unless told, with weights large enough that what they say depends
// on what they read. Shape letters: B batch, N length, V vocabulary, K slots, P model.length, W window, r slots a
// block.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/language_model.hpp"
#include "support/errors.hpp"

namespace linformer::test {

struct FormCase {
  std::string name;
  ModelConfig config;
};
/// How GoogleTest prints one.
inline void PrintTo(const FormCase& form, std::ostream* out) { *out << form.name; }

inline ModelConfig small_config(std::int64_t length) {
  ModelConfig config;
  config.length = length;
  config.width = 12;
  config.layers = 2;
  config.heads = 2;
  config.feed_forward = 14;
  config.vocabulary = 19;
  return config;
}

inline FormCase softmax_form(std::int64_t length = 45) {
  FormCase form{"softmax", small_config(length)};
  form.config.attention.kind = AttentionKind::softmax;
  return form;
}

/// `block` summaries: windows of 6, P a multiple of 6; `slots` counts a block.
inline FormCase linformer_form(const std::string& name, std::int64_t length, std::int64_t window, std::int64_t slots,
                               Sharing sharing, Summary summary = Summary::running,
                               Projection projection = Projection::linear) {
  FormCase form{formatted("{}_{}_{}", name, enum_name(projection), enum_name(sharing)), small_config(length)};
  auto& attention = form.config.attention;
  attention.window = window;
  attention.summary = summary;
  attention.projection = projection;
  attention.sharing = sharing;
  attention.slots = summary == Summary::block ? slots * length / window : slots;
  for (auto& letter : form.name) letter = letter == '-' ? '_' : letter;
  return form;
}

constexpr Sharing kSharings[]{Sharing::none, Sharing::headwise, Sharing::key_value, Sharing::layerwise};

/// Each with every way to normalise, with a slot bias and without.
inline void add_normalised(std::vector<FormCase>& forms, const FormCase& form) {
  for (const auto normalise : {Normalise::none, Normalise::keys, Normalise::both}) {
    for (const double bias : {-0.7, std::nan("")}) {
      auto variant = form;
      variant.config.attention.normalise = normalise;
      variant.config.attention.slot_bias = bias;
      variant.name += formatted("_{}_{}", enum_name(normalise), std::isnan(bias) ? "unbiased" : "biased");
      forms.push_back(variant);
    }
  }
}

/// Slots of each layer on their own.
inline FormCase by_layer(FormCase form, std::vector<std::int64_t> slots) {
  form.name += "_by_layer";
  form.config.attention.slots_by_layer = std::move(slots);
  return form;
}

/// Of every form that has keys which stand somewhere.
inline void add_rotary(std::vector<FormCase>& forms) {
  auto periodic = linformer_form("running", 45, 7, 5, Sharing::none, Summary::running, Projection::periodic);
  periodic.config.attention.period = 14;
  auto grouped = linformer_form("grouped", 45, 7, 5, Sharing::none);
  grouped.config.heads = 6, grouped.config.key_value_heads = 3;
  auto whole = linformer_form("unnormalised", 45, 7, 5, Sharing::headwise);
  whole.config.attention.normalise = Normalise::none;
  const auto gated = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::gated);
  const auto cluster = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::cluster);
  for (auto form :
       {gated, cluster, softmax_form(), linformer_form("running", 45, 7, 5, Sharing::headwise), periodic, grouped,
        whole, linformer_form("block", 48, 6, 2, Sharing::none, Summary::block, Projection::dynamic),
        linformer_form("window_alone", 45, 7, 0, Sharing::headwise)}) {
    form.name += "_rotary";
    form.config.position = Position::rotary;
    form.config.rotary_base = 20;  // in these few positions every pair turns
    forms.push_back(form);
  }
}

/// Some layers with full attention, some with slots; with layerwise sharing the first with slots owns the projection.
inline FormCase hybrid(FormCase form, std::vector<std::int64_t> softmax_layers, Position position = Position::learned) {
  form.name += "_hybrid";
  for (const auto layer : softmax_layers) form.name += formatted("_{}", layer);
  form.config.attention.softmax_layers = std::move(softmax_layers);
  form.config.position = position;
  if (position == Position::rotary) form.config.rotary_base = 20;
  return form;
}

inline void add_hybrids(std::vector<FormCase>& forms) {
  auto periodic = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::periodic);
  periodic.config.attention.period = 14;
  auto shared = linformer_form("running", 45, 7, 5, Sharing::layerwise),
       shared_block = linformer_form("block", 48, 6, 2, Sharing::layerwise, Summary::block, Projection::dynamic);
  shared.config.layers = 4, shared_block.config.layers = 3;
  forms.insert(forms.end(),
               {hybrid(linformer_form("running", 45, 7, 5, Sharing::headwise), {0}),
                hybrid(periodic, {1}, Position::rotary), hybrid(shared, {0, 2}), hybrid(shared_block, {0}),
                hybrid(linformer_form("prefix", 45, 0, 5, Sharing::none), {1}),
                hybrid(by_layer(linformer_form("running", 45, 7, 5, Sharing::headwise), {0, 5}), {0}),
                hybrid(linformer_form("window_alone", 45, 7, 0, Sharing::headwise), {1}, Position::rotary)});
}

/// The first positions stay exact: few of them, or the whole first block.
inline void add_sinks(std::vector<FormCase>& forms) {
  auto periodic = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::periodic);
  periodic.config.attention.period = 14;
  auto grouped = linformer_form("grouped", 45, 7, 5, Sharing::none);
  grouped.config.heads = 6, grouped.config.key_value_heads = 3;
  const auto block = [](Projection projection) {
    return linformer_form("block", 48, 6, 2, Sharing::headwise, Summary::block, projection);
  };
  std::int64_t number = 0;
  const auto gated = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::gated);
  const auto cluster = linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::cluster);
  for (auto form : {linformer_form("running", 45, 7, 5, Sharing::headwise), periodic, gated, cluster, grouped,
                    block(Projection::linear), block(Projection::dynamic), block(Projection::convolution),
                    block(Projection::mean), linformer_form("window_alone", 45, 7, 0, Sharing::headwise)}) {
    auto& attention = form.config.attention;
    for (const bool whole : {false, true}) {
      attention.sinks = whole ? *attention.window - (attention.projection == Projection::dynamic ? 1 : 0) : 3;
      // Each second one with other norms and rotary positions.
      const bool rotary = ++number % 4 < 2;
      form.config.position = rotary ? Position::rotary : Position::learned;
      form.config.rotary_base = rotary ? 20 : 0;
      attention.normalise = number % 3 == 0 ? Normalise::none : number % 3 == 1 ? Normalise::keys : Normalise::both;
      forms.push_back(form);
      forms.back().name += formatted("_{}_sinks{}", attention.sinks, rotary ? "_rotary" : "");
    }
  }
  auto mixed = hybrid(linformer_form("running", 45, 7, 5, Sharing::headwise), {1}, Position::rotary);
  mixed.config.attention.sinks = 2;
  mixed.name += "_sinks";
  forms.push_back(mixed);
}

/// Every legal causal combination of kind, projection, sharing, normalisation, slot bias and slots by layer.
inline std::vector<FormCase> causal_forms() {
  std::vector<FormCase> forms{softmax_form()};
  for (const auto sharing : kSharings) {
    forms.push_back(linformer_form("prefix", 137, 0, 5, sharing));  // beyond two chunks of 64
    add_normalised(forms, linformer_form("running", 45, 7, 5, sharing));
    for (const auto projection :
         {Projection::linear, Projection::dynamic, Projection::convolution, Projection::mean, Projection::max}) {
      if (projection == Projection::dynamic && sharing == Sharing::key_value) continue;
      add_normalised(forms, linformer_form("block", 48, 6, 2, sharing, Summary::block, projection));
    }
    auto periodic = linformer_form("running", 45, 7, 5, sharing, Summary::running, Projection::periodic);
    periodic.config.attention.period = 14;
    add_normalised(forms, periodic);
    for (const auto projection : {Projection::gated, Projection::cluster}) {
      if (sharing != Sharing::key_value)
        add_normalised(forms, linformer_form("running", 45, 7, 5, sharing, Summary::running, projection));
    }
    if (sharing == Sharing::layerwise) continue;  // needs equal numbers
    forms.push_back(by_layer(linformer_form("prefix", 45, 0, 5, sharing), {5, 3}));
    forms.push_back(by_layer(linformer_form("running", 45, 7, 5, sharing), {4, 7}));
    forms.push_back(by_layer(linformer_form("block", 48, 6, 2, sharing, Summary::block), {16, 8}));
  }
  forms.push_back(linformer_form("running_of_one", 13, 1, 2, Sharing::headwise));
  add_normalised(forms, linformer_form("window_alone", 45, 7, 0, Sharing::headwise));
  forms.push_back(by_layer(linformer_form("running_and_window_alone", 45, 7, 5, Sharing::headwise), {0, 5}));
  for (auto form : {softmax_form(), linformer_form("running", 45, 7, 5, Sharing::none),
                    linformer_form("prefix", 45, 0, 5, Sharing::headwise),
                    linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::gated),
                    linformer_form("running", 45, 7, 5, Sharing::headwise, Summary::running, Projection::cluster),
                    linformer_form("block", 48, 6, 2, Sharing::headwise, Summary::block, Projection::dynamic)}) {
    form.name += "_modern";
    form.config.heads = 4;
    form.config.key_value_heads = 2;
    form.config.norm = NormKind::rms;
    form.config.feed_forward_kind = FeedForwardKind::swiglu;
    form.config.bias = false;
    forms.push_back(form);
  }
  add_rotary(forms);
  add_hybrids(forms);
  add_sinks(forms);
  auto sinusoidal = linformer_form("sinusoidal", 48, 6, 3, Sharing::headwise, Summary::block);
  sinusoidal.config.position = Position::sinusoidal;
  auto unplaced = linformer_form("unplaced", 45, 7, 5, Sharing::headwise);
  unplaced.config.position = Position::none;
  unplaced.config.tied = true;
  forms.insert(forms.end(), {sinusoidal, unplaced});
  return forms;
}

/// Weights, slot biases and norms drawn anew, wide apart.
inline LanguageModel lively_model(const ModelConfig& config, at::ScalarType dtype = at::kDouble,
                                  std::uint64_t seed = 3) {
  LanguageModel model(config, seed, at::TensorOptions().dtype(dtype));
  auto generator = at::detail::createCPUGenerator(seed + 1);
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : model.parameters()) {
    const bool projection = name.find("projection_") != std::string::npos;
    const double deviation = projection ? 0.2 : parameter.dim() == 1 ? 0.3 : 0.4;
    parameter.add_(at::randn(parameter.sizes(), generator, at::kDouble).mul_(deviation));
  }
  return model;
}

inline at::Tensor random_ids(at::IntArrayRef shape, std::int64_t vocabulary, std::uint64_t seed = 5) {
  return at::randint(0, vocabulary, shape, at::detail::createCPUGenerator(seed), at::kLong);
}

inline std::vector<std::int64_t> to_vector(const at::Tensor& ids_N) {
  const auto whole = ids_N.contiguous();
  return {whole.const_data_ptr<std::int64_t>(), whole.const_data_ptr<std::int64_t>() + whole.numel()};
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace linformer::test
