#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "compute/core/classic_broker.h"
#include "compute/core/reliable_broker.h"
#include "compute/zmq/options.h"
#include "compute/zmq/socket.h"

namespace ds::compute::zmq {

/// zmq-server: the five sockets, the two brokers, and the one thread that owns them all.
class Server final : public daemon::Service {
 public:
  /// Binds and serves. `metrics` must outlive the server.
  static absl::StatusOr<daemon::Started> Start(const ServerOptions& options,
                                               daemon::Metrics* metrics);
  ~Server() override;

  /// Takes no more requests, and answers those that are open.
  void Drain(TimePoint deadline) override;
  int failed_fd() const override { return failed_.get(); }

 private:
  struct Sockets;
  /// What the metrics page shows.
  struct Snapshot {
    ClassicBroker::Stats classic;
    ReliableBroker::Stats reliable;
    std::size_t classic_open = 0, reliable_open = 0, reliable_workers = 0;
    std::uint64_t multipart = 0;  ///< messages on classic sockets with more than one frame
    std::uint64_t unsent = 0;     ///< messages to peers of the reliable service that are gone
  };

  explicit Server(const ServerOptions& options);
  void Serve();
  void ReadRequests(TimePoint now);
  void ReadAnswers(TimePoint now);
  void ReadReliable(TimePoint now);
  void ReadSubscriptions(TimePoint now);
  void Publish();
  void SendReliable(TimePoint now);
  void Collect(daemon::MetricsPage& page);

  ZmqContext context_;
  std::unique_ptr<Sockets> sockets_;
  ClassicBroker classic_;
  ReliableBroker reliable_;
  const bool has_reliable_;
  UniqueFd wake_;    ///< eventfd: draining_ or stopping_ has changed
  UniqueFd failed_;  ///< eventfd: the thread has ended by itself

  std::mutex mutex_;
  std::condition_variable changed_;
  bool draining_ = false;  ///< guarded by mutex_
  bool stopping_ = false;  ///< guarded by mutex_
  bool drained_ = false;   ///< guarded by mutex_
  Snapshot snapshot_;      ///< guarded by mutex_

  std::uint64_t multipart_ = 0;
  std::uint64_t unsent_ = 0;
  daemon::Metrics::Registration registration_;
  std::jthread thread_;
};

}  // namespace ds::compute::zmq
