// Shape letters: B batch, N length, T tokens of a generation.
#include "study/measure_job.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <optional>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/train/train_loop.hpp"

namespace linformer {
namespace {

constexpr std::uint64_t kSeed = 1;
// Tokens decoded before a generation's clock starts.
constexpr std::int64_t kWarmTokens = 8;

at::ScalarType dtype_of(const BenchmarkPoint& point) { return point.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat; }

at::Tensor random_ids(const BenchmarkPoint& point) {
  return at::randint(point.vocabulary, {point.batch, point.length}, at::kLong);
}

class ForwardJob final : public MeasureJob {
 public:
  explicit ForwardJob(const BenchmarkPoint& point)
      : point_(point), model_(model_of(point), kSeed), ids_BN_(random_ids(point)) {}
  void run() override {
    const c10::NoGradGuard no_grad;
    const AutocastGuard autocast(dtype_of(point_));
    model_.hidden(ids_BN_);
  }

 private:
  BenchmarkPoint point_;
  LanguageModel model_;
  at::Tensor ids_BN_;
};

// The same batch in every step, so that no step waits for data.
class OneBatch final : public Batches {
 public:
  explicit OneBatch(const BenchmarkPoint& point) : batch_{random_ids(point), random_ids(point)} {}
  Batch at(std::int64_t) const override { return batch_; }

 private:
  Batch batch_;
};

class TrainJob final : public MeasureJob {
 public:
  explicit TrainJob(const BenchmarkPoint& point)
      : config_(train_of(point)),
        options_{.dtype = dtype_of(point), .seed = kSeed},
        state_(LanguageModel(model_of(point), kSeed)),
        batches_(point) {
    config_.learning_rate = 1e-4, config_.warmup_fraction = 0, config_.schedule = Schedule::constant;
  }
  void run() override {
    require(train_step(state_, batches_, config_, options_).finite, "the loss or a gradient is not finite");
  }

 private:
  TrainConfig config_;
  StepOptions options_;
  TrainState state_;
  OneBatch batches_;
};

WeightFormat format_of(const BenchmarkPoint& point) {
  if (point.dtype == "int8") return WeightFormat::int8;
  return point.dtype == "bfloat16" ? WeightFormat::bfloat16 : WeightFormat::float32;
}

// The ids are given, not drawn, so that no sampling is timed. At the end of the window its last half is read again
// (generate --overflow slide).
class StreamJob final : public MeasureJob {
 public:
  explicit StreamJob(const BenchmarkPoint& point)
      : point_(point),
        model_(model_of(point), kSeed),
        decoder_(model_, {.format = format_of(point)}),
        ids_BT_(at::randint(point.vocabulary, {point.batch, prompt_tokens(point) + point.tokens}, at::kLong)) {}
  // The last tokens of the prompt are decoded, not read. So the clock starts when the threads are already at work, and
  // at the context that is stated.
  void prepare() override {
    decoder_.load(start());
    decode(prompt_tokens(point_) - warm_tokens(), warm_tokens());
  }
  void run() override { decode(prompt_tokens(point_), point_.tokens); }
  std::int64_t state_bytes() const override { return decoder_.state_bytes(); }

 private:
  // The state after the prompt. It is kept only from the second time on, because the first run, whose memory is
  // measured, must not hold a copy.
  DecodeState start() {
    if (start_) return start_->repeat(1);
    auto state = read(0, prompt_tokens(point_) - warm_tokens());
    if (std::exchange(started_, true)) start_ = state.repeat(1);
    return state;
  }
  // Prompts of a few tokens keep one to read.
  std::int64_t warm_tokens() const { return std::min(kWarmTokens, prompt_tokens(point_) - 1); }
  void decode(std::int64_t start, std::int64_t count) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(point_.batch));
    for (std::int64_t t = start; t < start + count; ++t) {
      if (decoder_.positions().front() == point_.length) decoder_.load(read(t - point_.length / 2, point_.length / 2));
      const auto column = ids_BT_.select(1, t);
      for (std::size_t row = 0; row < ids.size(); ++row)
        ids[row] = column[static_cast<std::int64_t>(row)].item<std::int64_t>();
      decoder_.step(ids);
    }
  }
  DecodeState read(std::int64_t start, std::int64_t count) const {
    std::vector<std::vector<std::int64_t>> prompts;
    for (std::int64_t row = 0; row < point_.batch; ++row) {
      const auto ids = ids_BT_[row].narrow(0, start, count).contiguous();
      prompts.emplace_back(ids.const_data_ptr<std::int64_t>(), ids.const_data_ptr<std::int64_t>() + count);
    }
    return model_.prefill(prompts).second;
  }
  BenchmarkPoint point_;
  LanguageModel model_;
  Decoder decoder_;
  at::Tensor ids_BT_;
  std::optional<DecodeState> start_;
  bool started_ = false;
};

// A forward pass over the whole window a token; a few tokens stand for all, since every pass is the same.
class RereadJob final : public MeasureJob {
 public:
  explicit RereadJob(const BenchmarkPoint& point)
      : point_(point), model_(model_of(point), kSeed), ids_BN_(random_ids(point)) {}
  void run() override {
    const c10::NoGradGuard no_grad;
    const AutocastGuard autocast(dtype_of(point_));
    for (std::int64_t t = 0; t < measured_tokens(); ++t)
      at::linear(model_.hidden(ids_BN_).select(1, -1), model_.output_weight());
  }
  double scale() const override { return static_cast<double>(point_.tokens) / static_cast<double>(measured_tokens()); }
  std::int64_t measured_tokens() const override { return std::min<std::int64_t>(point_.tokens, 2); }

 private:
  BenchmarkPoint point_;
  LanguageModel model_;
  at::Tensor ids_BN_;
};

}  // namespace

std::unique_ptr<MeasureJob> make_job(const BenchmarkPoint& given) {
  const auto point = canonical(given);
  at::manual_seed(kSeed);
  if (point.task == BenchmarkTask::forward) return std::make_unique<ForwardJob>(point);
  if (point.task == BenchmarkTask::train) return std::make_unique<TrainJob>(point);
  if (point.decode == BenchmarkDecode::reread) return std::make_unique<RereadJob>(point);
  return std::make_unique<StreamJob>(point);
}

struct GemmJob::Matrices {
  at::Tensor a, b, product;
};

GemmJob::GemmJob(const std::string& dtype) : matrices_(std::make_unique<Matrices>()) {
  constexpr std::int64_t kLargest = 2048;
  const auto options = at::TensorOptions(dtype == "bfloat16" ? at::kBFloat16 : at::kFloat);
  double seconds = 0;
  for (std::int64_t size = 128; size <= kLargest; size *= 2) {
    *matrices_ = {at::randn({size, size}).to(options), at::randn({size, size}).to(options),
                  at::empty({size, size}, options)};
    run();
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds > 0.05) break;
  }
}
GemmJob::~GemmJob() = default;
void GemmJob::run() { at::mm_out(matrices_->product, matrices_->a, matrices_->b); }
double GemmJob::multiply_adds() const {
  const auto size = static_cast<double>(matrices_->a.size(0));
  return size * size * size;
}

}  // namespace linformer
