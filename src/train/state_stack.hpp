// The states at the borders of chunks, which a step needs again in the other order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "linformer/nn/decode_state.hpp"

namespace linformer {

/// Last in, first out. What grows with the text is held once: of two states that follow each other, a shorter tensor is
/// the beginning of the longer one. What is more than `most_bytes` goes into a file of `folder` as soon as the next
/// state comes. The first ones stay in memory: were it the last ones, each chunk would free the memory of an old state
/// and take that of a new one, and the holes between would grow with the text. The file has no name, so that nothing is
/// left after a kill.
class StateStack {
 public:
  static constexpr std::int64_t kMostBytes = std::int64_t{32} << 20;
  explicit StateStack(std::filesystem::path folder, std::int64_t most_bytes = kMostBytes);
  ~StateStack();
  StateStack(const StateStack&) = delete;
  StateStack& operator=(const StateStack&) = delete;

  /// The state of the same texts as the one before, further on. DiskFull or UserError when the file can't be written.
  void push(const DecodeState& state);
  /// The last one that was pushed and not yet popped.
  DecodeState pop();
  bool empty() const { return entries_.empty(); }
  std::int64_t bytes_in_memory() const { return held_bytes_; }
  std::int64_t bytes_in_file() const { return file_bytes_; }

 private:
  struct Part {
    at::Tensor tensor;            // undefined: it is elsewhere
    std::int64_t beginning = -1;  // of the next entry's tensor: so many entries of dimension 2
    std::int64_t file_offset = -1;
    std::vector<std::int64_t> sizes = {};  // in the file
    at::TensorOptions options = {};
  };
  struct Entry {
    DecodeState shape;  // with empty tensors
    std::vector<Part> parts;
  };
  static bool has_beginnings(const Entry& entry);
  void share_beginnings(const std::vector<at::Tensor>& next);
  void spill(Entry& entry);
  void write(const at::Tensor& bytes);
  at::Tensor read(const Part& part);

  std::filesystem::path folder_;
  std::int64_t most_bytes_, held_bytes_ = 0, file_bytes_ = 0;
  int file_ = -1;
  std::vector<Entry> entries_;
  std::vector<at::Tensor> popped_;  // those of the last state that was popped, where the next one needs them
};

}  // namespace linformer
