// The golden attention cases, float64 and bool tensors by name (tests/golden/README.md).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/paths.hpp"

namespace linformer::test {

inline std::map<std::string, at::Tensor> read_golden() {
  std::ifstream file(source_path("tests/golden/attention.safetensors"), std::ios::binary);
  const std::string raw{std::istreambuf_iterator<char>(file), {}};
  if (raw.size() < 8) throw std::runtime_error("tests/golden/attention.safetensors is missing");
  std::uint64_t size = 0;
  std::memcpy(&size, raw.data(), 8);
  std::map<std::string, at::Tensor> tensors;
  const auto header = nlohmann::json::parse(raw.substr(8, size));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const auto dtype = entry.at("dtype") == "BOOL" ? at::kBool : at::kDouble;
    auto tensor = at::empty(entry.at("shape").get<std::vector<std::int64_t>>(), dtype);
    const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
    std::memcpy(tensor.data_ptr(), raw.data() + 8 + size + begin, tensor.nbytes());
    tensors.emplace(name, tensor);
  }
  return tensors;
}

}  // namespace linformer::test
