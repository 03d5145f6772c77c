#include <CLI/CLI.hpp>

#include "common/daemon/daemon.h"
#include "compute/tcp/server.h"
#include "compute/tcp/server_options.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon({.name = "prime-server",
                         .summary = "Says of every number that clients send whether it is prime."});
  daemon.AddListenOptions(5500, "PORT,-p,--port");

  compute::tcp::ServerOptions options;
  auto& flags = daemon.flags();
  flags.add_option("-w,--workers", options.workers, "Worker threads; 0: one per core, at least 2")
      ->check(daemon::Count(0, 1024))
      ->capture_default_str();
  flags
      .add_option("--idle-timeout", options.idle_timeout_s,
                  "Seconds without a byte in either direction after which a peer is given up")
      ->check(daemon::Seconds(0.001, 1e6))
      ->capture_default_str();
  flags
      .add_option("--max-connections", options.connections_max,
                  "Connections open at once; further ones are told so and closed")
      ->check(daemon::Count(1))
      ->capture_default_str();
  auto speaks = compute::tcp::Server::Speaks::kPrimes;
  flags.add_flag_callback(
      "--echo", [&] { speaks = compute::tcp::Server::Speaks::kEcho; },
      "Send back what comes and nothing else: the floor that the service is measured against");

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  return daemon.Run(
      [&](const std::stop_token&, daemon::Metrics& metrics) -> absl::StatusOr<daemon::Started> {
        RETURN_IF_ERROR(options.Validate());
        return compute::tcp::Server::Start(
            options, speaks, [&] { return daemon.Bind(); }, &metrics);
      });
}
