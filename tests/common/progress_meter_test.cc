#include "common/daemon/progress_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>

namespace ds::daemon {
namespace {

using std::chrono::seconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::uint64_t kMebibyte = 1U << 20U;

TEST(FormatBytesTest, UnitFitsTheNumber) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(17), "17 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(1048576), "1.0 MiB");
  EXPECT_EQ(FormatBytes(2147483648.0), "2.0 GiB");
  EXPECT_EQ(FormatBytes(18446744073709551616.0), "16.0 EiB");
  EXPECT_EQ(FormatBytes(1e30), "867361737988.4 EiB");
}

TEST(ProgressLineTest, OneItemIsMeasuredInBytes) {
  const Progress progress{.bytes_done = 50 * kMebibyte,
                          .bytes_total = 100 * kMebibyte,
                          .items_done = 0,
                          .items_total = 1,
                          .elapsed = seconds(10)};
  EXPECT_EQ(progress.Line(100),
            "[====================>                   ]  50%"
            "  50.0 MiB/100.0 MiB  5.0 MiB/s  ETA 0:10");
}

TEST(ProgressLineTest, SeveralItemsAreMeasuredInItems) {
  const Progress progress{.bytes_done = 3 * kMebibyte,
                          .bytes_total = 3 * kMebibyte,
                          .items_done = 1,
                          .items_total = 4,
                          .elapsed = seconds(3)};
  EXPECT_EQ(progress.Line(100),
            "[==========>                             ]  25%  1/4  3.0 MiB  1.0 MiB/s  ETA 0:09");
}

TEST(ProgressLineTest, UnknownTotalHasNeitherBarNorEta) {
  const Progress progress{.bytes_done = 3 * kMebibyte, .elapsed = seconds(3)};
  EXPECT_EQ(progress.Line(100), "  3.0 MiB  1.0 MiB/s");
}

TEST(ProgressLineTest, NothingDoneYetHasNoEta) {
  const Progress progress{.bytes_total = kMebibyte};
  const std::string line = progress.Line(100);
  EXPECT_THAT(line, StartsWith("[>  "));
  EXPECT_THAT(line, HasSubstr("   0%"));
  EXPECT_THAT(line, HasSubstr("  0 B/s"));
  EXPECT_THAT(line, Not(HasSubstr("ETA")));
}

TEST(ProgressLineTest, FullBarHasNoHead) {
  const Progress progress{.bytes_done = kMebibyte, .bytes_total = kMebibyte, .elapsed = seconds(1)};
  EXPECT_THAT(progress.Line(100), HasSubstr("[========================================] 100%"));
  EXPECT_THAT(progress.Line(100), EndsWith("ETA 0:00"));
}

TEST(ProgressLineTest, MoreThanExpectedIsStillAHundredPercent) {
  const Progress progress{
      .bytes_done = 3 * kMebibyte, .bytes_total = kMebibyte, .elapsed = seconds(1)};
  EXPECT_THAT(progress.Line(100), HasSubstr(" 100%"));
}

TEST(ProgressLineTest, LongTimesHaveHours) {
  const Progress progress{.bytes_done = 1, .bytes_total = 3662, .elapsed = seconds(1)};
  EXPECT_THAT(progress.Line(100), EndsWith("ETA 1:01:01"));
}

TEST(ProgressLineTest, LineIsNeverWiderThanTheTerminal) {
  const Progress cases[] = {
      {},
      {.bytes_done = 1, .bytes_total = 2, .elapsed = seconds(1)},
      {.bytes_done = 50 * kMebibyte,
       .bytes_total = 100 * kMebibyte,
       .items_done = 123456,
       .items_total = 1234567,
       .elapsed = seconds(100000)},
      {.bytes_done = ~0ULL, .bytes_total = ~0ULL, .elapsed = std::chrono::nanoseconds(1)},
  };
  for (const Progress& progress : cases) {
    for (std::size_t columns = 0; columns < 200; ++columns) {
      EXPECT_LE(progress.Line(columns).size(), columns);
    }
  }
}

TEST(ProgressLineTest, NarrowTerminalGivesUpTheBarFirst) {
  const Progress progress{.bytes_done = 50 * kMebibyte,
                          .bytes_total = 100 * kMebibyte,
                          .items_done = 0,
                          .items_total = 1,
                          .elapsed = seconds(10)};
  EXPECT_EQ(progress.Line(50), "  50%  50.0 MiB/100.0 MiB  5.0 MiB/s  ETA 0:10");
}

std::ptrdiff_t ThreadsOfThisProcess() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

TEST(ProgressMeterTest, WithoutATerminalNothingIsPrintedAndNoThreadStarted) {
  const std::ptrdiff_t threads_before = ThreadsOfThisProcess();
  ::testing::internal::CaptureStderr();  // into a file
  {
    ProgressMeter meter(2);
    EXPECT_EQ(ThreadsOfThisProcess(), threads_before);
    meter.AddBytesExpected(10);
    meter.AddBytes(10);
    meter.AddItem();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace ds::daemon
