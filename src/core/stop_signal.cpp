#include "linformer/core/stop_signal.hpp"

#include <csignal>

namespace linformer {
namespace {

volatile std::sig_atomic_t stop_signal = 0;
struct sigaction old_interrupt, old_terminate;
int alive = 0;  // one within another are as one

void on_signal(int signal) {
  if (stop_signal) {  // the user doesn't want to wait
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // blocked inside the handler, so it ends the process as soon as this returns
    return;
  }
  stop_signal = signal;
}

}  // namespace

StopSignal::StopSignal() {
  if (alive++ > 0) return;
  stop_signal = 0;
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &old_interrupt);
  sigaction(SIGTERM, &action, &old_terminate);
}

StopSignal::~StopSignal() {
  if (--alive > 0) return;
  sigaction(SIGINT, &old_interrupt, nullptr);
  sigaction(SIGTERM, &old_terminate, nullptr);
}

int StopSignal::received() { return stop_signal; }

}  // namespace linformer
