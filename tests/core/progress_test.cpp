#include "linformer/core/progress.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/progress_line.hpp"

namespace linformer {
namespace {

TEST(FormatDuration, Values) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.4), "0:59");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-1), "0:00");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(HUGE_VAL), "?");
}

const ProgressState kState{.label = "training",
                           .detail = "loss 3.210  9500 tokens/s",
                           .total = 1000,
                           .first = 100,
                           .done = 430,
                           .seconds = 66,
                           .finished = false};

TEST(ProgressLine, WithoutColumnsHasNoBar) {
  EXPECT_EQ(progress_line(kState, 0), "training  43% 430/1000  1:54 left  loss 3.210  9500 tokens/s");
}

TEST(ProgressLine, TheBarTakesTheRoomThatIsLeft) {
  const auto wide = progress_line(kState, 200);
  EXPECT_EQ(wide, "training  43% [==========              ] 430/1000  1:54 left  loss 3.210  9500 tokens/s");
  for (std::size_t columns = wide.size(); columns >= 68; --columns) {
    const auto line = progress_line(kState, columns);
    EXPECT_EQ(line.size(), columns);
    EXPECT_TRUE(line.find('[') != std::string::npos && line.ends_with("tokens/s")) << line;
  }
  EXPECT_EQ(progress_line(kState, 67), progress_line(kState, 0));
  EXPECT_EQ(progress_line(kState, 20), "training  43% 430/10");
}

TEST(ProgressLine, StartFinishAndUnknownTotal) {
  auto state = kState;
  state.done = state.first;
  EXPECT_EQ(progress_line(state, 0).find("left"), std::string::npos);  // nothing to judge by
  state = kState;
  state.done = 1000;
  state.finished = true;
  EXPECT_EQ(progress_line(state, 0), "training 100% 1000/1000  1:06  loss 3.210  9500 tokens/s");
  EXPECT_NE(progress_line(state, 120).find("[========================]"), std::string::npos);
  state = {.label = "reading", .detail = "", .total = 0, .first = 0, .done = 17, .seconds = 2, .finished = false};
  EXPECT_EQ(progress_line(state, 80), "reading 17  0:02");
  state = {.label = "x", .detail = "", .total = 3, .first = 0, .done = 5, .seconds = 2, .finished = true};
  EXPECT_TRUE(progress_line(state, 0).starts_with("x 100% 5/3"));
  state = {
      .label = "x", .detail = "", .total = 1'000'000, .first = 0, .done = 999'999, .seconds = 2, .finished = false};
  EXPECT_TRUE(progress_line(state, 0).starts_with("x  99% "));  // not 100 before the end
}

TEST(ClipToColumns, CountsCharactersNotBytes) {
  EXPECT_EQ(clip_to_columns("a…b", 2), "a…");
  EXPECT_EQ(clip_to_columns("a…b", 3), "a…b");
  EXPECT_EQ(clip_to_columns("a…b", 0), "");
  EXPECT_EQ(columns_of("a…b é"), 5u);
}

TEST(Progress, SparseLinesOffATerminal) {
  testing::internal::CaptureStderr();
  {
    Progress progress("work", 5000, 10);
    for (int i = 11; i <= 5000; ++i) progress.update(i, "detail");
    progress.note("a note");
    progress.finish();
    progress.finish();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "a note\nwork 100% 5000/5000  0:00  detail\n");
}

TEST(Progress, QuietPrintsNothing) {
  testing::internal::CaptureStderr();
  {
    Progress progress("work", 3, 0, /*quiet=*/true);
    progress.update(1, "");
    progress.note("a note");
    progress.finish();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace linformer
