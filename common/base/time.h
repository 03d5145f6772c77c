#pragma once

#include <chrono>

namespace ds {

/// Points on the monotonic clock. Cores take them as arguments and never ask for them.
using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

}  // namespace ds
