#include <cerrno>
#include <cstdio>

#include "common/daemon/tool.h"
#include "compute/core/reliable_client.h"
#include "compute/zmq/bench.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool({.name = "zmq-bench",
                     .summary = "Puts load on a zmq-server with a zmq-prime, or measures what "
                                "ZeroMQ can do by itself. Exits 1 when a request failed."});
  compute::zmq::BenchOptions options;
  bool json = false;
  auto& flags = tool.flags();
  flags.require_subcommand(1);
  flags.fallthrough();
  flags.add_option("--seconds", options.seconds, "Length of the load")
      ->check(daemon::Seconds(0.01, 86400))
      ->capture_default_str();
  flags.add_flag("--json", json, "Print one JSON object");
  auto* const classic = flags.add_subcommand(
      "classic", "Clients that each wait for their answer before they ask again");
  classic->add_option("CLIENT_IN", options.client_in, "PORT or HOST:PORT")->required();
  classic->add_option("CLIENT_OUT", options.client_out, "PORT or HOST:PORT")->required();
  classic->add_option("--clients", options.clients, "How many")
      ->check(daemon::Count(1, 10'000))
      ->capture_default_str();
  auto* const reliable =
      flags.add_subcommand("reliable", "One client of the reliable service with many requests");
  reliable->add_option("BROKER", options.reliable, "PORT or HOST:PORT")->required();
  reliable->add_option("--window", options.window, "Requests that are open at a time")
      ->check(daemon::Count(1, compute::ReliableClient::Options{}.open_max))
      ->capture_default_str();
  auto* const throughput = flags.add_subcommand(
      "throughput", "PUSH to PULL in this process: the pattern of libzmq's local_thr, remote_thr");
  throughput->add_option("--size", options.message_bytes, "Bytes of a message")
      ->check(daemon::Count(1, 65536))
      ->capture_default_str();
  if (const auto code = tool.Parse(argc, argv)) return *code;

  tool.BeginWork();
  const auto report = *classic    ? compute::zmq::RunClassicLoad(options, tool.interrupt_fd())
                      : *reliable ? compute::zmq::RunReliableLoad(options, tool.interrupt_fd())
                                  : compute::zmq::RunThroughput(options, tool.interrupt_fd());
  if (!report.ok()) {
    return tool.interrupted() ? tool.InterruptedExitCode() : tool.Fail(report.status());
  }
  const std::string text = json ? report->ToJson() + "\n" : report->ToText();
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return tool.Fail(ErrnoError("write to standard output", errno));
  }
  return report->tally.ErrorCount() == 0 ? daemon::kExitSuccess : daemon::kExitFailure;
}
