#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "common/base/rng.h"
#include "common/base/time.h"

namespace ds::sim {

/// What one simulated run came to. A value: two runs of one seed must be equal.
struct RunResult {
  std::optional<std::string> failure;  ///< the first; with its time and step
  std::uint64_t steps = 0;
  std::uint64_t digest = 0;             ///< of the whole trace
  std::vector<std::string> trace_tail;  ///< its last lines

  friend bool operator==(const RunResult&, const RunResult&) = default;
};

/// One simulated run: a virtual clock, events in the order of their time (those of one time in the
/// order in which they were planned), the run's randomness, and its trace. Everything simulated
/// hangs on it: links, disks and processes plan events and draw from rng(). The run is a function
/// of the seed, as long as nothing else is asked for time or randomness and no pointer or unordered
/// container decides an order; Explore() compares digests to see to it. Owned by the test, which
/// keeps what events refer to until they have run or the scheduler is gone; events that never run
/// are dropped with it. Single threaded.
class Scheduler {
 public:
  using Event = std::function<void()>;

  /// Names a planned event. Never used again in a run.
  struct EventId {
    TimePoint time;
    std::uint64_t number = 0;
    friend bool operator==(const EventId&, const EventId&) = default;
    friend bool operator<(const EventId& a, const EventId& b) {
      return std::tie(a.time, a.number) < std::tie(b.time, b.number);
    }
  };

  enum class End {
    kIdle,       ///< nothing is planned any more
    kFailed,     ///< Fail() was called
    kTimeLimit,  ///< the next event lies beyond; the clock stands at the limit
    kStepLimit,
  };

  static constexpr std::size_t kTraceLines = 60;

  /// The clock begins at 1000 s, so that a moment before the begin can be expressed.
  explicit Scheduler(std::uint64_t seed) : rng_(seed) {}

  TimePoint now() const { return now_; }
  Rng& rng() { return rng_; }
  /// Events that have run.
  std::uint64_t steps() const { return steps_; }

  /// Plans `event`; for a time that has passed, now, after what is planned for now already.
  EventId At(TimePoint time, Event event);
  EventId After(Duration delay, Event event) { return At(now_ + delay, std::move(event)); }
  /// False when it has run, or was cancelled before.
  bool Cancel(const EventId& id) { return events_.erase(id) == 1; }

  /// Runs the next event. False: there is none.
  bool Step();
  /// Runs events until one of the ends. `after_step` runs after each, at its time: the place for
  /// invariants, and for faults at a step instead of a time.
  End Run(TimePoint time_limit,
          std::uint64_t step_limit = std::numeric_limits<std::uint64_t>::max(),
          const Event& after_step = nullptr);

  /// Adds a line to the trace. The last kTraceLines are kept, all go into the digest. Name what
  /// happened and its numbers, never an address of memory.
  template <typename... Args>
  void Trace(fmt::format_string<Args...> format, Args&&... args) {
    line_.clear();
    fmt::format_to(std::back_inserter(line_), format, std::forward<Args>(args)...);
    AddTraceLine(std::string_view(line_.data(), line_.size()));
  }
  /// An invariant does not hold. The first failure of a run counts; Run() ends.
  void Fail(std::string_view what);
  bool failed() const { return failure_.has_value(); }

  RunResult Result() const;

 private:
  void AddTraceLine(std::string_view line);

  TimePoint now_{std::chrono::seconds(1000)};
  Rng rng_;
  std::map<EventId, Event> events_;
  std::uint64_t next_number_ = 0;
  std::uint64_t steps_ = 0;
  std::optional<std::string> failure_;
  std::uint64_t digest_ = 0xcbf29ce484222325;
  std::deque<std::string> trace_tail_;
  fmt::memory_buffer line_;
};

}  // namespace ds::sim
