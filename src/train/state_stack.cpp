#include "train/state_stack.hpp"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "linformer/core/disk_full.hpp"
#include "linformer/core/format.hpp"

namespace linformer {

StateStack::StateStack(std::filesystem::path folder, std::int64_t most_bytes)
    : folder_(std::move(folder)), most_bytes_(most_bytes) {}

StateStack::~StateStack() {
  if (file_ >= 0) ::close(file_);
}

void StateStack::push(const DecodeState& state) {
  const auto tensors = state.tensors();
  share_beginnings(tensors);
  Entry entry{state.with(std::vector<at::Tensor>(tensors.size(), at::empty({0}))), {}};
  for (const auto& tensor : tensors) {
    entry.parts.push_back({.tensor = tensor});
    held_bytes_ += static_cast<std::int64_t>(tensor.nbytes());
  }
  entries_.push_back(std::move(entry));
  popped_.clear();
  if (held_bytes_ > most_bytes_ && entries_.size() > 1) spill(entries_[entries_.size() - 2]);
}

void StateStack::share_beginnings(const std::vector<at::Tensor>& next) {
  if (entries_.empty()) return;
  auto& parts = entries_.back().parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto& part = parts[i];
    if (!part.tensor.defined() || part.tensor.dim() < 3 || part.tensor.size(2) >= next[i].size(2)) continue;
    held_bytes_ -= static_cast<std::int64_t>(part.tensor.nbytes());
    part = {.tensor = {}, .beginning = part.tensor.size(2)};
  }
}

void StateStack::spill(Entry& entry) {
  for (auto& part : entry.parts) {
    if (!part.tensor.defined()) continue;
    const auto bytes = part.tensor.cpu().contiguous();
    held_bytes_ -= static_cast<std::int64_t>(part.tensor.nbytes());
    part = {.tensor = {},
            .file_offset = file_bytes_,
            .sizes = bytes.sizes().vec(),
            .options = part.tensor.options().requires_grad(std::nullopt)};
    write(bytes);
  }
}

void StateStack::write(const at::Tensor& bytes) {
  const auto fail = [&](int error) {
    fail_to_write(error, formatted("{}: can't hold the states of a step's chunks: {}; make room there, or use a larger "
                                   "train.chunk, which needs fewer",
                                   folder_.string(), std::strerror(error)));
  };
  if (file_ < 0) {
    auto name = (folder_ / ".states-XXXXXX").string();
    file_ = ::mkstemp(name.data());
    if (file_ < 0) fail(errno);
    ::unlink(name.c_str());
  }
  const auto* from = static_cast<const char*>(bytes.const_data_ptr());
  for (auto left = static_cast<std::int64_t>(bytes.nbytes()); left > 0;) {
    const auto done = ::pwrite(file_, from, static_cast<std::size_t>(left), file_bytes_);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(errno);
    from += done, left -= done, file_bytes_ += done;
  }
}

at::Tensor StateStack::read(const Part& part) {
  const auto tensor = at::empty(part.sizes, part.options.device(at::kCPU));
  auto* to = static_cast<char*>(tensor.mutable_data_ptr());
  auto offset = part.file_offset;
  for (auto left = static_cast<std::int64_t>(tensor.nbytes()); left > 0;) {
    const auto done = ::pread(file_, to, static_cast<std::size_t>(left), offset);
    if (done < 0 && errno == EINTR) continue;
    require(done > 0, "{}: the states of a step's chunks can't be read back: {}", folder_.string(),
            done == 0 ? "the file ends too soon" : std::strerror(errno));
    to += done, left -= done, offset += done;
  }
  return tensor.to(part.options.device());
}

bool StateStack::has_beginnings(const Entry& entry) {
  return std::ranges::any_of(entry.parts, [](const Part& part) { return part.beginning >= 0; });
}

DecodeState StateStack::pop() {
  require(!entries_.empty(), "no state is left.");
  auto entry = std::move(entries_.back());
  entries_.pop_back();
  std::vector<at::Tensor> tensors;
  for (std::size_t i = 0; i < entry.parts.size(); ++i) {
    const auto& part = entry.parts[i];
    if (part.tensor.defined()) {
      held_bytes_ -= static_cast<std::int64_t>(part.tensor.nbytes());
      tensors.push_back(part.tensor);
    } else if (part.beginning >= 0) {
      tensors.push_back(popped_.at(i).narrow(2, 0, part.beginning));
    } else {
      tensors.push_back(read(part));
      file_bytes_ = std::min(file_bytes_, part.file_offset);
    }
  }
  popped_ = entries_.empty() || !has_beginnings(entries_.back()) ? std::vector<at::Tensor>() : tensors;
  return entry.shape.with(tensors);
}

}  // namespace linformer
