#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "common/base/time.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// How long a simulated disk takes for writes that are synced: one after the other, each a drawn
/// time. The driver does the write itself (on a SimDisk) at the end of that time, so that a crash
/// before it finds nothing written. Draws from the scheduler's rng(). Single threaded.
class DiskLatency {
 public:
  /// May be changed during the run; a write meets what holds when it is asked for.
  struct Options {
    Duration sync_min = std::chrono::microseconds(500);
    Duration sync_mean =
        std::chrono::milliseconds(1);         ///< exponentially distributed above sync_min
    std::uint64_t bytes_per_s = 400'000'000;  ///< 0: bytes take no time
    double stall = 0;  ///< probability that a write takes a time within these two more
    Duration stall_min = std::chrono::milliseconds(500);
    Duration stall_max = std::chrono::seconds(3);
  };
  struct Counters {
    std::uint64_t syncs = 0;
    std::uint64_t stalls = 0;
    friend bool operator==(const Counters&, const Counters&) = default;
  };

  DiskLatency(Scheduler& scheduler, const Options& options)
      : scheduler_(scheduler), options_(options) {}

  Options& options() { return options_; }
  const Counters& counters() const { return counters_; }

  /// The end of a write of so many bytes and its sync that are asked for now.
  TimePoint Sync(std::uint64_t bytes);
  /// Plans `then` for the end. Cancel it when the machine crashes.
  Scheduler::EventId Sync(std::uint64_t bytes, Scheduler::Event then) {
    return scheduler_.At(Sync(bytes), std::move(then));
  }
  /// The machine has crashed: nothing is under way any more.
  void Restart() { busy_until_ = scheduler_.now(); }

 private:
  Scheduler& scheduler_;
  Options options_;
  Counters counters_;
  TimePoint busy_until_;
};

}  // namespace ds::sim
