#include "common/daemon/progress_meter.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"

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

/// Standard error is a terminal of `columns` columns while the object lives.
class Terminal {
 public:
  explicit Terminal(unsigned short columns) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    int theirs = -1;
    int ours = -1;
    CHECK(::openpty(&ours, &theirs, nullptr, nullptr, &size) == 0);
    ours_.Reset(ours);
    const UniqueFd slave(theirs);
    // What is drawn reaches us as it was written.
    termios raw{};
    CHECK(::tcgetattr(theirs, &raw) == 0);
    ::cfmakeraw(&raw);
    CHECK(::tcsetattr(theirs, TCSANOW, &raw) == 0);
    CHECK(::fcntl(ours, F_SETFL, O_NONBLOCK) == 0);
    std::fflush(stderr);
    before_.Reset(::dup(STDERR_FILENO));
    CHECK(before_ && ::dup2(theirs, STDERR_FILENO) == STDERR_FILENO);
  }
  ~Terminal() {
    std::fflush(stderr);
    CHECK(::dup2(before_.get(), STDERR_FILENO) == STDERR_FILENO);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  /// All that was written so far.
  const std::string& Text() {
    char buffer[1024];
    for (ssize_t n = 0; (n = ::read(ours_.get(), buffer, sizeof buffer)) > 0;) {
      text_.append(buffer, static_cast<std::size_t>(n));
    }
    return text_;
  }
  /// The lines that were drawn, each over the one before it.
  std::vector<std::string> Drawn() {
    std::vector<std::string> lines;
    std::string_view text = Text();
    while (text.starts_with('\r')) {
      const std::size_t end = text.find("\033[K");
      if (end == std::string_view::npos) break;
      lines.emplace_back(text.substr(1, end - 1));
      text.remove_prefix(end + 3);
    }
    EXPECT_EQ(text, "") << "what is no redrawn line";
    return lines;
  }

 private:
  UniqueFd ours_;
  UniqueFd before_;
  std::string text_;
};

TEST(ProgressMeterTest, OnATerminalOneLineIsDrawnOverAndOverAndThenTakenAway) {
  Terminal terminal(60);
  {
    const auto start = std::chrono::steady_clock::now();
    ProgressMeter meter(4);
    meter.AddBytesExpected(3 * kMebibyte);
    meter.AddBytes(kMebibyte);
    meter.AddItem();
    const auto last_line_has = [&](const std::string& text) {
      return ds::testing::Eventually(ds::testing::kDeadline, "a line with " + text, [&] {
        const auto lines = terminal.Drawn();
        return !lines.empty() && lines.back().find(text) != std::string::npos;
      });
    };
    ASSERT_TRUE(last_line_has(" 25%  1/4  1.0 MiB  "));
    EXPECT_GE(std::chrono::steady_clock::now() - start, seconds(1)) << "short work shows nothing";
    meter.AddBytes(kMebibyte);
    meter.AddItem();
    ASSERT_TRUE(last_line_has(" 50%  2/4  2.0 MiB  "));
    for (const std::string& line : terminal.Drawn()) EXPECT_LT(line.size(), 60U) << line;
    meter.Wipe();  // for output that shares the terminal; what is drawn after it comes anew
    ASSERT_TRUE(last_line_has(" 50%  2/4  2.0 MiB  "));
  }
  const auto lines = terminal.Drawn();
  ASSERT_GE(lines.size(), 5U);
  EXPECT_EQ(lines.back(), "") << "the line is gone";
  EXPECT_EQ(std::count(lines.begin(), lines.end(), ""), 2) << "wiped twice";
}

}  // namespace
}  // namespace ds::daemon
