#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"

namespace ds::compute::tcp {

/// A connection that was accepted and belongs to no worker yet.
struct Accepted {
  UniqueFd socket;
  net::Endpoint peer;
};

/// The connections on their way from the accepting thread to one worker. Bounded: when it is full
/// the accepting thread waits, and who comes meanwhile waits in the kernel's backlog. Thread-safe.
class ConnectionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<ConnectionQueue>> Create(std::size_t capacity);

  /// Waits while the queue is full; false, and nothing is taken, once `stop` is requested and it
  /// still is.
  bool Push(Accepted& connection, const std::stop_token& stop);
  std::optional<Accepted> Take();
  /// eventfd: readable when there may be something to take. Take() does not read it.
  int fd() const { return signal_.get(); }

 private:
  ConnectionQueue(std::size_t capacity, UniqueFd signal)
      : capacity_(capacity), signal_(std::move(signal)) {}

  const std::size_t capacity_;
  const UniqueFd signal_;
  std::mutex mutex_;
  std::condition_variable_any taken_;
  std::deque<Accepted> queue_;  // guarded by mutex_
};

}  // namespace ds::compute::tcp
