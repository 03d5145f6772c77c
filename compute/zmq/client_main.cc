#include <string>
#include <utility>
#include <vector>

#include "common/daemon/tool.h"
#include "compute/zmq/client.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool({.name = "zmq-client",
                     .summary =
                         "Asks a zmq-server: isprime N, gcd A B; any other line is echoed "
                         "to all of its clients. An empty line reads what has arrived. "
                         "Exits 0 when all was answered, 1 when something was not or the answer "
                         "was an error (a session at a terminal: 0), 130 when interrupted."});
  compute::zmq::ClientOptions options;
  std::vector<std::string> words;
  auto& flags = tool.flags();
  flags.footer(
      "Words: CLIENT_IN CLIENT_OUT [COMMAND…], PORT (of 127.0.0.1) or HOST:PORT of the broker; "
      "with --reliable: [COMMAND…]. Without a command they come from standard input. One that "
      "begins with - stands behind --.");
  flags.add_option("--reliable", options.reliable,
                   "HOST:PORT, or PORT, of the broker's reliable service (default: the classic)");
  flags
      .add_option("--timeout", options.timeout_s,
                  "Seconds to wait for the broker and for each answer (5; with --reliable 10)")
      ->check(daemon::Seconds(0.001, 86400));
  flags.add_flag("--json", options.json, "Print each answer as a JSON object");
  if (const auto code = tool.ParseWithWords(argc, argv, &words)) return *code;
  if (options.reliable.empty()) {
    if (words.size() < 2) {
      return tool.Fail(
          InvalidArgument("CLIENT_IN CLIENT_OUT: two addresses are needed, or "
                          "--reliable (see --help)"));
    }
    options.client_in = words[0];
    options.client_out = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  options.command = std::move(words);
  return compute::zmq::RunClient(options, &tool);
}
