#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/load/histogram.h"

namespace ds::load {

/// What one thread of a load generator counts; the threads' tallies are merged for the report, or
/// every second for a line about that second. A value, single threaded.
struct LoadTally {
  struct Error {
    std::uint64_t count = 0;
    std::string example;  ///< what was said of the first one
  };

  LatencyHistogram latency;                          ///< of each request that succeeded
  std::uint64_t bytes = 0;                           ///< of their answers, without heads
  std::map<std::string, Error, std::less<>> errors;  ///< requests that failed, by kind
  /// Open loop: requests that began more than kLateNs after they could have, though a connection
  /// was free. It is the client that was late then.
  std::uint64_t late_starts = 0;

  void AddError(std::string_view kind, std::string_view example);
  void Merge(const LoadTally& other);
  void Clear();
  std::uint64_t requests() const { return latency.count(); }
  std::uint64_t ErrorCount() const;
};

inline constexpr std::uint64_t kLateNs = 1'000'000;

/// The result of a run. Pure: texts are functions of the fields.
struct LoadReport {
  std::string protocol;
  std::uint64_t connections = 0;
  unsigned threads = 0;
  unsigned cores = 1;  ///< that the client's threads can run on
  double seconds = 0;
  LoadTally tally;
  /// Open loop: requests that were due and had not begun when the time was over.
  std::uint64_t never_begun = 0;
  /// User and system time of the client over seconds * threads.
  double client_cpu_fraction = 0;

  /// A table for people; the last lines are Unbegun() and Bottleneck(), where there is something.
  std::string ToText() const;
  /// One line: protocol, connections, threads, seconds, requests, errors{}, bytes,
  /// requests_per_second, bytes_per_second, latency_us{mean, p50, p90, p99, p999, p9999, max},
  /// client_cpu_fraction.
  std::string ToJson() const;
  /// "17 requests were due and had not begun when the time was over", if there were any.
  std::optional<std::string> Unbegun() const;
  /// Why the figures say more about the client than about the server, if they do.
  std::optional<std::string> Bottleneck() const;
};

/// "  12.0 s  48210 req/s  197.5 MB/s  p50 0.61 ms  p99 1.92 ms  0 errors": one second of a run.
std::string IntervalLine(double elapsed_s, double interval_s, const LoadTally& tally);

}  // namespace ds::load
