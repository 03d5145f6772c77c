#include "common/daemon/progress_meter.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>

namespace ds::daemon {
namespace {

std::string FormatTime(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::llround(std::min(seconds, 1e7)));
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string FormatBytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} {}", bytes, kUnits[unit])
                   : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string Progress::Line(std::size_t columns) const {
  const double rate = elapsed.count() > 0 ? static_cast<double>(bytes_done) / elapsed.count() : 0.0;
  double fraction = -1;
  if (items_total > 0) {
    // Sizes become known as answers arrive, so the share of items is the honest measure; within a
    // single item it is the bytes.
    fraction = items_total == 1 && bytes_total > 0
                   ? static_cast<double>(bytes_done) / static_cast<double>(bytes_total)
                   : static_cast<double>(items_done) / static_cast<double>(items_total);
  } else if (bytes_total > 0) {
    fraction = static_cast<double>(bytes_done) / static_cast<double>(bytes_total);
  }
  fraction = std::min(fraction, 1.0);
  std::string tail;
  if (items_total > 1) tail += fmt::format("  {}/{}", items_done, items_total);
  tail += fmt::format("  {}", FormatBytes(static_cast<double>(bytes_done)));
  if (items_total <= 1 && bytes_total > 0) {
    tail += fmt::format("/{}", FormatBytes(static_cast<double>(bytes_total)));
  }
  tail += fmt::format("  {}/s", FormatBytes(rate));
  if (fraction > 0) {
    tail += fmt::format("  ETA {}", FormatTime(elapsed.count() * (1 - fraction) / fraction));
  }
  std::string line;
  if (fraction >= 0) {
    const std::string percent = fmt::format(" {:3.0f}%", fraction * 100);
    if (columns > tail.size() + percent.size() + 12) {
      const std::size_t width =
          std::min<std::size_t>(40, columns - tail.size() - percent.size() - 3);
      const auto filled = static_cast<std::size_t>(fraction * static_cast<double>(width));
      line = "[" + std::string(filled, '=') + (filled < width ? ">" : "") +
             std::string(width - std::min(width, filled + 1), ' ') + "]";
    }
    line += percent;
  }
  line += tail;
  if (line.size() > columns) line.resize(columns);
  return line;
}

ProgressMeter::ProgressMeter(std::uint64_t items_total)
    : start_(std::chrono::steady_clock::now()), items_total_(items_total) {
  if (::isatty(STDERR_FILENO) == 0) return;
  thread_ = std::jthread([this](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake_up;
    std::unique_lock lock(mutex);
    auto next = start_ + std::chrono::seconds(1);
    while (!wake_up.wait_until(lock, stop, next, [] { return false; }) && !stop.stop_requested()) {
      Draw();
      next = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    }
  });
}

ProgressMeter::~ProgressMeter() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  Wipe();
}

void ProgressMeter::Wipe() {
  const MutexLock lock(mutex_);
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

void ProgressMeter::Draw() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  const Progress progress{.bytes_done = bytes_done_.load(std::memory_order_relaxed),
                          .bytes_total = bytes_total_.load(std::memory_order_relaxed),
                          .items_done = items_done_.load(std::memory_order_relaxed),
                          .items_total = items_total_,
                          .elapsed = std::chrono::steady_clock::now() - start_};
  const MutexLock lock(mutex_);
  std::fprintf(stderr, "\r%s\033[K", progress.Line(known ? size.ws_col - 1U : 79U).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace ds::daemon
