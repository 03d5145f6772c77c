#include "common/net/work_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/base/check.h"

namespace ds::net {

absl::StatusOr<std::unique_ptr<WorkPool>> WorkPool::Create(EventLoop* loop, std::size_t threads,
                                                           const std::string& name) {
  UniqueFd done_signal(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!done_signal) return ErrnoError("eventfd", errno);
  std::unique_ptr<WorkPool> pool(new WorkPool(loop, std::move(done_signal)));
  RETURN_IF_ERROR(loop->Add(pool->done_signal_.get(), EPOLLIN, pool.get()));
  for (std::size_t i = 0; i < threads; ++i) {
    pool->threads_.emplace_back(
        [raw = pool.get()](const std::stop_token& stop) { raw->RunThread(stop); });
    ::pthread_setname_np(pool->threads_.back().native_handle(),
                         fmt::format("{}-{}", name, i).substr(0, 15).c_str());
  }
  return pool;
}

WorkPool::WorkPool(EventLoop* loop, UniqueFd done_signal)
    : loop_(loop), done_signal_(std::move(done_signal)) {}

WorkPool::~WorkPool() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
  loop_->Remove(done_signal_.get(), this);
}

void WorkPool::Submit(Task* task) {
  CHECK(!task->under_way_, "one at a time");
  task->under_way_ = true;
  {
    const MutexLock lock(mutex_);
    queue_.push_back(task);
  }
  submitted_.notify_one();
}

void WorkPool::RunThread(const std::stop_token& stop) {
  for (;;) {
    Task* task = nullptr;
    {
      const MutexLock lock(mutex_);
      const auto has_work = [this]()
                                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty(); };
      if (!submitted_.wait(mutex_, stop, has_work)) return;
      if (stop.stop_requested()) return;
      task = queue_.front();
      queue_.pop_front();
    }
    task->Work();
    bool first = false;
    {
      const MutexLock lock(mutex_);
      first = done_.empty();
      done_.push_back(task);
    }
    if (first) {
      const std::uint64_t one = 1;
      CHECK(::write(done_signal_.get(), &one, sizeof one) == sizeof one);
    }
  }
}

void WorkPool::OnEvents(std::uint32_t /*events*/) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(done_signal_.get(), &count, sizeof count);
  {
    const MutexLock lock(mutex_);
    done_now_.swap(done_);
  }
  for (Task* task : done_now_) {
    task->under_way_ = false;
    task->OnDone();
  }
  done_now_.clear();
}

}  // namespace ds::net
