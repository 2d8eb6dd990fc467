#include "linformer/core/stop_signal.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace linformer {
namespace {

TEST(StopSignal, HoldsTheFirstSignal) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const StopSignal guard;
    EXPECT_EQ(StopSignal::received(), 0);
    std::raise(signal);
    EXPECT_EQ(StopSignal::received(), signal);
  }
  const StopSignal guard;
  EXPECT_EQ(StopSignal::received(), 0);
}

TEST(StopSignalDeathTest, ASecondSignalEndsTheProcess) {
  const auto twice = [] {
    const StopSignal guard;
    std::raise(SIGINT);
    std::raise(SIGINT);
  };
  EXPECT_EXIT(twice(), testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignalDeathTest, AfterItsLifeTheOldHandlersAreBack) {
  const auto after = [] {
    {
      const StopSignal guard;
    }
    std::raise(SIGTERM);
  };
  EXPECT_EXIT(after(), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace linformer
