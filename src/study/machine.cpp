#include "linformer/study/machine.hpp"

#include <ATen/Parallel.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/kernels/isa.hpp"

namespace linformer {
namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

}  // namespace

json describe_machine() {
  return {{"processor", processor()},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE)},
          {"isa", kernels::isa_name(kernels::current_isa())},
          {"libtorch", formatted("{}.{}.{}", TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, TORCH_VERSION_PATCH)},
          {"threads", at::get_num_threads()}};
}

}  // namespace linformer
