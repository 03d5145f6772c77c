#include "common/net/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "common/base/check.h"

namespace ds::net {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ErrnoError("epoll_create1", errno);
  UniqueFd wake_up(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_up) return ErrnoError("eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // no watcher: the wake-up itself
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake_up.get(), &event) != 0) {
    return ErrnoError("epoll_ctl", errno);
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wake_up)));
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd wake_up)
    : epoll_(std::move(epoll)),
      wake_up_(std::move(wake_up)),
      now_(std::chrono::steady_clock::now()) {}

absl::Status EventLoop::Add(int fd, std::uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoError("epoll_ctl", errno);
  }
  return absl::OkStatus();
}

void EventLoop::Rearm(int fd, std::uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0, "not in the loop");
}

void EventLoop::Remove(int fd, Watcher* watcher) {
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0, "not in the loop");
  Forget(watcher);
}

void EventLoop::Forget(Watcher* watcher) {
  for (int i = event_next_; i < event_count_; ++i) {
    auto& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == watcher) {
      event.data.ptr = nullptr;
      event.events = 0;
    }
  }
  CancelDefer(watcher);
}

void EventLoop::CancelDefer(Watcher* watcher) {
  std::replace(deferred_.begin(), deferred_.end(), watcher, static_cast<Watcher*>(nullptr));
  std::replace(deferred_now_.begin(), deferred_now_.end(), watcher, static_cast<Watcher*>(nullptr));
}

void EventLoop::Arm(Timer* timer, TimePoint deadline) {
  // Never in the turn that is running: a timer that arms itself for now must not starve the rest.
  if (running_timers_) deadline = std::max(deadline, now_ + Duration(1));
  if (timer->armed_) {
    timer->deadline_ = deadline;
    if (timer->scheduled_ <= deadline) return;
    timers_.erase({timer->scheduled_, timer});
  }
  timer->deadline_ = timer->scheduled_ = deadline;
  timer->armed_ = true;
  timers_.insert({deadline, timer});
}

void EventLoop::Cancel(Timer* timer) {
  if (!timer->armed_) return;
  timers_.erase({timer->scheduled_, timer});
  timer->armed_ = false;
}

void EventLoop::Post(std::function<void()> task) {
  {
    const MutexLock lock(mutex_);
    posted_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  // Cannot fail but for a full counter, and then the loop is awake already.
  [[maybe_unused]] const ssize_t n = ::write(wake_up_.get(), &one, sizeof one);
}

void EventLoop::Stop() {
  Post([this] { stopped_.store(true, std::memory_order_relaxed); });
}

void EventLoop::Run() {
  while (!stopped_.load(std::memory_order_relaxed)) {
    Wait();
    while (event_next_ < event_count_) {
      const epoll_event event = events_[static_cast<std::size_t>(event_next_++)];
      if (event.data.ptr != nullptr) {
        static_cast<Watcher*>(event.data.ptr)->OnEvents(event.events);
      } else if ((event.events & EPOLLIN) != 0) {
        RunPosted();
      }
    }
    RunDeferred();
    RunTimers();
  }
}

void EventLoop::Wait() {
  timespec timeout{};
  timespec* limit = nullptr;
  if (!deferred_.empty()) {
    limit = &timeout;
  } else if (!timers_.empty()) {
    const auto left = timers_.begin()->first - std::chrono::steady_clock::now();
    if (left > Duration::zero()) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
      timeout.tv_sec = static_cast<time_t>(seconds.count());
      timeout.tv_nsec = static_cast<long>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(left - seconds).count());
    }
    limit = &timeout;
  }
  event_next_ = 0;
  event_count_ = ::epoll_pwait2(epoll_.get(), events_.data(), kEventsMax, limit, nullptr);
  if (event_count_ < 0) {
    CHECK(errno == EINTR, "epoll_pwait2");
    event_count_ = 0;
  }
  now_ = std::chrono::steady_clock::now();
}

void EventLoop::RunDeferred() {
  if (deferred_.empty()) return;
  deferred_now_.swap(deferred_);
  for (std::size_t i = 0; i < deferred_now_.size(); ++i) {  // CancelDefer() may clear entries
    if (Watcher* watcher = deferred_now_[i]; watcher != nullptr) {
      deferred_now_[i] = nullptr;
      watcher->OnEvents(0);
    }
  }
  deferred_now_.clear();
}

void EventLoop::RunTimers() {
  running_timers_ = true;
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Timer* timer = timers_.begin()->second;
    timers_.erase(timers_.begin());
    if (timer->deadline_ > timer->scheduled_) {  // moved to a later time since it was placed
      timer->scheduled_ = timer->deadline_;
      timers_.insert({timer->scheduled_, timer});
      continue;
    }
    timer->armed_ = false;
    timer->OnTimer();
  }
  running_timers_ = false;
}

void EventLoop::RunPosted() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(wake_up_.get(), &count, sizeof count);
  std::vector<std::function<void()>> tasks;
  {
    const MutexLock lock(mutex_);
    tasks.swap(posted_);
  }
  for (const auto& task : tasks) task();
}

}  // namespace ds::net
