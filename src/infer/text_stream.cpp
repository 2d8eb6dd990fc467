#include "linformer/infer/text_stream.hpp"

#include <algorithm>
#include <utility>

#include "linformer/core/utf8.hpp"

namespace linformer {
TextStream::TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {
  // Of two matches that end at the same place, the longer one starts first.
  std::stable_sort(stop_.begin(), stop_.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::size_t TextStream::held_for_stop() const {
  std::size_t held = 0;
  const std::string_view pending = pending_;
  for (const std::string_view stop : stop_) {
    for (std::size_t count = std::min(stop.size() - 1, pending.size()); count > held; --count) {
      if (pending.ends_with(stop.substr(0, count))) held = count;
    }
  }
  return held;
}

std::string TextStream::push(std::string_view bytes) {
  std::string shown;
  for (const char byte : bytes) {
    if (stopped_) break;
    pending_.push_back(byte);
    const auto match =
        std::find_if(stop_.begin(), stop_.end(), [&](const auto& stop) { return pending_.ends_with(stop); });
    if (match != stop_.end()) {
      pending_.resize(pending_.size() - match->size());
      stopped_ = true;
      break;
    }
    const std::string_view free = std::string_view(pending_).substr(0, pending_.size() - held_for_stop());
    const std::size_t count = free.size() - unfinished_utf8(free);
    shown.append(pending_, 0, count);
    pending_.erase(0, count);
  }
  return stopped_ ? shown + finish() : shown;
}

std::string TextStream::finish() { return std::exchange(pending_, {}); }

}  // namespace linformer
