#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::compute::tcp {

/// What prime-bench can be told.
struct BenchOptions {
  std::string server;  ///< HOST:PORT
  unsigned threads = 1;
  unsigned connections = 1;            ///< in all, divided among the threads
  unsigned depth = 1;                  ///< numbers under way on each; above 1: pipelined
  bool bare = false;                   ///< the classic wire: no newlines
  bool echo = false;                   ///< the server is a bare echo (prime-server --echo)
  double seconds = 10;                 ///< numbers are sent for so long
  double warmup_s = 0;                 ///< load before the measurement
  double timeout_s = 10;               ///< without an answer
  std::vector<std::uint64_t> numbers;  ///< asked about in turn; empty: the client's default list
  bool json = false;

  absl::Status Validate() const {
    if (threads < 1 || threads > 1024) return InvalidArgument("--threads: 1 to 1024");
    if (connections < threads) {
      return InvalidArgument("--connections: fewer than threads; every thread needs one");
    }
    if (connections > 1'000'000) return InvalidArgument("--connections: at most 1000000");
    if (depth < 1 || depth > 65536) return InvalidArgument("--depth: 1 to 65536");
    if (bare && depth > 1) {
      return InvalidArgument("--bare: without newlines there is one number at a time (--depth 1)");
    }
    const auto is_time = [](double s) { return s >= 0 && s <= 1e6; };  // a NaN is none
    if (!is_time(seconds) || seconds == 0 || !is_time(warmup_s) || !is_time(timeout_s) ||
        timeout_s == 0) {
      return InvalidArgument("--duration, --timeout: above 0, at most 1000000 seconds");
    }
    return absl::OkStatus();
  }
};

}  // namespace ds::compute::tcp
