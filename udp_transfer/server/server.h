#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "common/fs/file_lock.h"
#include "common/fs/rooted_disk.h"
#include "common/net/event_loop.h"
#include "common/net/work_pool.h"
#include "udp_transfer/net/datagram_port.h"
#include "udp_transfer/server/classic_service.h"
#include "udp_transfer/server/fast_service.h"
#include "udp_transfer/server/options.h"
#include "udp_transfer/server/partial_store.h"

namespace ds::udp_transfer {

/// udp-server: sockets, one thread for all of the protocols, a few for the disk.
class Server final : public daemon::Service, DatagramPort::Receiver {
 public:
  /// Locks the folder, binds (`listen`, or if that is empty `port` on loopback) and serves.
  /// kInvalidArgument: the configuration was refused. `metrics` must outlive the server.
  static absl::StatusOr<daemon::Started> Start(const ServerOptions& options,
                                               const std::vector<net::Endpoint>& listen,
                                               std::uint16_t port, daemon::Metrics* metrics);
  ~Server() override;

  void Drain(TimePoint deadline) override;

 private:
  class Expiry;

  explicit Server(ServerOptions options);
  absl::Status ReadKey();
  absl::Status OpenFolder(bool off_loopback);
  /// Of the hidden folder, called by the store.
  absl::Status LockFolder();
  absl::Status OpenPorts(const std::vector<net::Endpoint>& listen, std::uint16_t port);
  void OnDatagram(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                  TimePoint now) override;
  void OnTurn(DatagramPort& port) override;
  /// Ends all threads, and waits for what they are at. Harmless when called again.
  void Stop();
  void Collect(daemon::MetricsPage& page) const;
  /// On the loop's thread: tells Drain() when all is done.
  void CheckDrained();

  const ServerOptions options_;
  std::unique_ptr<fs::RootedDisk> disk_;
  std::unique_ptr<fs::FolderLock> lock_;  ///< used by the store, once there is one
  std::unique_ptr<PartialStore> store_;
  std::unique_ptr<KeySchedule> keys_;
  std::unique_ptr<net::EventLoop> loop_;
  ReceiveBatch in_;
  std::vector<std::unique_ptr<DatagramPort>> ports_;
  std::unique_ptr<net::WorkPool> pool_;
  std::unique_ptr<ClassicService> classic_;
  std::unique_ptr<FastService> fast_;
  std::unique_ptr<Expiry> expiry_;
  daemon::Metrics::Registration registration_;

  struct alignas(64) Counters {
    Counter classic_not_allowed, wrong_mode;
  } counters_;

  bool draining_ = false;  ///< the loop's
  bool ending_ = false;    ///< the loop's: all transfers are broken off
  std::mutex drain_mutex_;
  std::condition_variable drain_changed_;
  bool drained_ = false;  ///< guarded by drain_mutex_: nothing is in flight
  bool ended_ = false;    ///< guarded by drain_mutex_: all files are closed

  std::jthread thread_;
};

}  // namespace ds::udp_transfer
