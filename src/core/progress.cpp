#include "linformer/core/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/progress_line.hpp"

#include "linformer/core/format.hpp"

namespace linformer {
namespace {

using std::chrono::steady_clock;
constexpr std::size_t kWidestBar = 24, kNarrowestBar = 5;

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

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

std::int64_t done_of(const ProgressState& state) { return std::clamp<std::int64_t>(state.done, 0, state.total); }

std::string percent(const ProgressState& state) {
  if (state.total <= 0) return "";
  return formatted(" {:3.0f}%",
                   std::floor(100.0 * static_cast<double>(done_of(state)) / static_cast<double>(state.total)));
}

std::string bar_of(const ProgressState& state, std::size_t columns, std::size_t others) {
  constexpr std::size_t kFrame = 3;  // " [" and "]"
  if (columns < others + kFrame + kNarrowestBar) return "";
  const auto width = std::min(columns - others - kFrame, kWidestBar);
  const auto share = static_cast<double>(done_of(state)) / static_cast<double>(state.total);
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  return " [" + std::string(filled, '=') + std::string(width - filled, ' ') + "]";
}

std::string count_and_time(const ProgressState& state) {
  if (state.total <= 0) return formatted(" {}  {}", state.done, format_duration(state.seconds));
  auto count = formatted(" {}/{}", state.done, state.total);
  const auto since_first = state.done - state.first;
  if (state.finished) return count + "  " + format_duration(state.seconds);
  if (since_first <= 0) return count;
  const auto seconds_per_step = state.seconds / static_cast<double>(since_first);
  const auto left = seconds_per_step * static_cast<double>(state.total - state.done);
  return count + formatted("  {} left", format_duration(left));
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto whole = std::llround(std::max(seconds, 0.0));
  const auto hours = whole / 3600, minutes = whole / 60 % 60;
  return hours ? formatted("{}:{:02}:{:02}", hours, minutes, whole % 60) : formatted("{}:{:02}", minutes, whole % 60);
}

std::string progress_line(const ProgressState& state, std::size_t columns) {
  const auto head = std::string(state.label) + percent(state);
  const auto tail = count_and_time(state) + (state.detail.empty() ? "" : "  " + std::string(state.detail));
  const auto bar = columns == 0 || state.total <= 0 ? "" : bar_of(state, columns, columns_of(head) + columns_of(tail));
  const auto line = head + bar + tail;
  return columns == 0 ? line : std::string(clip_to_columns(line, columns));
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string_view clip_to_columns(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (starts_character(text[i]) && seen++ == columns) return text.substr(0, i);
  }
  return text;
}

Progress::Progress(std::string label, std::int64_t total, std::int64_t first, bool quiet)
    : label_(std::move(label)),
      total_(total),
      first_(first),
      done_(first),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(steady_clock::now()),
      drawn_at_(start_) {}

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
  say("{}{}\n", clear, line);
  if (*clear) draw(false);
}

void Progress::finish() {
  if (finished_) return;
  draw(true);
  finished_ = true;
}

void Progress::draw(bool last) {
  if (quiet_ || finished_) return;
  const ProgressState state{.label = label_,
                            .detail = detail_,
                            .total = total_,
                            .first = first_,
                            .done = done_,
                            .seconds = seconds_since(start_),
                            .finished = last};
  if (terminal_) {
    say("\r{}\033[K{}", progress_line(state, terminal_columns()), last ? "\n" : "");
  } else {
    say("{}\n", progress_line(state, 0));
  }
  std::fflush(stderr);
  drawn_ = true;
  drawn_at_ = steady_clock::now();
}

}  // namespace linformer
