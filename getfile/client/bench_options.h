#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/load/pacer.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {

/// What getfile-bench can be told.
struct BenchOptions {
  std::string server = "127.0.0.1";  ///< name or address
  std::uint16_t port = 10880;
  Protocol protocol = Protocol::kGetfile;
  bool keep_alive = false;  ///< many requests per connection; else one
  unsigned threads = 1;
  unsigned connections = 1;    ///< in all, divided among the threads
  double seconds = 10;         ///< new requests begin for so long; or
  std::uint64_t requests = 0;  ///< so many, if not 0
  std::uint64_t rate = 0;      ///< open loop: requests per second; 0: closed loop
  std::string workload_file;   ///< request i takes path i mod n
  std::string verify_file;     ///< list of sha256sum(1); empty: only lengths are checked
  double timeout_s = 10;       ///< for each request, connecting included
  double warmup_s = 0;         ///< load before the measurement
  bool json = false;

  absl::Status Validate() const {
    if (threads < 1 || threads > 1024) return InvalidArgument("--threads: 1 to 1024");
    if (connections < threads) {
      return InvalidArgument("--connections: fewer than threads; every thread needs one");
    }
    if (connections > 1'000'000) return InvalidArgument("--connections: at most 1000000");
    if (rate > load::Pacer::kRateMax) return InvalidArgument("--rate: at most 1000000000");
    const auto is_time = [](double s) { return s >= 0 && s <= 1e6; };  // a NaN is none
    if (requests == 0 && !(is_time(seconds) && seconds > 0)) {
      return InvalidArgument("--duration: above 0, at most 1000000 seconds");
    }
    if (!is_time(timeout_s) || timeout_s == 0) {
      return InvalidArgument("--timeout: above 0, at most 1000000 seconds");
    }
    if (!is_time(warmup_s)) return InvalidArgument("--warmup: 0 to 1000000 seconds");
    if (workload_file.empty()) return InvalidArgument("--workload: a file of paths is needed");
    return absl::OkStatus();
  }
};

}  // namespace ds::getfile
