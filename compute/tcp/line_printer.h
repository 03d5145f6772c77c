#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

namespace ds::compute::tcp {

/// Prints whole lines to a descriptor from a thread of its own, so that a reader who does not read
/// holds up no worker. Bounded: lines that find kBytesMax waiting are lost, and counted.
/// Thread-safe.
class LinePrinter {
 public:
  static constexpr std::size_t kBytesMax = 1U << 20U;

  /// `fd` stays the caller's, and must outlive the printer.
  static absl::StatusOr<std::unique_ptr<LinePrinter>> Start(int fd);
  /// What was not printed by now is lost; see Flush().
  ~LinePrinter();

  /// `line`: without its end.
  void Print(std::string_view line);
  /// Waits until all is printed, or lost since nobody can read it, at most until `deadline`.
  void Flush(TimePoint deadline);

  std::uint64_t lines_lost() const { return lines_lost_.load(std::memory_order_relaxed); }

 private:
  LinePrinter(int fd, UniqueFd stop);
  void Run(const std::stop_token& stop);
  bool Write(std::string_view lines);

  const int fd_;
  const UniqueFd stop_;  ///< eventfd: readable when the printer is to end
  std::atomic<std::uint64_t> lines_lost_{0};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::string waiting_;    // guarded by mutex_
  bool printing_ = false;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace ds::compute::tcp
