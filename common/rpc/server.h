#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/metrics.h"
#include "common/net/socket.h"
#include "common/rpc/tls.h"

namespace grpc {
class Service;
}

namespace ds::rpc {

struct ServerOptions {
  TlsOptions tls{};
  std::size_t message_bytes_max = 4U << 20U;   ///< of one message, either way
  std::size_t metadata_bytes_max = 16U << 10;  ///< of the headers of one call
  int streams_max = 1000;                      ///< calls at a time on one connection
  std::size_t memory_bytes = 256U << 20U;      ///< what gRPC may hold for all connections, about
  int threads_max = 32;                        ///< for services that are not of the callback API
  std::chrono::milliseconds keepalive_time{20'000};     ///< silence after which a peer is asked
  std::chrono::milliseconds keepalive_timeout{10'000};  ///< for its answer
  std::chrono::milliseconds handshake_timeout{10'000};  ///< for TLS and the HTTP/2 preface
  std::chrono::milliseconds idle_max{300'000};          ///< of a connection without calls

  absl::Status Validate() const;
};

/// A gRPC server on listeners of ours, with the standard health service (which knows "" and the
/// full name of each service) and server reflection. All services of this repository are served by
/// one of these. Start() and Drain() on any thread, one at a time.
class Server {
 public:
  /// Serves `services`, which must outlive the server, on `listeners` (Daemon::Bind()); gRPC does
  /// not bind by itself, so that a port has one server (no SO_REUSEPORT), 0.0.0.0 is no IPv6
  /// address, and an address in use is an error with its name. Registers metrics, if any are given:
  /// `rpc_server_calls_total{method,code}`, `rpc_server_calls_open{method}`,
  /// `rpc_server_connections_total`. kInvalidArgument: options or files cannot be used.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       std::vector<net::Listener> listeners,
                                                       const std::vector<grpc::Service*>& services,
                                                       daemon::Metrics* metrics);

  /// As Drain() with a deadline that has passed.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::vector<net::Endpoint>& listen() const;

  /// Closes the listeners, tells health watchers NOT_SERVING (in this order: who was told is not
  /// connected again), accepts no more calls, and returns when the calls under way have ended; at
  /// `deadline` it cancels those that have not. Watchers of health and users of reflection are not
  /// waited for.
  void Drain(TimePoint deadline);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds::rpc
