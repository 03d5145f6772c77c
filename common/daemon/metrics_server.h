#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/daemon/metrics.h"
#include "common/net/endpoint.h"

struct mg_connection;
struct mg_context;

namespace ds::daemon {

/// Serves /metrics and /healthz by an embedded civetweb with threads of its own, so that a scrape
/// never waits for, or holds up, the daemon's work. Thread-safe.
class MetricsServer {
 public:
  /// `metrics` must outlive the server.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const net::Endpoint& endpoint,
                                                              Metrics* metrics);
  ~MetricsServer();

  /// /healthz answers 200 while healthy and 503 else (starting, shutting down).
  void SetHealthy(bool healthy) { healthy_.store(healthy); }
  const net::Endpoint& local() const { return local_; }

 private:
  MetricsServer(Metrics* metrics, const net::Endpoint& local) : metrics_(metrics), local_(local) {}
  static int ServeMetrics(mg_connection* connection, void* self);
  static int ServeHealth(mg_connection* connection, void* self);

  Metrics* metrics_;
  net::Endpoint local_;
  std::atomic<bool> healthy_{false};
  mg_context* context_ = nullptr;
};

}  // namespace ds::daemon
