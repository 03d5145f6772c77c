#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "common/base/mutex.h"

namespace ds::daemon {

/// What a progress line says at one moment. Pure: the text is a function of these.
struct Progress {
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;  ///< 0: unknown
  std::uint64_t items_done = 0;
  std::uint64_t items_total = 0;  ///< 0: unknown
  std::chrono::duration<double> elapsed{};

  /// "[=======>      ]  52%  1.2 GiB/2.3 GiB  310 MiB/s  ETA 0:03", at most `columns` wide.
  std::string Line(std::size_t columns) const;
};

/// Bytes with a binary unit: "17 B", "1.5 KiB", "2.0 GiB".
std::string FormatBytes(double bytes);

/// A progress line on stderr, redrawn ten times a second, from one second after the start; nothing
/// at all when stderr is no terminal. The counters may be advanced from any thread.
class ProgressMeter {
 public:
  explicit ProgressMeter(std::uint64_t items_total = 0);
  /// Wipes the line.
  ~ProgressMeter();

  void AddBytes(std::uint64_t n) { bytes_done_.fetch_add(n, std::memory_order_relaxed); }
  void AddBytesExpected(std::uint64_t n) { bytes_total_.fetch_add(n, std::memory_order_relaxed); }
  /// Takes the line away until it is drawn next, for output that shares the terminal.
  void Wipe();
  void AddItem() { items_done_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void Draw();

  const std::chrono::steady_clock::time_point start_;
  const std::uint64_t items_total_;
  std::atomic<std::uint64_t> bytes_done_{0};
  std::atomic<std::uint64_t> bytes_total_{0};
  std::atomic<std::uint64_t> items_done_{0};
  Mutex mutex_;
  bool drawn_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace ds::daemon
