// The process that measures one point. Requests and answers are JSON lines:
//   {"do":"build","point":{…}|"gemm":DTYPE,"threads":n,"limit_bytes":n} → {"status":"ok"|"memory"|"failed",…}; the
//   first run is the warm-up
//   {"do":"round"} → {"status":"ok","seconds":of one run,…}
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <istream>
#include <new>
#include <ostream>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/memory.hpp"
#include "linformer/study/benchmark.hpp"
#include "study/benchmark_child.hpp"
#include "study/measure_job.hpp"
#include "study/measure_memory.hpp"

namespace linformer {
namespace {

// Rounds shorter than this are noise: several runs make one.
constexpr double kShortestRound = 0.05;
constexpr int kMostRuns = 200;

double timed(MeasureJob& job) {
  job.prepare();
  const auto start = std::chrono::steady_clock::now();
  job.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Server {
 public:
  json answer(const json& request) {
    if (request.at("do") == "build") return build(request);
    require(job_ != nullptr, "there is nothing to measure yet");
    double sum = 0;
    int runs = 0;
    while (runs == 0 || (sum < kShortestRound && runs < kMostRuns)) sum += timed(*job_), ++runs;
    return {{"status", "ok"},
            {"seconds", sum / runs * job_->scale()},
            {"resident_peak_bytes", resident_peak_bytes() - idle_}};
  }

  json failure(const std::string& message) const {
    const bool memory = is_out_of_memory(message) || starved(message);
    return {{"status", memory ? "memory" : "failed"}, {"reason", message.substr(0, message.find('\n'))}};
  }

 private:
  // When oneDNN's own allocation fails, it says no more than this. So the memory in use must show the reason.
  bool starved(const std::string& message) const {
    const auto taken = static_cast<double>(resident_peak_bytes() - idle_);
    return limit_ > 0 && message.find("could not create a primitive") != std::string::npos &&
           taken > 0.75 * static_cast<double>(limit_);
  }

  json build(const json& request) {
    if (const auto threads = request.at("threads").get<int>(); threads != at::get_num_threads())
      at::set_num_threads(threads);
    at::mm(at::ones({256, 256}), at::ones({256, 256}));  // starts the threads and what the engine keeps
    idle_ = resident_bytes();
    limit_ = request.at("limit_bytes").get<std::int64_t>();
    limit_memory(limit_);
    json result = {{"status", "ok"}};
    double first = 0;
    {
      const AllocatorCount count;
      job_ = request.contains("gemm") ? make_gemm(request.at("gemm").get<std::string>(), result)
                                      : make_job(point_of(request.at("point")));
      result["allocator_base_bytes"] = count.current();
      first = timed(*job_);
      result["allocator_peak_bytes"] = count.peak();
    }
    result["resident_peak_bytes"] = resident_peak_bytes() - idle_;
    if (first < kShortestRound) timed(*job_);  // the first run also made what all later ones use
    if (job_->measured_tokens() > 0) result["measured_tokens"] = job_->measured_tokens();
    if (job_->state_bytes() > 0) result["state_bytes"] = job_->state_bytes();
    return result;
  }

  static std::unique_ptr<MeasureJob> make_gemm(const std::string& dtype, json& result) {
    auto job = std::make_unique<GemmJob>(dtype);
    result["multiply_adds"] = job->multiply_adds();
    return job;
  }

  std::unique_ptr<MeasureJob> job_;
  std::int64_t idle_ = 0, limit_ = 0;
};

// Memory may run out on a thread whose exceptions can't be caught.
[[noreturn]] void on_terminate() {
  try {
    if (const auto current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::exception& error) {
    if (is_out_of_memory(error.what())) _exit(kMemoryStatus);
  } catch (...) {
  }
  _exit(1);
}

}  // namespace

void serve_point(std::istream& in, std::ostream& out) {
  std::set_terminate(on_terminate);
  Server server;
  for (std::string line; std::getline(in, line);) {
    json reply;
    try {
      reply = server.answer(parse_json(line, "a request"));
    } catch (const std::exception& error) {
      reply = server.failure(error.what());
    }
    out << dump(reply) << '\n' << std::flush;
  }
}

}  // namespace linformer
