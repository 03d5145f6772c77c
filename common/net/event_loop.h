#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

namespace ds::net {

/// One thread's epoll set with timers, deferred calls and a wake-up from other threads. All methods
/// but Post() and Stop() belong to the thread that calls Run() (and, before Run(), to the one that
/// sets it up).
class EventLoop {
 public:
  /// Told about the descriptors it was added for. Owned by the caller, which must Remove() every
  /// descriptor before it destroys the watcher; that is safe inside OnEvents() too.
  class Watcher {
   public:
    /// `events` as in epoll_wait(2); 0 for a call asked for with Defer().
    virtual void OnEvents(std::uint32_t events) = 0;

   protected:
    virtual ~Watcher() = default;
  };

  /// One deadline. Owned by the caller, which must Cancel() it before it destroys the timer.
  class Timer {
   public:
    /// Called once when the deadline has passed; the timer is not armed then.
    virtual void OnTimer() = 0;
    bool armed() const { return armed_; }

   protected:
    virtual ~Timer() = default;

   private:
    friend class EventLoop;
    TimePoint deadline_;   ///< when OnTimer() is due
    TimePoint scheduled_;  ///< its place in timers_: at or before deadline_
    bool armed_ = false;
  };

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();

  absl::Status Add(int fd, std::uint32_t events, Watcher* watcher);
  /// Reports anew what holds now, and edges from now on. REQUIRES: `fd` was added.
  void Rearm(int fd, std::uint32_t events, Watcher* watcher);
  /// Also forgets events of `watcher` that were fetched and not yet delivered.
  void Remove(int fd, Watcher* watcher);
  /// Remove() for a watcher whose only descriptor is closed right after: the kernel takes that out
  /// of the set by itself, which saves a system call.
  void Forget(Watcher* watcher);
  /// Calls OnEvents(0) once the other descriptors of this turn had theirs: how a busy connection
  /// gives way. Remove() or CancelDefer() takes it back. REQUIRES: no call is outstanding.
  void Defer(Watcher* watcher) { deferred_.push_back(watcher); }
  void CancelDefer(Watcher* watcher);

  /// Arms or moves. Moving a deadline to a later time costs nothing (the timer is looked at again
  /// when the earlier one has passed), so a deadline may be moved at every packet. A timer armed in
  /// OnTimer() is due in the next turn at the earliest.
  void Arm(Timer* timer, TimePoint deadline);
  void Cancel(Timer* timer);

  /// The time at which this turn of the loop began.
  TimePoint now() const { return now_; }

  /// Runs `task` on the loop's thread. Thread-safe; the queue is for control (stop, reload), not
  /// for traffic, and has no bound of its own.
  void Post(std::function<void()> task);

  void Run();
  /// Makes Run() return after the current turn. Thread-safe.
  void Stop();

 private:
  static constexpr int kEventsMax = 256;

  EventLoop(UniqueFd epoll, UniqueFd wake_up);
  void Wait();
  void RunTimers();
  void RunPosted();
  void RunDeferred();

  const UniqueFd epoll_;
  const UniqueFd wake_up_;  ///< eventfd
  TimePoint now_;
  std::array<epoll_event, kEventsMax> events_{};
  int event_count_ = 0;
  int event_next_ = 0;
  std::vector<Watcher*> deferred_;
  std::vector<Watcher*> deferred_now_;
  absl::btree_set<std::pair<TimePoint, Timer*>> timers_;
  bool running_timers_ = false;
  std::atomic<bool> stopped_{false};

  Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ds::net
