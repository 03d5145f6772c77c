#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "common/base/mutex.h"
#include "common/daemon/metrics.h"

namespace ds::rpc {

/// Calls by method and status code, ended and under way, of one server or of one program's
/// channels. Thread-safe; owned by whoever makes the server or the channels, and outlives them.
class CallCounts {
 public:
  static constexpr std::size_t kCodes = 17;

  class Method {
   public:
    /// A code that is none of the 17 counts as UNKNOWN.
    void Begin() { open_.fetch_add(1, std::memory_order_relaxed); }
    void End(int code);

   private:
    friend class CallCounts;
    std::array<std::atomic<std::uint64_t>, kCodes> ended_{};
    std::atomic<std::int64_t> open_{0};
  };

  /// Of a method by its full name, "/package.Service/Method". Stays where it is. All methods that
  /// this program has no code for are one, "other": peers may ask for whatever they like.
  Method& Of(std::string_view method);

  struct Open {
    std::int64_t calls = 0;     ///< that somebody waits for
    std::int64_t watchers = 0;  ///< of health and reflection: they last as long as the client likes
  };
  Open open() const;

  /// `<prefix>_calls_total{method,code}` and `<prefix>_calls_open{method}`.
  void Collect(const std::string& prefix, daemon::MetricsPage& page) const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, Method, std::less<>> methods_ ABSL_GUARDED_BY(mutex_);
};

/// "DEADLINE_EXCEEDED", as gRPC's documents name it. REQUIRES: 0 <= code < kCodes.
std::string CodeName(int code);

}  // namespace ds::rpc
