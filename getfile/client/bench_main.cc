#include <cerrno>
#include <cstdio>
#include <string>

#include "common/daemon/tool.h"
#include "getfile/client/bench_options.h"
#include "getfile/client/load_generator.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)

void AddFlags(CLI::App* flags, getfile::BenchOptions* options) {
  flags->add_option("-s,--server", options->server, "Server name or address")
      ->capture_default_str();
  flags->add_option("-p,--port", options->port, "Server port")->capture_default_str();
  flags
      ->add_option("-w,-l,--workload", options->workload_file,
                   "File of paths, separated by white space; request i takes path i mod n")
      ->required();
  flags->add_option("-t,--threads", options->threads, "Threads")->capture_default_str();
  flags->add_option("-c,--connections", options->connections, "Connections, in all threads")
      ->capture_default_str();
  auto* duration =
      flags->add_option("-d,--duration", options->seconds, "Seconds in which requests begin")
          ->capture_default_str();
  flags->add_option("-r,-n,--requests", options->requests, "Number of requests, in place of -d")
      ->check(CLI::PositiveNumber)
      ->excludes(duration);
  flags
      ->add_option("--rate", options->rate,
                   "Open loop: requests per second, begun and counted from when they are due "
                   "(default: the next one follows the answer)")
      ->check(CLI::PositiveNumber);
  flags->add_option("--protocol", options->protocol, "Protocol of requests and answers")
      ->transform(daemon::OneOf(getfile::kProtocolNames))
      ->default_str("getfile");
  flags->add_flag("--keep-alive", options->keep_alive,
                  "Many requests per connection (default: one)");
  flags->add_option("--verify", options->verify_file,
                    "List of sha256sum: check every answer, at the cost of client time");
  flags->add_option("--timeout", options->timeout_s, "Seconds for a request, connecting included")
      ->capture_default_str();
  flags->add_option("--warmup", options->warmup_s, "Seconds of load before the measurement")
      ->capture_default_str();
  flags->add_flag("--json", options->json, "Print one JSON object in place of the table");
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool({.name = "getfile-bench",
                     .summary = "Loads a file server by GETFILE or HTTP and prints throughput, "
                                "latency and errors. Exits 0 when no request failed, 1 when one "
                                "did, 130 when interrupted."});
  getfile::BenchOptions options;
  AddFlags(&tool.flags(), &options);
  if (const auto code = tool.Parse(argc, argv)) return *code;
  if (const auto status = options.Validate(); !status.ok()) return tool.Fail(status);
  const auto plan = getfile::MakeBenchPlan(options);
  if (!plan.ok()) return tool.Fail(plan.status());
  tool.BeginWork();
  const auto report = getfile::GenerateLoad(options, *plan, tool.interrupt_fd());
  if (!report.ok()) return tool.Fail(report.status());

  const std::string text = options.json ? report->ToJson() + '\n' : report->ToText();
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return tool.Fail(ErrnoError("write to standard output", errno));
  }
  for (const auto& [kind, error] : report->tally.errors) {
    std::fprintf(stderr, "getfile-bench: %s (errors of kind %s: %s)\n", error.example.c_str(),
                 kind.c_str(), std::to_string(error.count).c_str());
  }
  if (options.json) {  // the text says both itself
    for (const auto& note : {report->Unbegun(), report->Bottleneck()}) {
      if (note) std::fprintf(stderr, "getfile-bench: %s\n", note->c_str());
    }
  }
  if (tool.interrupted()) return tool.InterruptedExitCode();
  const bool all_well = report->tally.requests() > 0 && report->tally.ErrorCount() == 0;
  return all_well ? daemon::kExitSuccess : daemon::kExitFailure;
}
