#include "common/daemon/metrics_server.h"

#include <civetweb.h>
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "common/net/socket.h"

namespace ds::daemon {
namespace {

int Send(mg_connection* connection, int code, const char* reason, const char* type,
         const std::string& body) {
  const std::string answer = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
      code, reason, type, body.size(), body);
  mg_write(connection, answer.data(), answer.size());
  return code;
}

}  // namespace

int MetricsServer::ServeMetrics(mg_connection* connection, void* self) {
  return Send(connection, 200, "OK", "text/plain; version=0.0.4; charset=utf-8",
              static_cast<MetricsServer*>(self)->metrics_->Text());
}

int MetricsServer::ServeHealth(mg_connection* connection, void* self) {
  const bool healthy = static_cast<MetricsServer*>(self)->healthy_.load();
  return healthy ? Send(connection, 200, "OK", "text/plain", "ok\n")
                 : Send(connection, 503, "Service Unavailable", "text/plain", "not ready\n");
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const net::Endpoint& endpoint,
                                                                    Metrics* metrics) {
  const std::string address = endpoint.ToString();
  // civetweb reports every failure to bind alike; a listener of our own tells why.
  if (endpoint.port() != 0) {
    auto probe = net::ListenTcp(endpoint);
    if (!probe.ok()) return Error(probe.status().code(), "metrics: " + Message(probe.status()));
  }
  const char* options[] = {"listening_ports",
                           address.c_str(),
                           "num_threads",
                           "8",
                           "request_timeout_ms",
                           "1000",
                           "keep_alive_timeout_ms",
                           "0",
                           "enable_directory_listing",
                           "no",
                           nullptr};
  mg_callbacks callbacks{};
  callbacks.log_message = [](const mg_connection*, const char*) { return 1; };  // not on stderr
  std::unique_ptr<MetricsServer> server(new MetricsServer(metrics, endpoint));
  server->context_ = mg_start(&callbacks, server.get(), options);
  if (server->context_ == nullptr) {
    return Unavailable(fmt::format("metrics: bind {}: civetweb could not start", address));
  }
  mg_server_port port{};
  if (mg_get_server_ports(server->context_, 1, &port) != 1) {
    return Unavailable(fmt::format("metrics: bind {}: no port", address));
  }
  server->local_ = endpoint.WithPort(static_cast<std::uint16_t>(port.port));
  mg_set_request_handler(server->context_, "/metrics$", &MetricsServer::ServeMetrics, server.get());
  mg_set_request_handler(server->context_, "/healthz$", &MetricsServer::ServeHealth, server.get());
  return server;
}

MetricsServer::~MetricsServer() {
  if (context_ == nullptr) return;
  // civetweb looks at its stop flag when somebody connects, or every two seconds.
  std::atomic<bool> stopped{false};
  const std::jthread stopper([&] {
    mg_stop(context_);
    stopped.store(true);
  });
  while (!stopped.load()) {
    (void)net::ConnectTcp({local_}, std::chrono::milliseconds(100), -1);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace ds::daemon
