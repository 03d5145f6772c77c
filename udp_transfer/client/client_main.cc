#include <string>

#include "common/daemon/tool.h"
#include "udp_transfer/client/options.h"
#include "udp_transfer/client/run.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool(
      {.name = "udp-client",
       .summary = "Sends files and folders to a udp-server, or one file to any server of the "
                  "classic protocol. Exits 0 only when all arrived, 130 when interrupted."});
  udp_transfer::ClientOptions options;
  auto& flags = tool.flags();
  flags.add_option("SERVER", options.server, "HOST:PORT")->required();
  flags
      .add_option("PATHS", options.paths,
                  "LOCAL_PATH… NAME_ON_SERVER: several paths, or any before a name that ends with "
                  "a slash, are put below that name")
      ->required();
  flags.add_option("--mode", options.mode, "Protocol; auto: fast if the server can")
      ->transform(daemon::OneOf(udp_transfer::kClientModeNames))
      ->default_str("auto");
  flags
      .add_option("--key-file", options.key_file,
                  "File with the key of the server; encrypts (default: none)")
      ->check(daemon::NotEmpty());
  flags.add_flag("--resume", options.resume,
                 "Go on where an earlier transfer of the same files broke off");
  flags
      .add_option("--rate-limit", options.rate_limit_mbit,
                  "Mbit/s to send at most (default: no limit)")
      ->check(CLI::Range(0.001, 1e6));
  flags
      .add_option("--timeout", options.timeout_s,
                  "Seconds to wait for the server's first answer in fast mode")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags
      .add_option("--idle-timeout", options.idle_timeout_s,
                  "Seconds without a sign of life of the server in fast mode")
      ->check(daemon::Seconds(0.1, 86400))
      ->capture_default_str();
  flags
      .add_option("--window", options.window_bytes,
                  "Bytes that may be in flight; the send buffer (64k-1g; k, m, g suffixes)")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags.add_flag("--json", options.json, "Print the result as a JSON object");
  if (const auto code = tool.Parse(argc, argv)) return *code;
  return udp_transfer::RunClient(std::move(options), &tool);
}
