#include "linformer/core/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/progress_line.hpp"

namespace linformer {
namespace {

using std::chrono::steady_clock;
constexpr int kBarWidth = 24;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

// Half a second on a terminal would look stuck, and a log needs no more than a few hundred lines a day.
double seconds_between_draws(bool terminal, double elapsed) {
  return terminal ? 0.1 : std::clamp(elapsed / 10, 10.0, 300.0);
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79u;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto whole = std::llround(std::max(seconds, 0.0));
  const auto hours = whole / 3600, minutes = whole / 60 % 60;
  return hours ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
               : fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string progress_line(const ProgressState& state, bool bar) {
  std::string line{state.label};
  if (state.total > 0) {
    const auto done = std::clamp<std::int64_t>(state.done, 0, state.total);
    line += fmt::format(" {:3}%", done * 100 / state.total);
    if (bar) {
      const auto filled = static_cast<std::size_t>(done * kBarWidth / state.total);
      line += " [" + std::string(filled, '=') + std::string(kBarWidth - filled, ' ') + "]";
    }
    line += fmt::format(" {}/{}", state.done, state.total);
  } else {
    line += fmt::format(" {}", state.done);
  }
  const auto since_first = state.done - state.first;
  if (state.finished || state.total <= 0) {
    line += "  " + format_duration(state.seconds);
  } else if (since_first > 0) {
    const auto per_step = state.seconds / static_cast<double>(since_first);
    line += fmt::format("  {} left", format_duration(per_step * static_cast<double>(state.total - state.done)));
  }
  if (!state.detail.empty()) line += "  " + std::string(state.detail);
  return line;
}

std::string_view clip_to_columns(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
    if (starts_character && seen++ == columns) return text.substr(0, i);
  }
  return text;
}

Progress::Progress(std::string label, std::int64_t total, std::int64_t first, bool quiet)
    : label_(std::move(label)), total_(total), first_(first), done_(first), quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1), start_(steady_clock::now()), drawn_at_(start_) {}

Progress::~Progress() {
  // Left by an exception: the message that follows starts on a line of its own.
  if (!finished_ && drawn_ && terminal_) std::fputc('\n', stderr);
}

void Progress::update(std::int64_t done, std::string_view detail) {
  done_ = done;
  detail_ = detail;
  const bool first_on_terminal = terminal_ && !drawn_;
  if (first_on_terminal || seconds_since(drawn_at_) >= seconds_between_draws(terminal_, seconds_since(start_))) {
    draw(false);
  }
}

void Progress::note(std::string_view line) {
  if (quiet_) return;
  const char* clear = terminal_ && drawn_ && !finished_ ? "\r\033[K" : "";
  fmt::print(stderr, "{}{}\n", clear, line);
  if (*clear) draw(false);
}

void Progress::finish() {
  if (finished_) return;
  draw(true);
  finished_ = true;
}

void Progress::draw(bool last) {
  if (quiet_ || finished_) return;
  const ProgressState state{.label = label_, .detail = detail_, .total = total_, .first = first_, .done = done_,
                            .seconds = seconds_since(start_), .finished = last};
  const auto line = progress_line(state, terminal_);
  if (terminal_) {
    fmt::print(stderr, "\r{}\033[K{}", clip_to_columns(line, terminal_columns()), last ? "\n" : "");
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
  drawn_ = true;
  drawn_at_ = steady_clock::now();
}

}  // namespace linformer
