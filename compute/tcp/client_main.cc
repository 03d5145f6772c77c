#include <string>

#include "common/daemon/tool.h"
#include "compute/tcp/client.h"
#include "compute/tcp/client_options.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool({.name = "prime-client",
                     .summary = "Asks a prime server about numbers and prints its answers. Exits 0 "
                                "when every number was answered, 1 when one was not, 130 when "
                                "interrupted."});
  compute::tcp::ClientOptions options;
  auto& flags = tool.flags();
  flags.add_option("SERVER", options.server, "HOST:PORT")->required();
  flags.add_option("NUMBER", options.numbers, "Numbers (default: a list of twelve)");
  flags.add_option("--file", options.file, "File with a number a line; -: standard input");
  flags.add_flag("--pipeline", options.pipeline,
                 "Send numbers as lines, many at a time (default: bare, one after the other)");
  flags.add_flag("--json", options.json, "Print one JSON object per number");
  flags.add_option("--timeout", options.timeout_s, "Seconds to connect, and for an answer")
      ->check(daemon::Seconds(0.001, 1e6))
      ->capture_default_str();
  if (const auto code = tool.Parse(argc, argv)) return *code;
  return compute::tcp::RunClient(options, &tool);
}
