// Shape letters: K slots, P model.length, W window, r slots per block.
#include "linformer/config/model_config.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kAutomaticWindow = 64;
// Of a shorter model. Slots are read from the third window on: with this part half of the positions read them.
constexpr std::int64_t kAutomaticPart = 4;
constexpr double kAutomaticSlotBias =
    -2.0;  // from −4 slots stay closed for as long as they would be of use (docs/RESULTS.md)
constexpr double kAutomaticRotaryBase = 10000.0;  // Su et al. 2021
constexpr std::int64_t kAutomaticPeriod = 8;      // windows (docs/LOG.md)
// Far above any real model, and far below the sizes whose products overflow.
constexpr std::int64_t kLargest = std::int64_t{1} << 30;
constexpr std::int64_t kMostLayers = 4096;  // each is looked at and built one by one

// What the rule of each projection can make, and what it needs.
struct RuleTraits {
  std::vector<Form> forms;    // whose slots it makes
  bool entries = false;       // it has learned entries of E and F
  bool segments = false;      // its slots are equal parts of the positions
  bool table = false;         // running slots have an entry for each position of the text
  bool weights = true;        // its slots are weighted sums, so that a position can have the weight nothing
  bool one_for_both = false;  // the text makes its weights, the same for keys and values
};

RuleTraits traits_of(Projection projection) {
  switch (projection) {
    case Projection::linear:
      return {.forms = {Form::bidirectional, Form::prefix, Form::running, Form::block}, .entries = true, .table = true};
    case Projection::dynamic:
      return {.forms = {Form::bidirectional, Form::block}, .one_for_both = true};
    case Projection::convolution:
      return {.forms = {Form::bidirectional, Form::block}, .entries = true, .segments = true};
    case Projection::periodic:
      return {.forms = {Form::running}, .entries = true};
    case Projection::gated:
    case Projection::cluster:
      return {.forms = {Form::running}, .one_for_both = true};
    case Projection::mean:
      return {.forms = {Form::bidirectional, Form::block}, .segments = true};
    case Projection::max:
      return {.forms = {Form::bidirectional, Form::block}, .segments = true, .weights = false};
  }
  fail("no traits of this projection");
}

// What the slots of a text of P positions take in: all but its last two blocks. Columns of E and F for positions beyond
// would not be trained.
std::int64_t longest_period(std::int64_t window, std::int64_t length) {
  return std::max<std::int64_t>((length + window - 1) / window - 2, 1) * window;
}
std::int64_t period_of(std::int64_t window, std::int64_t length) {
  return std::min(kAutomaticPeriod * window, longest_period(window, length));
}

void check_size(std::string_view name, std::int64_t value, std::int64_t smallest = 1, std::int64_t largest = kLargest) {
  require(value >= smallest && value <= largest, "{} is {}, expected a whole number from {} to {}", name, value,
          smallest, largest);
}

// Whether the slots of every layer are shared out among windows of this size: r = K·W/P is whole, and where slots are
// segments of a window it divides the window.
bool shares_slots(const ModelConfig& config, std::int64_t window) {
  const auto& attention = config.attention;
  const bool segments = traits_of(attention.projection).segments;
  const auto fits = [&](std::int64_t slots) {
    const auto whole = slots * window % config.length == 0 && slots * window >= config.length;
    return whole && (!segments || window % (slots * window / config.length) == 0);
  };
  const auto& by_layer = attention.slots_by_layer;
  for (std::size_t i = 0; i < by_layer.size(); ++i) {
    if (!config.is_softmax(static_cast<std::int64_t>(i)) && !fits(by_layer[i])) return false;
  }
  return !by_layer.empty() || fits(attention.slots);
}

// The largest that fits. Where none does, the check of the slots says what is wrong with them.
std::int64_t automatic_window(const ModelConfig& config) {
  const auto most =
      config.length >= kAutomaticWindow ? kAutomaticWindow : std::max<std::int64_t>(config.length / kAutomaticPart, 1);
  if (config.attention.summary == Summary::running) return most;
  auto window = most;
  while (window > 0 && !shares_slots(config, window)) --window;
  return window > 0 ? window : most;
}

void check_rotary(const ModelConfig& config) {
  const bool rotary = config.position == Position::rotary;
  require(rotary || config.rotary_base == 0,
          "model.rotary_base is {}, which is only used with model.position = rotary; leave it at 0",
          config.rotary_base);
  if (!rotary) return;
  require(config.base() > 1 && std::isfinite(config.base()),
          "model.rotary_base is {}, expected a number above 1, such as 10000", config.rotary_base);
  require(
      config.head_width() % 2 == 0,
      "model.position = rotary turns pairs of numbers, so a head needs an even width, but model.width / model.heads "
      "= {}; set model.width to {}, or take another model.position",
      config.head_width(), config.heads * (config.head_width() + 1));
  const auto form = form_of(config);
  require(
      form != Form::bidirectional && form != Form::prefix,
      "model.position = rotary turns the keys of softmax attention and of windows, and attention of the form {} has "
      "slots alone; take another model.position, or {}",
      enum_name(form), config.causal ? "set attention.window" : "attention.kind = softmax");
}

void check_model(const ModelConfig& config) {
  check_size("model.length", config.length);
  check_size("model.width", config.width);
  check_size("model.layers", config.layers, 1, kMostLayers);
  check_size("model.heads", config.heads);
  check_size("model.feed_forward", config.feed_forward, 0);
  check_size("model.vocabulary", config.vocabulary, 0);
  require(config.width % config.heads == 0,
          "model.width is {}, which model.heads = {} does not divide; set model.width to {} or change model.heads",
          config.width, config.heads, (config.width / config.heads + 1) * config.heads);
  check_size("model.key_value_heads", config.key_value_heads, 0);
  require(config.heads % config.state_heads() == 0,
          "model.key_value_heads is {}, which does not divide model.heads = {}; use a divisor of it, such as {}, or 0",
          config.key_value_heads, config.heads, config.heads % 2 == 0 ? config.heads / 2 : 1);
  require(config.dropout >= 0 && config.dropout < 1,
          "model.dropout is {}, expected a share of at least 0 and below 1, such as 0.1", config.dropout);
  require(config.initializer_range > 0 && config.initializer_range <= 1,
          "model.initializer_range is {}, expected a standard deviation above 0 and at most 1, such as 0.02",
          config.initializer_range);
  require(config.position != Position::sinusoidal || config.width % 2 == 0,
          "model.position = sinusoidal needs an even model.width, which is {}", config.width);
  check_rotary(config);
}

void check_softmax_layers(const ModelConfig& config) {
  const auto& layers = config.attention.softmax_layers;
  if (layers.empty()) return;
  require(config.attention.kind == AttentionKind::linformer,
          "attention.softmax_layers is for attention.kind = linformer: with softmax every layer has full attention; "
          "leave it empty");
  std::int64_t before = -1;
  for (const auto layer : layers) {
    require(layer >= 0 && layer < config.layers,
            "attention.softmax_layers names layer {}, expected numbers from 0 to {}, as model.layers is {}", layer,
            config.layers - 1, config.layers);
    require(layer != before, "attention.softmax_layers names layer {} twice; name each layer once", layer);
    require(layer > before, "attention.softmax_layers names layer {} after {}; name layers in rising order", layer,
            before);
    before = layer;
  }
  require(static_cast<std::int64_t>(layers.size()) < config.layers,
          "attention.softmax_layers names all {} layers; set attention.kind = softmax, and leave it empty",
          config.layers);
}

// The layers that make slots, of which there is at least one.
std::vector<std::int64_t> linformer_layers(const ModelConfig& config) {
  std::vector<std::int64_t> layers;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.is_softmax(layer)) layers.push_back(layer);
  }
  return layers;
}

void check_slots(const ModelConfig& config) {
  const auto& attention = config.attention;
  const auto layers = static_cast<std::int64_t>(attention.slots_by_layer.size());
  require(layers == 0 || layers == config.layers,
          "attention.slots_by_layer holds {} numbers, expected one for each of model.layers = {}", layers,
          config.layers);
  for (const auto layer : attention.softmax_layers) {
    const auto given = layers ? attention.slots_by_layer[static_cast<std::size_t>(layer)] : 0;
    require(given == 0,
            "attention.slots_by_layer gives layer {} {} slots, but attention.softmax_layers names it, so it has none; "
            "give it 0",
            layer, given);
  }
  const auto with_slots = linformer_layers(config);
  for (const auto layer : with_slots) {
    const auto slots = config.slots_of(layer), first = config.slots_of(with_slots.front());
    const auto* name = layers ? "attention.slots_by_layer" : "attention.slots";
    // A causal window may have no slots. Such a model serves as the control that shows what slots add.
    check_size(name, slots, config.window() > 0 && attention.summary == Summary::running ? 0 : 1);
    require(slots <= config.length,
            "{} has {} slots, more than model.length = {}: nothing would be compressed; use at most {}", name, slots,
            config.length, config.length);
    require(attention.sharing != Sharing::layerwise || slots == first,
            "attention.sharing = layerwise shares one projection, so every layer needs the same number of slots, but "
            "attention.slots_by_layer holds {} and {}; use another sharing or equal numbers",
            first, slots);
  }
}

void check_window(const ModelConfig& config) {
  const auto& attention = config.attention;
  const auto window = config.window();
  check_size("attention.window", window, 0);
  require(window == 0 || config.causal,
          "attention.window is {}, but a window needs model.causal = true; set attention.window to 0", window);
  require(
      window <= config.length,
      "attention.window is {}, longer than model.length = {}; set attention.window to at most {}, such as {}, or to "
      "auto",
      window, config.length, config.length, std::max<std::int64_t>(config.length / 8, 1));
  if (window > 0) {
    const auto bias = attention.slot_bias.value_or(0);
    require(!std::isinf(bias), "attention.slot_bias is {}, expected a finite number or none", bias);
    return;
  }
  require(attention.summary == Summary::running,
          "attention.summary = block needs a causal window: set model.causal = true and attention.window, such as 64");
  require(attention.normalise.value_or(Normalise::none) == Normalise::none,
          "attention.normalise = {} is only used with a causal window; set attention.window, or leave "
          "attention.normalise auto",
          enum_name(attention.normalise.value_or(Normalise::none)));
  require(std::isnan(attention.slot_bias.value_or(std::nan(""))),
          "attention.slot_bias = {} is only used with a causal window; set attention.window, or leave "
          "attention.slot_bias auto",
          attention.slot_bias.value_or(0));
}

// Sinks are seen exactly for ever, so no slot takes them in.
void check_sinks(const ModelConfig& config) {
  const auto& attention = config.attention;
  const auto window = config.window(), sinks = attention.sinks;
  check_size("attention.sinks", sinks, 0);
  if (sinks == 0) return;
  require(
      window > 0,
      "attention.sinks = {} is only used with a causal window; set attention.window, such as 64, or attention.sinks "
      "to 0",
      sinks);
  require(sinks <= window,
          "attention.sinks is {}, more than attention.window = {}: sinks are of the first block of a text; use at most "
          "{}, such as {}",
          sinks, window, window, std::min<std::int64_t>(4, window));
  const bool slots =
      std::ranges::any_of(linformer_layers(config), [&](auto layer) { return config.slots_of(layer) > 0; });
  if (!slots) return;
  require(
      traits_of(attention.projection).weights,
      "attention.sinks = {} does not go with attention.projection = {}, whose slots have no weights from which sinks "
      "could be left out; take another projection, such as mean or linear, or set attention.sinks to 0",
      sinks, enum_name(attention.projection));
  require(attention.projection != Projection::dynamic || sinks < window,
          "attention.sinks = {} is the whole first block of attention.window = {}, so attention.projection = dynamic "
          "would have nothing to make its slots of; use at most {}",
          sinks, window, window - 1);
}

// r = K·W/P must be a whole number.
void check_block_slots(const ModelConfig& config) {
  for (const auto layer : linformer_layers(config)) {
    const auto slots = config.slots_of(layer), window = config.window();
    const auto step = std::max<std::int64_t>(config.length / window, 1);
    require(slots * window % config.length == 0 && slots * window >= config.length,
            "attention.summary = block makes slots·window/length slots per block, a whole number of at least 1, but "
            "{}·{}/{} is {:.4g}; with window and length as they are, attention.slots = {} gives 1",
            slots, window, config.length,
            static_cast<double>(slots) * static_cast<double>(window) / static_cast<double>(config.length), step);
  }
}

void check_projection(const ModelConfig& config) {
  const auto& attention = config.attention;
  const auto name = enum_name(attention.projection);
  require(
      !attention.projection_start || config.projection_start(),
      "attention.projection_start = {} does not apply to attention.projection = {}, which has no entries of E and F; "
      "leave it at auto, or use linear, periodic or convolution",
      enum_name(attention.projection_start.value_or(ProjectionStart::random)), name);
  require(attention.reassociate || (!config.causal && attention.projection == Projection::linear),
          "attention.reassociate = false is for the bidirectional form with attention.projection = linear, the only "
          "one that reassociates; "
          "leave it true, or set model.causal = false and attention.window = 0");
  const auto traits = traits_of(attention.projection);
  const auto form = form_of(config);
  std::string makes;
  for (const auto made : traits.forms) makes += formatted("{}{}", makes.empty() ? "" : ", ", enum_name(made));
  require(std::ranges::count(traits.forms, form) > 0,
          "attention.projection = {} makes no {} slots, but only: {}; take another projection, such as linear, or {}",
          name, enum_name(form), makes,
          form != Form::block && std::ranges::count(traits.forms, Form::block) > 0
              ? "set attention.summary = block, with a window"
              : "change attention.summary, attention.window or model.causal");
  require(!traits.one_for_both || attention.sharing != Sharing::key_value,
          "attention.sharing = key-value does not apply to attention.projection = {}, which always uses one "
          "projection for keys and values; use headwise, none or layerwise",
          name);
  require(attention.projection == Projection::periodic || attention.period == 0,
          "attention.period = {} is only used with attention.projection = periodic; leave it at 0", attention.period);
  if (attention.projection == Projection::periodic) {
    const auto window = config.window();
    check_size("attention.period", attention.period, 0);
    require(attention.period % window == 0,
            "attention.period is {}, expected a multiple of attention.window = {}, such as {}; 0 takes {}",
            attention.period, window, std::max<std::int64_t>(attention.period / window, 1) * window,
            period_of(window, config.length));
    require(attention.period <= longest_period(window, config.length),
            "attention.period is {}, but slots of a text of model.length = {} take in its first {} positions, so the "
            "entries for later ones would not be trained; use {} or less, or a larger model.length",
            attention.period, config.length, longest_period(window, config.length),
            longest_period(window, config.length));
  }
  if (!traits.segments) return;
  const bool block = form == Form::block;
  for (const auto layer : linformer_layers(config)) {
    const auto positions = block ? config.window() : config.length;
    const auto slots = block ? config.block_slots_of(layer) : config.slots_of(layer);
    require(positions % slots == 0,
            "attention.projection = {} cuts {} = {} positions into {} equal parts, which {} does not divide; change "
            "attention.slots or {}",
            name, block ? "attention.window" : "model.length", positions, slots, slots,
            block ? "attention.window" : "model.length");
  }
}

}  // namespace

double ModelConfig::base() const { return rotary_base == 0 ? kAutomaticRotaryBase : rotary_base; }

std::int64_t ModelConfig::hidden_width() const {
  if (feed_forward > 0) return feed_forward;
  constexpr std::int64_t kStep = 32;
  return feed_forward_kind == FeedForwardKind::gelu ? 4 * width : (8 * width / 3 + kStep - 1) / kStep * kStep;
}

std::int64_t ModelConfig::longest_text() const {
  if (position != Position::none && position != Position::rotary) return length;
  switch (form_of(*this)) {
    case Form::softmax:
    case Form::bidirectional_softmax:
      return kUnlimited;
    case Form::running:
    case Form::block: {
      bool slots = false;
      for (std::int64_t layer = 0; layer < layers; ++layer) slots = slots || slots_of(layer) > 0;
      if (!slots) return kUnlimited;
      const bool table = form_of(*this) == Form::running && traits_of(attention.projection).table;
      // In training nothing reads the slots of a text of two windows.
      return table || length <= 2 * window() ? length : kUnlimited;
    }
    case Form::bidirectional:
    case Form::prefix:
      return length;
  }
  return length;
}

bool ModelConfig::is_softmax(std::int64_t layer) const {
  return attention.kind == AttentionKind::softmax || std::ranges::count(attention.softmax_layers, layer) > 0;
}

std::int64_t ModelConfig::slots_of(std::int64_t layer) const {
  if (is_softmax(layer)) return 0;
  return attention.slots_by_layer.empty() ? attention.slots
                                          : attention.slots_by_layer.at(static_cast<std::size_t>(layer));
}

std::int64_t ModelConfig::block_slots_of(std::int64_t layer) const { return slots_of(layer) * window() / length; }

std::int64_t ModelConfig::window() const {
  if (attention.kind == AttentionKind::softmax) return 0;
  if (attention.window) return *attention.window;
  return causal ? automatic_window(*this) : 0;
}

std::int64_t ModelConfig::period() const {
  if (attention.kind == AttentionKind::softmax || attention.projection != Projection::periodic) return 0;
  return attention.period ? attention.period : period_of(window(), length);
}

std::optional<ProjectionStart> ModelConfig::projection_start() const {
  const auto traits = traits_of(attention.projection);
  if (!traits.entries) return std::nullopt;
  const bool block = form_of(*this) == Form::block;
  // A random slot of a bidirectional model sums all positions, so nearby positions can't be told from the others
  // (docs/RESULTS.md).
  return attention.projection_start.value_or(traits.segments || block || !causal ? ProjectionStart::means
                                                                                 : ProjectionStart::random);
}

Normalise ModelConfig::normalise() const {
  if (window() == 0) return Normalise::none;
  return attention.normalise.value_or(Normalise::keys);
}

std::optional<double> ModelConfig::slot_bias() const {
  const auto start = attention.slot_bias.value_or(kAutomaticSlotBias);
  if (window() == 0 || std::isnan(start)) return std::nullopt;
  return start;
}

Form form_of(const ModelConfig& config, std::int64_t layer) {
  if (config.is_softmax(layer)) return config.causal ? Form::softmax : Form::bidirectional_softmax;
  return form_of(config);
}

Form form_of(const ModelConfig& config) {
  if (config.attention.kind == AttentionKind::softmax)
    return config.causal ? Form::softmax : Form::bidirectional_softmax;
  if (config.window() > 0) return config.attention.summary == Summary::block ? Form::block : Form::running;
  return config.causal ? Form::prefix : Form::bidirectional;
}

ModelConfig resolved(ModelConfig config) {
  check_model(config);
  check_softmax_layers(config);
  config.feed_forward = config.hidden_width();
  if (config.position == Position::rotary) config.rotary_base = config.base();
  if (config.attention.kind == AttentionKind::softmax) return config;
  check_slots(config);
  check_window(config);
  check_sinks(config);
  if (config.attention.summary == Summary::block) check_block_slots(config);
  check_projection(config);
  config.attention.period = config.period();
  config.attention.projection_start = config.projection_start();
  config.attention.window = config.window();
  config.attention.normalise = config.normalise();
  config.attention.slot_bias = config.slot_bias().value_or(std::nan(""));
  return config;
}

}  // namespace linformer
