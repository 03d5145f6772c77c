#include <cerrno>
#include <cstdio>
#include <string>

#include "common/daemon/tool.h"
#include "compute/tcp/bench.h"
#include "compute/tcp/bench_options.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

void AddFlags(CLI::App* flags, compute::tcp::BenchOptions* options) {
  flags->add_option("SERVER", options->server, "HOST:PORT")->required();
  flags->add_option("NUMBER", options->numbers, "Numbers to ask about (default: a list of twelve)")
      ->check(daemon::Count(0));
  flags->add_option("-t,--threads", options->threads, "Threads")->capture_default_str();
  flags->add_option("-c,--connections", options->connections, "Connections, in all threads")
      ->capture_default_str();
  flags
      ->add_option("--depth", options->depth,
                   "Numbers under way on each connection; 1: lock-step, more: pipelined")
      ->capture_default_str();
  flags->add_flag("--bare", options->bare,
                  "The classic wire, numbers without newlines: each waits for the server's pause");
  flags->add_flag("--echo", options->echo, "The server is a bare echo (prime-server --echo)");
  flags->add_option("-d,--duration", options->seconds, "Seconds in which numbers are sent")
      ->capture_default_str();
  flags->add_option("--warmup", options->warmup_s, "Seconds of load before the measurement")
      ->capture_default_str();
  flags->add_option("--timeout", options->timeout_s, "Seconds to connect, and for an answer")
      ->capture_default_str();
  flags->add_flag("--json", options->json, "Print one JSON object in place of the table");
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "prime-bench",
                     .summary = "Loads a prime server in a closed loop, checks every answer, and "
                                "prints throughput, latency and errors. Exits 0 when nothing "
                                "failed, 1 when something did, 130 when interrupted."});
  compute::tcp::BenchOptions options;
  AddFlags(&tool.flags(), &options);
  if (const auto code = tool.Parse(argc, argv)) return *code;
  if (const auto status = options.Validate(); !status.ok()) return tool.Fail(status);
  tool.BeginWork();
  const auto report = compute::tcp::RunBench(options, tool.interrupt_fd());
  if (!report.ok() && tool.interrupted()) return tool.InterruptedExitCode();
  if (!report.ok()) return tool.Fail(report.status());
  const std::string text = options.json ? report->ToJson() + '\n' : report->ToText();
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return tool.Fail(ErrnoError("write to standard output", errno));
  }
  for (const auto& [kind, error] : report->tally.errors) {
    std::fprintf(stderr, "prime-bench: %s (errors of kind %s: %s)\n", error.example.c_str(),
                 kind.c_str(), std::to_string(error.count).c_str());
  }
  if (tool.interrupted()) return tool.InterruptedExitCode();
  const bool all_well = report->tally.requests() > 0 && report->tally.ErrorCount() == 0;
  return all_well ? daemon::kExitSuccess : daemon::kExitFailure;
}
