#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "common/base/time.h"
#include "tests/sim/drifting_clock.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// What befalls a simulated process whatever it does: it is stopped (SIGSTOP, a paused virtual
/// machine) and goes on, it dies and is started again. While it is stopped its events wait, in
/// their order, and its clock goes on; with its death all of them are gone. Owned by the test, has
/// to outlive the events it plans. Single threaded.
class Process {
 public:
  using Event = std::function<void()>;

  Process(Scheduler& scheduler, DriftingClock& clock) : scheduler_(scheduler), clock_(clock) {}

  /// Starts alive.
  bool alive() const { return alive_; }
  bool paused() const { return paused_; }
  /// Counts its lives, from 0.
  std::uint64_t life() const { return life_; }
  DriftingClock& clock() { return clock_; }

  /// Runs the event now, or after all those that wait when it goes on. Nothing, when it is dead.
  void Do(Event event);
  /// Plans it for a virtual time; then as Do(), if this life lasts.
  Scheduler::EventId At(TimePoint virtual_time, Event event);
  /// Plans it for a time of the process's own clock, as that runs now. The clock may show less when
  /// it runs, if its rate has changed.
  Scheduler::EventId AtLocal(TimePoint local, Event event) {
    return At(clock_.WhenItShows(local), std::move(event));
  }

  /// Its events wait. No effect on a dead one.
  void Pause();
  /// What waits runs as an event of this time.
  void Resume();
  /// REQUIRES: alive().
  void Kill();
  /// REQUIRES: !alive().
  void Start();

 private:
  void RunWaiting();

  Scheduler& scheduler_;
  DriftingClock& clock_;
  bool alive_ = true;
  bool paused_ = false;
  bool draining_ = false;  ///< RunWaiting() is planned
  std::uint64_t life_ = 0;
  std::deque<Event> waiting_;
};

}  // namespace ds::sim
