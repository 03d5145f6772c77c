#include "compute/tcp/connection_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace ds::compute::tcp {

absl::StatusOr<std::unique_ptr<ConnectionQueue>> ConnectionQueue::Create(std::size_t capacity) {
  UniqueFd signal(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!signal) return ErrnoError("eventfd", errno);
  return std::unique_ptr<ConnectionQueue>(new ConnectionQueue(capacity, std::move(signal)));
}

bool ConnectionQueue::Push(Accepted& connection, const std::stop_token& stop) {
  {
    std::unique_lock lock(mutex_);
    if (!taken_.wait(lock, stop, [&] { return queue_.size() < capacity_; })) return false;
    queue_.push_back(std::move(connection));
  }
  const std::uint64_t one = 1;
  // Cannot fail but for a full counter, and then the worker is awake already.
  [[maybe_unused]] const ssize_t n = ::write(signal_.get(), &one, sizeof one);
  return true;
}

std::optional<Accepted> ConnectionQueue::Take() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return std::nullopt;
  std::optional<Accepted> first(std::move(queue_.front()));
  queue_.pop_front();
  taken_.notify_one();
  return first;
}

}  // namespace ds::compute::tcp
