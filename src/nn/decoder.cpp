// Shape letters: docs/maths.md; B sequences at work.
#include "linformer/nn/decoder.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "kernels/engine_threads.hpp"
#include "kernels/packed_linear.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "nn/decoder_attention.hpp"
#include "nn/decoder_norm.hpp"
#include "nn/parameters.hpp"
#include "nn/position.hpp"
#include "nn/thread_team.hpp"

namespace linformer {

using kernels::DecodeKernels, kernels::PackedLinear, kernels::padded;

namespace {

// Rows of floats. Each has padded memory after its end, which stays zero.
struct Rows {
  std::int64_t stride = 0;
  std::vector<float> data;
  Rows() = default;
  Rows(std::int64_t count, std::int64_t width)
      : stride(padded(width)), data(static_cast<std::size_t>(count * stride)) {}
  float* row(std::int64_t index) { return data.data() + index * stride; }
};

struct DecoderLayer {
  nn::DecoderNorm attention_norm, feed_forward_norm;
  PackedLinear input, output, up, down;  // input: query, key, value and scores; up of swiglu: gate, then up
  std::unique_ptr<nn::DecoderAttention> attention;
};

// What one thread needs to attend, for each layer.
using Scratch = std::vector<nn::DecoderAttention::Scratch>;

at::Tensor as_float(const at::Tensor& tensor) { return tensor.detach().to(at::kFloat).contiguous(); }

}  // namespace

struct Decoder::Impl {
  ModelConfig config;
  WeightFormat format;
  bool storable;
  kernels::Isa isa;
  const DecodeKernels& kernels;
  at::Tensor token_embedding, position_embedding;
  std::shared_ptr<const nn::Rotation> rotation;
  std::vector<DecoderLayer> layers;
  nn::DecoderNorm final_norm;
  PackedLinear head;
  std::vector<Scratch> members;

  std::vector<std::int64_t> positions, places;  // places: where each sequence stands in the layers' states
  Rows x, normed, inputs, attended, hidden, logits;
  Rows gates;                          // of swiglu: gate, then up
  Rows turns;                          // of rotary positions
  std::vector<std::int16_t> integers;  // what int8 products read
  std::vector<float> scales;
  bool loaded = false;  // a state, and no step since

  Impl(const LanguageModel& model, const DecoderOptions& options);
  void make_buffers();
  void embed(std::span<const std::int64_t> ids);
  void operator()(int member);
  void work_layer(int member, std::size_t index);
  void normalise(int member, const nn::DecoderNorm& norm);
  void gate(int member);
  void multiply(int member, const PackedLinear& linear, Rows& from, Rows& to, bool add, bool gelu);
  std::int64_t batch() const { return static_cast<std::int64_t>(positions.size()); }

  struct OutputAlone {  // a job
    Impl* impl;
    void operator()(int member) { impl->multiply(member, impl->head, impl->normed, impl->logits, false, false); }
  } output_alone{this};
  std::unique_ptr<nn::ThreadTeam> team;  // last, since its threads use all the rest
};

std::string Decoder::obstacle(const LanguageModel& model) {
  const auto& weight = model.output_weight();
  if (!model.config().causal) return "the model is bidirectional";
  if (!weight.device().is_cpu()) return "the model is on " + weight.device().str();
  if (weight.scalar_type() != at::kFloat && weight.scalar_type() != at::kBFloat16)
    return std::string("the model's weights are ") + c10::toString(weight.scalar_type());
  return "";
}

Decoder::Impl::Impl(const LanguageModel& model, const DecoderOptions& options)
    : config(model.config()),
      format(options.format),
      storable(options.storable),
      isa(kernels::current_isa()),
      kernels(kernels::decode_kernels(isa)) {
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : model.parameters()) named.emplace(name, as_float(tensor));
  const auto global = [&](const std::string& name) {
    const auto found = named.find(name);
    return found == named.end() ? at::Tensor() : found->second;
  };
  const auto find = [&](std::int64_t layer, const std::string& name) {
    return global(formatted("blocks.{}.{}", layer, name));
  };
  const at::NoGradGuard no_grad;
  nn::Parameters parameters([&](const std::string& name, at::IntArrayRef) { return named.at(name); });
  nn::SharedParts shared(config);
  rotation = shared.rotation;
  std::int64_t owner = 0;  // of what layers share: the first that has slots
  while (owner + 1 < config.layers && config.is_softmax(owner)) ++owner;
  const auto pack = [&](std::int64_t layer, std::initializer_list<std::string> names) {
    std::vector<at::Tensor> weights, biases;
    for (const auto& name : names) {
      const bool own = find(layer, name + ".weight").defined();
      weights.push_back(find(own ? layer : owner, name + ".weight"));
      biases.push_back(find(own ? layer : owner, name + ".bias"));
    }
    const bool biased = std::ranges::any_of(biases, [](const at::Tensor& bias) { return bias.defined(); });
    for (std::size_t i = 0; biased && i < biases.size(); ++i) {  // a gate has a bias in any model
      if (!biases[i].defined()) biases[i] = at::zeros({weights[i].size(0)});
    }
    const auto weight = at::cat(weights), bias = biased ? at::cat(biases) : at::Tensor();
    PackedLinear linear(weight.size(0), weight.size(1), format, kernels);
    linear.set_rows(0, weight.size(0), weight.const_data_ptr<float>(),
                    bias.defined() ? bias.const_data_ptr<float>() : nullptr);
    return linear;
  };
  const std::string scores =
      config.attention.projection == Projection::gated ? "attention.gate" : "attention.projection";
  const bool swiglu = config.feed_forward_kind == FeedForwardKind::swiglu;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const auto block = formatted("blocks.{}", i);
    const auto norm = [&](const std::string& name) {
      return nn::DecoderNorm(nn::Norm(parameters, formatted("{}.{}", block, name), config.width, config));
    };
    auto attention = nn::make_decoder_attention({parameters, config, i, block + ".attention", shared});
    if (storable) attention->keep_raw();
    auto input = attention->score_rows() > 0 ? pack(i, {"attention.query", "attention.key", "attention.value", scores})
                                             : pack(i, {"attention.query", "attention.key", "attention.value"});
    layers.push_back({norm("attention_norm"), norm("feed_forward_norm"), std::move(input),
                      pack(i, {"attention.output"}),
                      swiglu ? pack(i, {"feed_forward.gate", "feed_forward.up"}) : pack(i, {"feed_forward.up"}),
                      pack(i, {"feed_forward.down"}), std::move(attention)});
  }
  token_embedding = global("token_embedding.weight");
  if (const nn::PositionEmbedding position(parameters, config); position.rows().defined())
    position_embedding = as_float(position.rows());
  final_norm = nn::DecoderNorm(nn::Norm(parameters, "final_norm", config.width, config));
  const auto output = as_float(model.output_weight());
  head = PackedLinear(output.size(0), output.size(1), format, kernels);
  head.set_rows(0, output.size(0), output.const_data_ptr<float>(), nullptr);
  const int threads = options.threads > 0 ? options.threads : at::get_num_threads();
  members.resize(static_cast<std::size_t>(threads));
  for (auto& member : members) {
    for (const auto& layer : layers) member.push_back(layer.attention->scratch());
  }
  team = std::make_unique<nn::ThreadTeam>(threads);
}

void Decoder::Impl::make_buffers() {
  const auto count = batch(), widest = std::max(config.width, config.hidden_width());
  x = Rows(count, config.width);
  std::int64_t scores = 0;  // layers may have different numbers of slots
  for (const auto& layer : layers) scores = std::max(scores, layer.attention->score_rows());
  inputs = Rows(count, config.width + 2 * config.state_heads() * config.head_width() + scores);
  attended = Rows(count, config.width);
  hidden = Rows(count, config.hidden_width());
  if (config.feed_forward_kind == FeedForwardKind::swiglu) gates = Rows(count, 2 * config.hidden_width());
  if (*rotation) turns = Rows(count, config.head_width());
  logits = Rows(count, config.vocabulary);
  normed = Rows(count, config.width);
  integers.assign(static_cast<std::size_t>(count * padded(widest)), 0);
  scales.assign(static_cast<std::size_t>(count), 0.0F);
}

void Decoder::Impl::embed(std::span<const std::int64_t> ids) {
  for (std::int64_t row = 0; row < batch(); ++row) {
    const auto index = static_cast<std::size_t>(row);
    const float* token = token_embedding.const_data_ptr<float>() + ids[index] * config.width;
    std::copy_n(token, config.width, x.row(row));
    if (*rotation) rotation->turn(positions[index], turns.row(row));
    if (!position_embedding.defined()) continue;
    const float* position = position_embedding.const_data_ptr<float>() + positions[index] * config.width;
    for (std::int64_t i = 0; i < config.width; ++i) x.row(row)[i] += position[i];
  }
}

void Decoder::Impl::normalise(int member, const nn::DecoderNorm& norm) {
  team->share(member, batch(), 1, [&](std::int64_t row, std::int64_t) { norm(kernels, x.row(row), normed.row(row)); });
}

void Decoder::Impl::gate(int member) {
  const auto width = config.hidden_width(), part = padded((width + team->size() - 1) / team->size());
  const auto parts = (width + part - 1) / part;
  team->share(member, batch() * parts, 1, [&](std::int64_t item, std::int64_t) {
    const auto row = item / parts, first = item % parts * part;
    const float* gate_row = gates.row(row) + first;
    kernels.swiglu(gate_row, gate_row + width, std::min(part, width - first), hidden.row(row) + first);
  });
}

void Decoder::Impl::multiply(int member, const PackedLinear& linear, Rows& from, Rows& to, bool add, bool gelu) {
  const auto stride = padded(linear.columns()), rows = linear.padded_rows();
  if (format == WeightFormat::int8) {
    team->share(member, batch(), 1, [&](std::int64_t row, std::int64_t) {
      kernels.quantise(from.row(row), linear.columns(), linear.quantise_limit(), integers.data() + row * stride,
                       &scales[static_cast<std::size_t>(row)]);
    });
  }
  const kernels::Product product{.weights = linear.weights(),
                                 .x = from.data.data(),
                                 .quantised = {integers.data(), scales.data()},
                                 .x_stride = stride,
                                 .y = to.data.data(),
                                 .y_stride = to.stride,
                                 .batch = batch(),
                                 .add = add};
  const auto shares = team->size() == 1 ? 1 : 4 * team->size();
  team->share(member, rows, padded((rows + shares - 1) / shares), [&](std::int64_t first, std::int64_t last) {
    kernels.multiply(product, first, last);
    for (std::int64_t row = 0; gelu && row < batch(); ++row) kernels.gelu(to.row(row) + first, last - first);
  });
}

void Decoder::Impl::work_layer(int member, std::size_t index) {
  auto& layer = layers[index];
  normalise(member, layer.attention_norm);
  multiply(member, layer.input, normed, inputs, false, false);
  const auto heads = config.state_heads();
  team->share(member, batch() * heads, 1, [&](std::int64_t item, std::int64_t) {
    const auto row = item / heads, head_index = item % heads;
    const auto place = static_cast<std::size_t>(row);
    layer.attention->attend(kernels, {places[place], head_index, positions[place], inputs.row(row), turns.row(row)},
                            members[static_cast<std::size_t>(member)][index],
                            attended.row(row) + head_index * config.width / heads);
  });
  multiply(member, layer.output, attended, x, true, false);
  normalise(member, layer.feed_forward_norm);
  if (config.feed_forward_kind == FeedForwardKind::swiglu) {
    multiply(member, layer.up, normed, gates, false, false);
    gate(member);
  } else {
    multiply(member, layer.up, normed, hidden, false, true);
  }
  multiply(member, layer.down, hidden, x, true, false);
}

void Decoder::Impl::operator()(int member) {
  for (std::size_t i = 0; i < layers.size(); ++i) work_layer(member, i);
  normalise(member, final_norm);
  multiply(member, head, normed, logits, false, false);
}

Decoder::Decoder(const LanguageModel& model, const DecoderOptions& options) {
  const auto reason = obstacle(model);
  require(reason.empty(),
          "{}: the fast decoder serves causal float32 and bfloat16 models on the CPU; use LanguageModel::step.",
          reason);
  require(options.threads >= 0, "decoder threads {}: expected 1 or more, or 0 for as many as LibTorch uses.",
          options.threads);
  impl_ = std::make_unique<Impl>(model, options);
}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

void Decoder::load(DecodeState state) {
  auto& impl = *impl_;
  require(state.batch() > 0, "decode state: expected at least one sequence.");
  impl.team->settle();
  impl.positions = state.positions();
  impl.places.resize(impl.positions.size());
  for (std::size_t i = 0; i < impl.places.size(); ++i) impl.places[i] = static_cast<std::int64_t>(i);
  for (std::size_t i = 0; i < impl.layers.size(); ++i) {
    impl.layers[i].attention->load(static_cast<const nn::LayerState&>(state.layer(i)), impl.positions);
  }
  impl.make_buffers();
  impl.loaded = true;
}

DecodeState Decoder::state() const {
  const auto& impl = *impl_;
  require(impl.storable, "decode state: the decoder was not made for it (DecoderOptions::storable).");
  impl.team->settle();
  std::vector<std::unique_ptr<DecodeState::Layer>> layers;
  for (const auto& layer : impl.layers) {
    std::vector<nn::StatePointer> rows;
    for (std::size_t i = 0; i < impl.places.size(); ++i)
      rows.push_back(layer.attention->store(impl.places[i], impl.positions[i]));
    layers.push_back(nn::join(rows));
  }
  return {impl.positions, std::move(layers)};
}

void Decoder::step(std::span<const std::int64_t> ids) {
  auto& impl = *impl_;
  require(!ids.empty() && ids.size() == impl.positions.size(), "ids: expected one for each of the {} sequences.",
          impl.positions.size());
  for (const auto id : ids)
    require(id >= 0 && id < impl.config.vocabulary, "token id {}: outside the vocabulary of {} ids.", id,
            impl.config.vocabulary);
  const auto last = *std::max_element(impl.positions.begin(), impl.positions.end());
  require(last < impl.config.longest_text(), "position {}: past model.length {}. Start again from a shorter text.",
          last, impl.config.length);
  if (std::exchange(impl.loaded, false)) kernels::rest_engine_threads();  // what read the prompt
  impl.team->settle();
  for (std::size_t i = 0; i < impl.layers.size(); ++i) {
    impl.layers[i].attention->make_room(last);
    for (auto& member : impl.members) impl.layers[i].attention->fit(member[i], last);
  }
  impl.embed(ids);
  impl.team->run(impl);
  for (auto& position : impl.positions) ++position;
}

std::span<const float> Decoder::logits(std::size_t row) const {
  require(row < impl_->positions.size(), "sequence {}: there are {}.", row, impl_->positions.size());
  return {impl_->logits.row(static_cast<std::int64_t>(row)), static_cast<std::size_t>(impl_->config.vocabulary)};
}

void Decoder::keep(std::span<const std::int64_t> rows) {
  auto& impl = *impl_;
  std::vector<std::int64_t> positions, places;
  for (const auto row : rows) {
    require(row >= 0 && row < impl.batch(), "sequence {}: there are {}.", row, impl.batch());
    require(std::count(rows.begin(), rows.end(), row) == 1, "sequence {}: named more than once.", row);
    positions.push_back(impl.positions[static_cast<std::size_t>(row)]);
    places.push_back(impl.places[static_cast<std::size_t>(row)]);
  }
  impl.team->settle();
  impl.positions = std::move(positions);
  impl.places = std::move(places);
}

const std::vector<std::int64_t>& Decoder::positions() const { return impl_->positions; }

std::int64_t Decoder::state_bytes() const {
  std::int64_t total = 0;
  for (const auto& layer : impl_->layers) total += layer.attention->bytes_a_sequence();
  return total * impl_->batch();
}

std::int64_t Decoder::weight_bytes() const {
  std::int64_t total = impl_->head.bytes();
  for (const auto& layer : impl_->layers) {
    for (const auto* linear : {&layer.input, &layer.output, &layer.up, &layer.down}) total += linear->bytes();
  }
  return total;
}

double Decoder::read_speed() {
  auto& impl = *impl_;
  const auto start = std::chrono::steady_clock::now();
  impl.team->run(impl.output_alone);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(impl.head.bytes()) / seconds.count();
}

std::string Decoder::description() const {
  return formatted("{} weights, {}, {} thread{}", kernels::weight_format_name(impl_->format),
                   kernels::isa_name(impl_->isa), impl_->team->size(), impl_->team->size() == 1 ? "" : "s");
}

}  // namespace linformer
