// Steps in process: clipping, accumulation, overfitting, checkpoints that continue bit for bit.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/train/schedule.hpp"
#include "train/support.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::holds;
using test::message_of;
using test::tiny_model;
using test::tiny_train;

class TrainStep : public testing::Test {
 protected:
  TrainStep() { at::set_num_threads(1); }
  TokenData data_of(const std::string& text) {
    const auto out = folder_ / "data";
    prepare({.inputs = {folder_.write("text.txt", text).string()},
             .out = out,
             .tokenizer = "bytes",
             .overwrite = true,
             .quiet = true});
    return TokenData::open(out);
  }
  static std::string novel() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += formatted("line {} of {}; ", i * i, 7919 * i);
    return text;
  }
  test::TemporaryFolder folder_;
};

at::Tensor all_of(const NamedTensors& tensors, std::string_view suffix = "") {
  std::vector<at::Tensor> found;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with(suffix)) found.push_back(tensor.detach().flatten());
  }
  return at::cat(found).clone();
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST_F(TrainStep, ClippingScalesTheGradientToTheNorm) {
  const TrainBatches batches(data_of(novel()), 3, 13, 5);
  auto config = tiny_train(10);
  const auto means_after = [&](double clip) {
    config.clip = clip;
    TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
    const auto result = train_step(state, batches, config, {});
    return std::pair(all_of(state.optimizer.moments(), ".mean"), result.gradient_norm);
  };
  const auto [free, norm] = means_after(0);
  const auto [loose, same_norm] = means_after(norm * 2);
  const auto [tight, norm_before_clipping] = means_after(norm / 5);
  EXPECT_NEAR(free.norm().item<double>(), 0.1 * norm, 1e-5 * norm);  // 1 - β1
  EXPECT_TRUE(at::equal(free, loose));
  EXPECT_LT(largest_difference(tight * 5, free), 1e-6 * norm);
  EXPECT_EQ(norm_before_clipping, norm);
  EXPECT_EQ(same_norm, norm);
}

TEST_F(TrainStep, AccumulationTakesTheMeanOverMicroBatches) {
  const TrainBatches batches(data_of(novel()), 3, 13, 5);
  auto config = tiny_train(10);
  config.clip = 0;
  const auto first_moments = [&](std::int64_t batch, std::int64_t accumulate) {
    config.accumulate = accumulate;
    TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
    state.step = batch;
    const auto result = train_step(state, batches, config, {});
    return std::pair(all_of(state.optimizer.moments(), ".mean"), result.loss);
  };
  const auto [first, first_loss] = first_moments(0, 1);
  const auto [second, second_loss] = first_moments(1, 1);
  const auto [both, loss] = first_moments(0, 2);
  EXPECT_GT(largest_difference(first, second), 1e-4);
  EXPECT_LT(largest_difference(both, (first + second) / 2), 1e-6);
  EXPECT_NEAR(loss, (first_loss + second_loss) / 2, 1e-6);
}

TEST_F(TrainStep, StepsFollowTheSchedule) {
  const TrainBatches batches(data_of(novel()), 3, 13, 5);
  const auto config = tiny_train(40);
  TrainState state(LanguageModel(tiny_model(AttentionKind::softmax), 1));
  for (std::int64_t step = 1; step <= 4; ++step) {
    EXPECT_EQ(train_step(state, batches, config, {}).learning_rate, learning_rate_at(config, step));
    EXPECT_EQ(state.step, step);
  }
}

TEST_F(TrainStep, OverfitsOneBatch) {
  // The training part has 14 bytes: every window is the same.
  const TrainBatches batches(data_of("to be or not !!!"), 2, 13, 5);
  for (const auto kind : {AttentionKind::softmax, AttentionKind::linformer}) {
    auto config = tiny_train(150);
    config.warmup_fraction = 0;
    TrainState state(LanguageModel(tiny_model(kind), 1));
    const auto first = train_step(state, batches, config, {}).loss;
    EXPECT_NEAR(first, std::log(256), 0.5);
    for (std::int64_t step = 2; step <= 150; ++step) train_step(state, batches, config, {});
    EXPECT_LT(*state.loss, 0.1) << enum_name(kind);
  }
}

TEST_F(TrainStep, WhatIsNotFiniteChangesNothing) {
  const TrainBatches batches(data_of(novel()), 3, 13, 5);
  TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  train_step(state, batches, tiny_train(10), {});
  {
    const c10::NoGradGuard no_grad;
    state.model.parameters().back().second.view(-1)[0] = std::nan("");
  }
  const auto weights = all_of(state.model.parameters()), moments = all_of(state.optimizer.moments());
  const auto loss = state.loss;
  EXPECT_FALSE(train_step(state, batches, tiny_train(10), {}).finite);
  EXPECT_EQ(state.step, 1);
  EXPECT_EQ(state.loss, loss);
  EXPECT_TRUE(at::allclose(all_of(state.model.parameters()), weights, 0, 0, /*equal_nan=*/true));
  EXPECT_TRUE(at::equal(all_of(state.optimizer.moments()), moments));
}

// Steps that take nothing, so that the loss of each is that of the same weights.
TrainConfig still_train() {
  auto config = tiny_train(10);
  config.learning_rate = config.learning_rate_start = config.learning_rate_end = 0;
  config.weight_decay = 0;
  return config;
}

ModelConfig endless_model() {
  auto config = tiny_model(AttentionKind::linformer, 0.2);
  config.length = 24, config.position = Position::none;
  config.attention.projection = Projection::periodic;
  return resolved(config);
}

TEST_F(TrainStep, WhatIsNotFiniteCarriesNoState) {
  auto config = still_train();
  config.carry_state = true;
  const SequentialBatches batches(data_of(novel()), 2, 24);
  TrainState state(LanguageModel(endless_model(), 1));
  train_step(state, batches, config, {});
  {
    const c10::NoGradGuard no_grad;
    state.model.parameters().back().second.view(-1)[0] = std::nan("");
  }
  EXPECT_FALSE(train_step(state, batches, config, {}).finite);
  EXPECT_EQ(state.text.positions(), (std::vector<std::int64_t>{24, 24}));
}

TEST_F(TrainStep, ACarriedStateIsThatOfTheTextBefore) {
  const auto data = data_of(novel());
  auto config = still_train();
  config.carry_state = true;
  const SequentialBatches batches(data, 2, 24), whole(data, 2, 72);
  for (const std::int64_t chunk : {0, 6, 24}) {
    config.chunk = chunk;
    TrainState state(LanguageModel(endless_model(), 1));
    double carried = 0;
    for (int i = 0; i < 3; ++i) carried += train_step(state, batches, config, {}).loss / 3;
    ASSERT_EQ(state.text.positions(), (std::vector<std::int64_t>{72, 72}));
    const auto batch = whole.at(0);
    // Dropout has another seed in each step, so without it.
    auto plain = endless_model();
    plain.dropout = 0;
    TrainState without(LanguageModel(plain, 1));
    double sum = 0;
    for (int i = 0; i < 3; ++i) sum += train_step(without, batches, config, {}).loss / 3;
    EXPECT_NEAR(sum, without.model.loss(batch.ids, {batch.targets}).item<double>(), 1e-6);
    EXPECT_NE(carried, sum);
  }
  // After the last window of the stretches, the text begins anew.
  TrainState state(LanguageModel(endless_model(), 1));
  std::int64_t steps = 1;
  while (batches.continues(steps)) ++steps;
  for (std::int64_t i = 0; i <= steps; ++i) train_step(state, batches, config, {});
  EXPECT_EQ(state.text.positions().front(), 24);
}

TEST_F(TrainStep, AChunkedStepIsThatOfTheWhole) {
  const TrainBatches batches(data_of(novel()), 3, 24, 5);
  auto config = tiny_train(10);
  config.accumulate = 2;
  const auto moments_after = [&](std::optional<std::int64_t> chunk) {
    config.chunk = chunk;
    TrainState state(LanguageModel(endless_model(), 1));
    std::vector<double> shares;
    const auto note = [&](double share) { shares.push_back(share); };
    train_step(state, batches, config, {.seed = 4, .progress = note});
    EXPECT_TRUE(std::ranges::is_sorted(shares));
    EXPECT_EQ(shares.empty(), chunk.value_or(0) == 0);
    EXPECT_TRUE(shares.empty() || shares.back() == 1.0);
    return all_of(state.optimizer.moments());
  };
  const auto whole = moments_after(std::nullopt);
  EXPECT_TRUE(moments_after(0).equal(whole));
  const auto largest = whole.abs().max().item<double>();
  for (const std::int64_t chunk : {3, 6, 12})
    EXPECT_LT(largest_difference(moments_after(chunk), whole), 1e-6 * largest);
}

class Checkpoints : public TrainStep {
 protected:
  explicit Checkpoints() : data_(data_of(novel())), batches_(data_, 3, 13, 5), run_(folder_ / "run") {
    fs::create_directory(run_);
    config_.model = resolved(tiny_model(AttentionKind::linformer, 0.2));
    config_.train = tiny_train(12);
    config_.data.folder = folder_ / "data";
    config_ = completed(config_, *dataset_of(data_));
    write_run_config(run_, config_, data_.tokenizer()->to_json());
  }
  TrainState fresh() const { return TrainState(LanguageModel(config_.model, 1)); }
  void take(TrainState& state, int steps) const {
    for (int i = 0; i < steps; ++i) train_step(state, batches_, config_.train, {.dtype = at::kFloat, .seed = 3});
  }
  void save(const TrainState& state) const { save_checkpoint(run_, state, config_, data_.tokenizer()->to_json()); }
  std::optional<TrainState> load() {
    return load_newest_checkpoint(run_, config_, at::kCPU, [this](const std::string& line) { notes_ += line + "\n"; });
  }
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> found;
    for (const auto& [step, path] : checkpoints_of(run_)) found.push_back(step);
    return found;
  }

  TokenData data_;
  TrainBatches batches_;
  fs::path run_;
  RunConfig config_;
  std::string notes_;
};

TEST_F(Checkpoints, ContinueBitForBit) {
  for (const auto kind : {AttentionKind::linformer, AttentionKind::softmax}) {
    config_.model = resolved(tiny_model(kind, 0.2));
    auto whole = fresh();
    take(whole, 7);
    auto half = fresh();
    take(half, 3);
    at::manual_seed(17);  // dropout must not depend on what was drawn before
    half.best_loss = 2.5, half.train_seconds = 0.1, half.seconds = 0.3;
    save(half);
    auto loaded = load();
    ASSERT_TRUE(loaded.has_value());
    EXPECT_EQ(loaded->step, 3);
    EXPECT_EQ(loaded->loss, half.loss);
    EXPECT_EQ(loaded->best_loss, 2.5);
    EXPECT_EQ(loaded->train_seconds, 0.1);
    EXPECT_EQ(loaded->seconds, 0.3);
    take(*loaded, 4);
    EXPECT_TRUE(at::equal(all_of(loaded->model.parameters()), all_of(whole.model.parameters())));
    EXPECT_TRUE(at::equal(all_of(loaded->optimizer.moments()), all_of(whole.optimizer.moments())));
    EXPECT_EQ(loaded->loss, whole.loss);
  }
  EXPECT_EQ(notes_, "");
}

TEST_F(Checkpoints, ChunksAndCarriedStatesAreChecked) {
  const auto refused = [&](const std::function<void(RunConfig&)>& change) {
    auto config = config_;
    config.model = endless_model();
    change(config);
    return message_of([&] { completed(config, *dataset_of(data_)); });
  };
  EXPECT_TRUE(holds(refused([](RunConfig& config) { config.train.chunk = 7; }),
                    {"train.chunk is 7", "attention.window = 3", "such as 6"}));
  EXPECT_TRUE(holds(refused([](RunConfig& config) { config.train.chunk = -3; }), {"train.chunk is -3"}));
  EXPECT_TRUE(holds(refused([](RunConfig& config) {
                      config.train.chunk = 6;
                      config.train.checkpoint_activations = true;
                    }),
                    {"train.checkpoint_activations", "train.chunk = 6"}));
  EXPECT_TRUE(holds(refused([](RunConfig& config) {
                      config.model.causal = false;
                      config.model.attention.window = 0;
                      config.model.attention.projection = Projection::linear;
                      config.model.attention.period = 0;
                      config.model.attention.normalise = std::nullopt;
                      config.model.attention.slot_bias = std::nullopt;
                      config.train.objective = Objective::masked;
                      config.model.vocabulary = 0;
                      config.train.chunk = 6;
                    }),
                    {"train.chunk is 6", "bidirectional"}));
  const auto carried = [&](const std::function<void(RunConfig&)>& change) {
    return refused([&](RunConfig& config) {
      config.train.carry_state = true;
      config.data.order = DataOrder::sequential;
      change(config);
    });
  };
  EXPECT_EQ(message_of([&] {
              auto config = config_;
              config.model = endless_model();
              config.train.carry_state = true;
              config.data.order = DataOrder::sequential;
              completed(config, *dataset_of(data_));
              throw UserError("fine");
            }),
            "fine");
  EXPECT_TRUE(holds(carried([](RunConfig& config) { config.data.order = DataOrder::random; }),
                    {"train.carry_state", "data.order = random", "sequential"}));
  EXPECT_TRUE(holds(carried([](RunConfig& config) { config.model.position = Position::learned; }),
                    {"train.carry_state", "model.length = 24", "rotary", "periodic"}));
  EXPECT_TRUE(holds(carried([](RunConfig& config) { config.model.attention.kind = AttentionKind::softmax; }),
                    {"train.carry_state", "softmax", "grows"}));
  EXPECT_TRUE(holds(carried([](RunConfig& config) { config.train.checkpoint_activations = true; }),
                    {"train.checkpoint_activations", "train.carry_state"}));
}

TEST_F(Checkpoints, KeepTheLatest) {
  EXPECT_FALSE(load().has_value());
  auto state = fresh();
  for (const int more : {2, 1, 1, 3}) {
    take(state, more);
    save(state);
  }
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{7, 4}));
  save_best(run_, state, config_, data_.tokenizer()->to_json());
  EXPECT_EQ(steps().size(), 2u);
  EXPECT_TRUE(at::equal(all_of(load_model(best_path(run_)).model.parameters()), all_of(state.model.parameters())));
  EXPECT_EQ(read_file(run_ / "model.safetensors"), read_file(checkpoint_path(run_, 7) / "model.safetensors"));
}

TEST_F(Checkpoints, AnyDamageIsSeen) {
  auto state = fresh();
  take(state, 1);
  save(state);
  take(state, 1);
  save(state);
  for (const auto& entry : fs::directory_iterator(checkpoint_path(run_, 2))) {
    const auto good = read_file(entry.path());
    const auto damaged = [&](std::string content) {
      write_atomically(entry.path(), content);
      notes_.clear();
      const auto loaded = load();
      return loaded && loaded->step == 1 && holds(notes_, {"checkpoint of step 2 can't be used", "step-000002"});
    };
    for (std::size_t i = 0; i < 12; ++i) {
      auto flipped = good;
      // A space for a space or line end would leave state.json with the same content.
      const auto place = good.find_first_not_of(" \n", (good.size() - 1) * i / 12);
      flipped[place] = static_cast<char>(flipped[place] ^ 1);
      EXPECT_TRUE(damaged(flipped)) << entry.path() << " byte " << place;
    }
    EXPECT_TRUE(damaged(good.substr(0, good.size() / 2))) << entry.path();
    EXPECT_TRUE(damaged(good + "x")) << entry.path();
    fs::remove(entry.path());
    EXPECT_EQ(load()->step, 1) << entry.path();
    write_atomically(entry.path(), good);
    EXPECT_EQ(load()->step, 2);
  }
}

TEST_F(Checkpoints, NameNoFileBeyondTheirFolder) {
  auto state = fresh();
  take(state, 1);
  save(state);
  take(state, 1);
  save(state);
  const auto path = checkpoint_path(run_, 2) / "state.json";
  auto object = parse_json(read_file(path), "state.json");
  object.erase("sha256");
  object["files"]["/dev/zero"] = "0";  // whoever reads it never ends
  object["sha256"] = sha256(object.dump());
  write_atomically(path, object.dump());
  EXPECT_EQ(load()->step, 1);
  EXPECT_TRUE(holds(notes_, {"checkpoint of step 2 can't be used", "/dev/zero"})) << notes_;
}

TEST_F(Checkpoints, OfAnotherRunAreRefused) {
  auto state = fresh();
  take(state, 1);
  save(state);
  config_.train.learning_rate = 0.02;
  EXPECT_TRUE(holds(message_of([&] { load(); }), {"train.learning_rate is 0.02", "0.01"}));
}

// Passed over, it would be trained past, and later saves would replace it.
TEST_F(Checkpoints, WhatIsNotDamageStops) {
  auto state = fresh();
  for (int i = 0; i < 2; ++i) take(state, 1), save(state);
  const auto newest = checkpoint_path(run_, 2);
  const auto text = read_file(newest / "state.json");
  auto newer = json::parse(text);
  newer["format_version"] = 2;
  write_atomically(newest / "state.json", dump(newer));
  EXPECT_TRUE(holds(message_of([&] { load(); }), {"step-000002/state.json", "format_version is 2"}));
  write_atomically(newest / "state.json", text);
  fs::rename(newest / "model.safetensors", run_ / "aside");
  fs::create_directory(newest / "model.safetensors");  // what can't be read, for root too
  EXPECT_TRUE(holds(message_of([&] { load(); }), {"step-000002/model.safetensors", "is a folder"}));
  EXPECT_EQ(notes_, "");
}

TEST_F(Checkpoints, DamagedOnesAreSetAside) {
  auto state = fresh();
  for (int round = 0; round < 2; ++round) {
    for (const int step : {2, 5}) fs::create_directories(checkpoint_path(run_, step) / std::to_string(round));
    set_damaged_aside(run_, 2);
    EXPECT_EQ(steps(), std::vector<std::int64_t>{2});
  }
  EXPECT_TRUE(fs::exists(run_ / "checkpoints/damaged-step-000005/0"));
  EXPECT_TRUE(fs::exists(run_ / "checkpoints/damaged-step-000005-2/1"));
  remove_run_files(run_);
  EXPECT_TRUE(fs::is_empty(run_ / "checkpoints"));
}

TEST_F(Checkpoints, LeftoversOfKilledProcessesGo) {
  const auto dead = ".tmp-" + std::to_string(::getpid()) + "-1a2b-0";  // an earlier process of this number
  fs::create_directories(run_ / "checkpoints" / (".step-000005" + dead) / "inner");
  fs::create_directories(run_ / "checkpoints/.step-000005.tmp-1-1a2b-0");  // process 1 lives
  write_atomically(run_ / (".model.safetensors" + dead), "half");
  for (const auto* other : {".notes.tmp-mine", "model.tmp-77777777-1-0"}) write_atomically(run_ / other, "not ours");
  remove_leftovers(run_);
  std::set<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(run_)) left.insert(entry.path().filename());
  EXPECT_EQ(left, (std::set<std::string>{".notes.tmp-mine", "model.tmp-77777777-1-0", "checkpoints", "config.json",
                                         ".step-000005.tmp-1-1a2b-0"}));
}

TEST_F(Checkpoints, OtherThreadsAreToldOf) {
  auto state = fresh();
  take(state, 1);
  save(state);
  at::set_num_threads(2);
  EXPECT_TRUE(load().has_value());
  at::set_num_threads(1);
  EXPECT_TRUE(holds(notes_, {"used 1 threads, now there are 2", "--threads 1"}));
}

TEST_F(Checkpoints, StandardAttentionIgnoresTheOtherFieldsOfAttention) {
  auto one = config_, two = config_;
  one.model.attention.slots = 3;
  EXPECT_THROW(check_resumable(one, two), UserError);
  one.model.attention.kind = two.model.attention.kind = AttentionKind::softmax;
  EXPECT_NO_THROW(check_resumable(one, two));
}

TEST_F(Checkpoints, FieldsThatAResumedRunMayChange) {
  auto other = config_;
  other.train.save_every = 5, other.train.evaluate_every = 3, other.train.keep = 9,
  other.train.checkpoint_activations = true;
  EXPECT_NO_THROW(check_resumable(config_, other));
  for (auto& field : fields_of(other)) {
    const auto before = field.text();
    const auto free = field.name == "train.save_every" || field.name == "train.evaluate_every" ||
                      field.name == "train.keep" || field.name == "data.folder" ||
                      field.name == "train.checkpoint_activations";
    for (const auto* value :
         {"7", "0.5", "true", "none", "softmax", "block", "constant", "bfloat16", "dynamic", "both", "7,8"}) {
      try {
        field.parse(value);
      } catch (const UserError&) {
        continue;
      }
      if (field.text() == before || free) continue;
      EXPECT_TRUE(holds(message_of([&] { check_resumable(config_, other); }), {field.name, field.text(), before}))
          << field.name;
      break;
    }
    field.parse(before);
  }
}

}  // namespace
}  // namespace linformer
