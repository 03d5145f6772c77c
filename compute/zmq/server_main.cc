#include <array>
#include <string>
#include <vector>

#include "common/base/parse.h"
#include "common/daemon/daemon.h"
#include "compute/zmq/options.h"
#include "compute/zmq/server.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

/// PORT or HOST:PORT.
absl::StatusOr<compute::zmq::BindAddress> Parse(const daemon::Daemon& daemon,
                                                const std::string& text,
                                                const std::string& option) {
  compute::zmq::BindAddress address;
  if (const auto port = ParseDecimal(text)) {
    if (*port > 65535) {
      return InvalidArgument(option + " " + text + ": a port is at most 65535");
    }
    address.port = static_cast<std::uint16_t>(*port);
    return address;
  }
  ASSIGN_OR_RETURN(address.endpoints, daemon.Resolve(text, option));
  return address;
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Daemon daemon({.name = "zmq-server",
                         .summary = "A ZeroMQ broker between clients and workers for primes and "
                                    "greatest common divisors."});
  compute::zmq::ServerOptions options;
  std::array<std::string, 4> ports = {"5555", "5556", "5557", "5558"};
  std::vector<std::string> listen;
  std::string reliable;
  auto& flags = daemon.flags();
  const auto add_port = [&](const char* name, std::string* value, const char* help) {
    flags.add_option(name, *value, help)->capture_default_str();
  };
  add_port("CLIENT_IN", ports.data(),
           "PORT (on 127.0.0.1 and [::1]; 0: any free one) or HOST:PORT for clients' lines (REP)");
  add_port("CLIENT_OUT", &ports[1], "The same for what all clients read (PUB)");
  add_port("WORKER_IN", &ports[2], "The same for what workers read (PUB)");
  add_port("WORKER_OUT", &ports[3], "The same for workers' answers (SUB)");
  flags
      .add_option("--listen", listen,
                  "HOST:PORT of one of these sockets, in their order: given four times, it wins")
      ->expected(4);
  flags.add_option("--reliable", reliable,
                   "HOST:PORT, or PORT, of the reliable service (ROUTER) (default: none)");
  flags.add_flag("--echo-commands", options.echo_commands,
                 "Publish the command lines to all clients, too");
  flags
      .add_option("--answer-timeout", options.answer_timeout_s,
                  "Seconds that a worker of the classic service has for an answer")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags.add_option("--max-open", options.open_max, "Requests without an answer, of each service")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  flags
      .add_option("--max-message", options.message_bytes_max,
                  "Bytes of a frame; who sends more is disconnected")
      ->check(daemon::Count(8192, 1 << 30))
      ->capture_default_str();
  if (const auto code = daemon.Parse(argc, argv)) return *code;

  const std::array<compute::zmq::BindAddress*, 4> addresses = {
      &options.client_in, &options.client_out, &options.worker_in, &options.worker_out};
  constexpr std::array<const char*, 4> kNames = {"CLIENT_IN", "CLIENT_OUT", "WORKER_IN",
                                                 "WORKER_OUT"};
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    auto address =
        listen.empty() ? Parse(daemon, ports[i], kNames[i]) : Parse(daemon, listen[i], "--listen");
    if (!address.ok()) return daemon::FailWith("zmq-server", address.status());
    *addresses[i] = *std::move(address);
  }
  if (!reliable.empty()) {
    auto address = Parse(daemon, reliable, "--reliable");
    if (!address.ok()) return daemon::FailWith("zmq-server", address.status());
    options.reliable = *std::move(address);
  }
  return daemon.Run([&](const std::stop_token&, daemon::Metrics& metrics) {
    return compute::zmq::Server::Start(options, &metrics);
  });
}
