#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/rpc/peers.h"
#include "tests/harness/temp_dir.h"
#include "tests/rpc/echo_server.h"

namespace ds::rpc {

inline constexpr const char* kMethod = "/ds.compute.v1.Text/Reverse";

/// A server whose every call is one of peers.
struct PeerServer {
  explicit PeerServer(const ClusterOptions& options, std::uint16_t port = 0,
                      const std::string& host = "", const TlsOptions& tls = {}) {
    auto made = PeerGuard::Create(options, &metrics);
    CHECK(made.ok(), Message(made.status()));
    guard = std::move(*made);
    echo = std::make_unique<EchoServer>(ServerOptions{.tls = tls}, nullptr,
                                        std::vector<grpc::Service*>{guard->service()}, port, host);
    echo->service.answer = [this](grpc::CallbackServerContext* context, const ReverseRequest&) {
      const absl::Status status = guard->Admit(context, kMethod);
      calls += status.ok() ? 1 : 0;
      return ToGrpc(status);
    };
  }
  ~PeerServer() { echo.reset(); }

  /// How often calls were refused for this reason.
  bool Denied(const std::string& reason, int times) {
    return metrics.Text().find("rpc_peer_calls_denied_total{reason=\"" + reason + "\"} " +
                               std::to_string(times) + "\n") != std::string::npos;
  }

  daemon::Metrics metrics;
  std::unique_ptr<PeerGuard> guard;
  std::unique_ptr<EchoServer> echo;
  std::atomic<int> calls{0};
};

class PeersTest : public ::testing::Test {
 protected:
  ClusterOptions With(const std::string& cluster, const std::string& key) {
    return {cluster, key.empty() ? "" : folder_.Write(key, key + ", of sixteen bytes\n")};
  }

  /// One call as a peer.
  static absl::Status Call(PeerChannel& peer, EchoClient& client) {
    return peer.Call(kMethod, std::chrono::seconds(30), [&](grpc::ClientContext* context) {
      ReverseResponse response;
      return client.stub->Reverse(context, {}, &response);
    });
  }
  static absl::Status Call(const PeerServer& server, const ClusterOptions& options,
                           const TlsOptions& tls = {}) {
    EchoClient client(server.echo->address(), {.tls = tls});
    auto peer = PeerChannel::Create(options, client.channel);
    if (!peer.ok()) return peer.status();
    return Call(**peer, client);
  }
  static bool Denied(const absl::Status& status) {
    return status.code() == absl::StatusCode::kPermissionDenied;
  }

  const testing::TempDir folder_;
};

}  // namespace ds::rpc
