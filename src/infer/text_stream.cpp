#include "linformer/infer/text_stream.hpp"

#include <algorithm>
#include <utility>

namespace linformer {
namespace {

// Whether `bytes`, which start with a leading byte, can still become one character. Follows the table of RFC 3629,
// which excludes overlong forms and surrogates.
bool begins_character(std::string_view bytes) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
  const unsigned lead = byte(0);
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 1;
  if (bytes.size() >= length) return false;
  if (bytes.size() >= 2) {
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(1) < low || byte(1) > high) return false;
  }
  return bytes.size() < 3 || (byte(2) & 0xC0) == 0x80;
}

}  // namespace

std::size_t unfinished_utf8(std::string_view text) {
  for (std::size_t count = 1; count <= std::min<std::size_t>(3, text.size()); ++count) {
    const auto tail = text.substr(text.size() - count);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    return begins_character(tail) ? count : 0;
  }
  return 0;
}

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
