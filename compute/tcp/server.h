#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/daemon.h"
#include "common/daemon/metrics.h"
#include "compute/core/prime_connection.h"
#include "compute/tcp/acceptor.h"
#include "compute/tcp/line_printer.h"
#include "compute/tcp/server_options.h"
#include "compute/tcp/worker.h"

namespace ds::compute::tcp {

/// prime-server, or the bare echo that it is measured against: an accepting thread, workers, lines
/// on stdout, metrics.
class Server final : public daemon::Service {
 public:
  enum class Speaks { kPrimes, kEcho };
  using Bind = std::function<absl::StatusOr<std::vector<net::Listener>>()>;

  /// Binds with `bind` and serves. `metrics` must outlive the server.
  static absl::StatusOr<daemon::Started> Start(const ServerOptions& options, Speaks speaks,
                                               const Bind& bind, daemon::Metrics* metrics);
  ~Server() override;

  void Drain(TimePoint deadline) override;

 private:
  explicit Server(const ServerOptions& options);
  absl::Status StartWorkers(unsigned count, Speaks speaks);
  void Collect(daemon::MetricsPage& page) const;

  const PrimeConnection::Options connection_options_;
  std::atomic<std::size_t> connections_open_{0};
  std::unique_ptr<LinePrinter> printer_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Acceptor> acceptor_;
  daemon::Metrics::Registration registration_;
};

}  // namespace ds::compute::tcp
