#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "compute/tcp/worker.h"

namespace ds::compute::tcp {

/// The thread that accepts: gives each connection to the worker that has the fewest. Beyond
/// `connections_max` a peer is told so and closed. Owned by the server; thread-safe as said.
class Acceptor {
 public:
  struct Counters {
    Counter refused;        ///< beyond the limit
    Counter accept_errors;  ///< EMFILE and its like
  };

  /// Workers and `connections_open` must outlive the acceptor.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(
      std::vector<net::Listener> listeners, const std::vector<std::unique_ptr<Worker>>* workers,
      std::size_t connections_max, std::atomic<std::size_t>* connections_open);
  ~Acceptor() { Stop(); }

  /// Accepts what is waiting, closes the listeners and ends the thread. Not thread-safe.
  void Stop();

  /// Thread-safe.
  const Counters& counters() const { return counters_; }

 private:
  Acceptor(std::vector<net::Listener> listeners,
           const std::vector<std::unique_ptr<Worker>>* workers, std::size_t connections_max,
           std::atomic<std::size_t>* connections_open, UniqueFd stop);
  void Run(const std::stop_token& stop);
  enum class Outcome { kAccepted, kNobody, kPeerGone, kNoResources };
  Outcome AcceptOne(int listener, const std::stop_token& stop);
  void HandOver(Accepted connection, const std::stop_token& stop);

  std::vector<net::Listener> listeners_;
  const std::vector<std::unique_ptr<Worker>>* const workers_;
  const std::size_t connections_max_;
  std::atomic<std::size_t>* const connections_open_;
  const UniqueFd stop_;  ///< eventfd: readable when the thread is to end
  Counters counters_;
  std::jthread thread_;
};

}  // namespace ds::compute::tcp
