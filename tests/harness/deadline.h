#pragma once

#include "common/base/time.h"

namespace ds::testing {

// Deadlines in tests are the last resort against hanging, never the thing under test: they are so
// long that only something broken meets them, and longer still where a sanitizer slows everything.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kSlowdown = 10;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr int kSlowdown = 10;
#else
inline constexpr int kSlowdown = 1;
#endif
#else
inline constexpr int kSlowdown = 1;
#endif

/// The deadline of everything that a test waits for and names no deadline of its own. All functions
/// of the harness stretch the deadlines given to them by kSlowdown.
inline constexpr Duration kDeadline = std::chrono::seconds(30);

}  // namespace ds::testing
