#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "common/base/time.h"

namespace ds::ipc_proxy_cache {

/// Whether a line of one kind is logged, where a peer decides how often there is something to log:
/// the first at once, then at most one in each kPause. What is counted elsewhere stays exact. A
/// value.
class LogLimit {
 public:
  static constexpr Duration kPause = std::chrono::seconds(1);

  /// Nothing: leave this one out. Else log it; so many before it were left out.
  std::optional<std::uint64_t> Admit(TimePoint now) {
    if (logged_ && now - *logged_ < kPause) {
      ++left_out_;
      return std::nullopt;
    }
    logged_ = now;
    return std::exchange(left_out_, 0);
  }

 private:
  std::optional<TimePoint> logged_;  ///< the last one
  std::uint64_t left_out_ = 0;       ///< since then
};

}  // namespace ds::ipc_proxy_cache
