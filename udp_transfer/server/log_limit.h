#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>

#include "common/base/time.h"

namespace ds::udp_transfer {

/// Lets through so many log lines a second of those that anybody on the network can cause, and
/// counts the rest. Not thread-safe.
///
///   if (limit.Allow(now)) spdlog::info("…{}", limit.Suppressed());
class LogLimit {
 public:
  static constexpr int kLinesPerSecond = 10;

  /// Whether a line may be written now.
  bool Allow(TimePoint now) {
    if (now - begin_ >= std::chrono::seconds(1)) {
      begin_ = now;
      left_ = kLinesPerSecond;
    }
    if (left_ == 0) {
      ++suppressed_;
      return false;
    }
    --left_;
    return true;
  }
  /// For the end of a line: how many were left out since the last one that says so, if any.
  std::string Suppressed() {
    const std::uint64_t lines = std::exchange(suppressed_, 0);
    return lines == 0 ? "" : fmt::format(" (and {} lines left out before it)", lines);
  }

 private:
  TimePoint begin_{};
  int left_ = kLinesPerSecond;
  std::uint64_t suppressed_ = 0;
};

}  // namespace ds::udp_transfer
