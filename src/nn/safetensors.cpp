// The safetensors format: an 8-byte little-endian header length, a JSON header, then the data.
#include "nn/safetensors.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");
constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr std::uint64_t kLargestExtent = std::uint64_t{1} << 62;
constexpr std::array<std::pair<const char*, at::ScalarType>, 10> kTypes{{{"F64", at::kDouble},
                                                                         {"F32", at::kFloat},
                                                                         {"F16", at::kHalf},
                                                                         {"BF16", at::kBFloat16},
                                                                         {"I64", at::kLong},
                                                                         {"I32", at::kInt},
                                                                         {"I16", at::kShort},
                                                                         {"I8", at::kChar},
                                                                         {"U8", at::kByte},
                                                                         {"BOOL", at::kBool}}};

struct Entry {
  std::string name;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

std::uint64_t whole(const json& value, const std::string& place) {
  if (!value.is_number_unsigned())
    fail("{}: expected a whole number that is not negative, got {}.", place, json_excerpt(value));
  return value.get<std::uint64_t>();
}

Entry read_entry(const std::string& file, const std::string& name, const json& object, std::uint64_t data_size) {
  const auto place = formatted("{}: tensor '{}'", file, excerpt(name));
  require(object.is_object() && object.contains("dtype") && object.contains("shape") &&
              object.contains("data_offsets") && object["dtype"].is_string() && object["shape"].is_array() &&
              object["data_offsets"].is_array() && object["data_offsets"].size() == 2,
          "{}: expected dtype, shape and two data_offsets.", place);
  const auto dtype = object["dtype"].get<std::string>();
  const auto* known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& type) { return dtype == type.first; });
  require(known != kTypes.end(), "{}: dtype '{}' is not known (F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL are).",
          place, excerpt(dtype));
  Entry entry{
      name, known->second, {}, whole(object["data_offsets"][0], place), whole(object["data_offsets"][1], place)};
  require(entry.begin <= entry.end && entry.end <= data_size,
          "{}: offsets {} to {} lie outside the {} bytes of data; the file is damaged or cut.", place, entry.begin,
          entry.end, data_size);
  std::uint64_t bytes = c10::elementSize(entry.type),
                extent = bytes;  // extent: what strides reach, empty dimensions counted as 1
  for (const auto& size : object["shape"]) {
    const auto count = whole(size, place);
    require(count <= kLargestExtent && !__builtin_mul_overflow(extent, std::max<std::uint64_t>(count, 1), &extent) &&
                extent <= kLargestExtent,
            "{}: its shape is too large.", place);
    bytes *= count;
    entry.shape.push_back(static_cast<std::int64_t>(count));
  }
  require(bytes == entry.end - entry.begin, "{}: shape and dtype need {} bytes, offsets give {}.", place, bytes,
          entry.end - entry.begin);
  return entry;
}

// Checks that tensors leave no hole, don't overlap, and that nothing follows the last one.
void check_layout(const std::string& file, std::vector<Entry> entries, std::uint64_t data_size) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t reached = 0;
  for (const auto& entry : entries) {
    require(entry.begin == reached, "{}: tensor '{}' starts at byte {}, expected {}: tensors overlap or leave a hole.",
            file, excerpt(entry.name), entry.begin, reached);
    reached = entry.end;
  }
  require(reached == data_size, "{}: {} bytes of data, of which tensors use {}.", file, data_size, reached);
}

}  // namespace

const at::Tensor& TensorFile::at(const std::string& name) const {
  for (const auto& [known, tensor] : tensors) {
    if (known == name) return tensor;
  }
  fail("tensor '{}' is missing.", name);
}

TensorFile read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(MappedFile(path).bytes(), path.string());
}

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  require(bytes.size() >= 8, "{}: {} bytes; a safetensors file has at least 8.", file, bytes.size());
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  require(header_size <= kLargestHeader && header_size <= bytes.size() - 8,
          "{}: its header claims {} bytes, the file has {}; damaged, cut or not safetensors.", file, header_size,
          bytes.size());
  const auto header = parse_json({reinterpret_cast<const char*>(bytes.data()) + 8, header_size}, file);
  require(header.is_object(), "{}: its header is not a JSON object.", file);
  const auto data = bytes.subspan(8 + header_size);
  TensorFile result;
  std::vector<Entry> entries;
  for (const auto& [name, object] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(read_entry(file, name, object, data.size()));
      continue;
    }
    require(object.is_object(), "{}: __metadata__ is not an object.", file);
    for (const auto& [key, value] : object.items()) {
      require(value.is_string(), "{}: metadata '{}' is not a string.", file, excerpt(key));
      result.metadata[key] = value.get<std::string>();
    }
  }
  check_layout(file, entries, data.size());
  for (const auto& entry : entries) {
    auto tensor = at::empty(entry.shape, entry.type);
    if (entry.end > entry.begin) std::memcpy(tensor.data_ptr(), data.data() + entry.begin, entry.end - entry.begin);
    result.tensors.emplace_back(entry.name, tensor);
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  json header = json::object();
  for (const auto& [key, value] : file.metadata) header["__metadata__"][key] = value;
  std::uint64_t offset = 0;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    const auto* known = std::find_if(kTypes.begin(), kTypes.end(),
                                     [&](const auto& type) { return type.second == tensor.scalar_type(); });
    require(known != kTypes.end(), "tensor '{}': its dtype can't be stored.", name);
    require(!header.contains(name), "tensor '{}': named twice.", name);
    tensors.push_back(tensor.detach().cpu().contiguous());
    const auto end = offset + tensors.back().nbytes();
    header[name] = {{"dtype", known->first}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  auto text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  write_atomically(path, [&](FileWriter& writer) {
    writer.write(&size, 8);
    writer.write(text);
    for (const auto& tensor : tensors) writer.write(tensor.data_ptr(), tensor.nbytes());
  });
}

}  // namespace linformer
