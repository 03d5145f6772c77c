#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/daemon/metrics.h"

namespace grpc {
class CallbackServerContext;
class Channel;
class ClientContext;
class Service;
class Status;
}  // namespace grpc

namespace ds::rpc {

/// Who belongs to a cluster.
struct ClusterOptions {
  std::string cluster_id = "default";
  std::string key_file{};  ///< --cluster-key; empty: none

  absl::Status Validate() const;
};

/// Adds --cluster-id and --cluster-key to a program's flags.
void AddClusterFlags(CLI::App& flags, ClusterOptions* options);

/// The server's side of calls between peers. Made before the server, told to it as one more
/// service, and outlives it. Every method of a service for peers begins with Admit(). Thread-safe.
class PeerGuard {
 public:
  /// kInvalidArgument: the key cannot be used. Registers metrics, if any are given:
  /// `rpc_peer_calls_denied_total{reason}`, `rpc_peer_sessions`.
  static absl::StatusOr<std::unique_ptr<PeerGuard>> Create(const ClusterOptions& options,
                                                           daemon::Metrics* metrics);
  ~PeerGuard();

  /// The service by which clients begin a session: for Server::Start().
  grpc::Service* service();

  /// Whether a call of the method with this full name ("/package.Service/Method") is one of a peer:
  /// it names our cluster, and comes with a tag of a session where we have a key, or from loopback
  /// where we have none. A client's certificate makes no peer: with --tls-ca clients of the public
  /// API have one, too. kPermissionDenied, counted, says why not.
  absl::Status Admit(grpc::CallbackServerContext* context, std::string_view method);

 private:
  class Impl;
  explicit PeerGuard(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

/// The client's side: a channel to one peer, and the session with it. Thread-safe.
class PeerChannel {
 public:
  /// kInvalidArgument: the key cannot be used.
  static absl::StatusOr<std::unique_ptr<PeerChannel>> Create(
      const ClusterOptions& options, const std::shared_ptr<grpc::Channel>& channel);
  ~PeerChannel();

  /// Makes one call: `make` is given a context with deadline and tag, and returns the call's
  /// status. Begins a session first where there is none yet; should the server not know it any more
  /// (it was restarted), begins another and calls once again, within the same `timeout`.
  /// kPermissionDenied: the server takes us for no peer, or has not proved to be one.
  absl::Status Call(std::string_view method, Duration timeout,
                    const std::function<grpc::Status(grpc::ClientContext*)>& make);

 private:
  class Impl;
  explicit PeerChannel(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds::rpc
