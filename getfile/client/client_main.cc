#include <string>

#include "common/daemon/tool.h"
#include "getfile/client/options.h"
#include "getfile/client/run.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool({.name = "getfile-client",
                     .summary = "Fetches files by GETFILE. Prints path, status and bytes of each; "
                                "exits 0 only when all arrived, 130 when interrupted."});
  getfile::ClientOptions options;
  auto& flags = tool.flags();
  flags.add_option("PATH", options.paths, "Paths to fetch");
  flags.add_option("-s,--server", options.server, "Server name or address")->capture_default_str();
  flags.add_option("-p,--port", options.port, "Server port")
      ->check(daemon::Count(1, 65535))
      ->capture_default_str();
  flags.add_option("-w,-l,--workload", options.workload_file,
                   "File of paths to fetch, separated by white space");
  flags
      .add_option("-r,-n,--requests", options.requests,
                  "Number of requests; request i takes path i mod n (default: each path once)")
      ->check(daemon::Count(1));
  flags.add_option("-t,--threads", options.threads, "Transfers at a time")
      ->check(daemon::Count(1, 4096))
      ->capture_default_str();
  flags.add_option("-o,--output", options.output_folder, "Folder to save below")
      ->capture_default_str();
  flags.add_option("--verify", options.verify_file,
                   "List of sha256sum: a file that differs or is not listed is not kept");
  flags.add_flag("--keep-alive", options.keep_alive,
                 "Many requests per connection, where the server knows that");
  flags.add_flag("--resume", options.resume,
                 "Keep NAME.part of a broken transfer and continue it (by HTTP ranges)");
  flags
      .add_option("--dialect", options.dialect,
                  "Accept only this spelling of answers (default: either)")
      ->transform(daemon::OneOf(getfile::kDialectNames));
  flags.add_option("--retries", options.retries, "Further attempts for a transfer that broke")
      ->check(daemon::Count(0, 1'000'000))
      ->capture_default_str();
  flags.add_option("--timeout", options.timeout_s, "Seconds without progress")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags.add_flag("--json", options.json, "Print one JSON object per request");
  if (const auto code = tool.Parse(argc, argv)) return *code;
  return getfile::RunClient(options, &tool);
}
