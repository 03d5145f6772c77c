#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"

namespace ds::net {

/// A few threads that do for one EventLoop what may block (disk, resolver). A task is an object of
/// its user's that is handed over and comes back, so nothing is allocated, the queue is as long as
/// there are tasks, and what one user does is done in order. All methods belong to the loop's
/// thread (and to the one that sets it up).
class WorkPool final : EventLoop::Watcher {
 public:
  /// One piece of work after the other. Must stay alive while it is under way.
  class Task {
   public:
    /// On a thread of the pool.
    virtual void Work() = 0;
    /// On the loop's thread, after Work(). May submit the task again, or destroy it.
    virtual void OnDone() = 0;
    /// From Submit() until OnDone().
    bool under_way() const { return under_way_; }

   protected:
    virtual ~Task() = default;

   private:
    friend class WorkPool;
    bool under_way_ = false;
  };

  /// The threads are called `<name>-<number>`. `loop` must outlive the pool.
  static absl::StatusOr<std::unique_ptr<WorkPool>> Create(EventLoop* loop, std::size_t threads,
                                                          const std::string& name);
  /// Waits for the work that has begun; the rest is never done. No OnDone() comes any more.
  ~WorkPool() override;

  /// REQUIRES: !task->under_way().
  void Submit(Task* task);

 private:
  WorkPool(EventLoop* loop, UniqueFd done_signal);
  void OnEvents(std::uint32_t events) override;
  void RunThread(const std::stop_token& stop);

  EventLoop* const loop_;
  const UniqueFd done_signal_;  ///< eventfd: done_ is not empty
  std::vector<Task*> done_now_;

  Mutex mutex_;
  std::condition_variable_any submitted_;
  std::deque<Task*> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<Task*> done_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
};

}  // namespace ds::net
