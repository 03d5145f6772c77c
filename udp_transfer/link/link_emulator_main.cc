#include "common/daemon/tool.h"
#include "udp_transfer/link/emulator.h"
#include "udp_transfer/link/options.h"

namespace {

using namespace ds;  // NOLINT(google-build-using-namespace)
using udp_transfer::EmulatorOptions;

void AddFlags(CLI::App* flags, EmulatorOptions* options) {
  flags->add_option("COMMAND", options->command,
                    "Runs in side a; its end is the end of the link, its exit code ours (default: "
                    "prints a ready line and serves until SIGTERM)");
  flags->add_option("--rate", options->rate_mbit,
                    "Mbit/s of IP packets. This and the options below: X[,Y] for both directions, "
                    "or for a to b and b to a (default: no limit)");
  flags->add_option("--delay", options->delay_ms, "Milliseconds, one way")->capture_default_str();
  flags->add_option("--jitter", options->jitter_ms, "Milliseconds more, at most; keeps the order")
      ->capture_default_str();
  flags
      ->add_option("--loss", options->loss_percent,
                   "Percent of the packets, on the wire: behind queue and rate")
      ->capture_default_str();
  flags->add_option("--queue", options->queue,
                    "Drop-tail queue in front of the rate: bytes (96000), packets (64p) or time "
                    "(20ms) (default: rate x round trip, at least 64 packets)");
  flags->add_option("--reorder", options->reorder_percent, "Percent of the packets, which are late")
      ->capture_default_str();
  flags->add_option("--reorder-by", options->reorder_by_ms, "Milliseconds, at most")
      ->capture_default_str();
  flags->add_option("--duplicate", options->duplicate_percent, "Percent of the packets")
      ->capture_default_str();
  flags->add_option("--corrupt", options->corrupt_percent, "Percent of the packets; one bit flips")
      ->capture_default_str();
  flags->add_option("--seed", options->seed, "Of all that is random")
      ->check(daemon::Count(0, UINT64_MAX / 4))
      ->capture_default_str();
  flags->add_option("--mtu", options->mtu, "Bytes of an IP packet")
      ->check(daemon::Count(EmulatorOptions::kMtuMin, EmulatorOptions::kMtuMax))
      ->capture_default_str();
  flags
      ->add_option("--server", options->servers,
                   "Shell command for side b, before COMMAND begins; waits until it has bound a "
                   "socket. May be given several times; its output goes to stderr")
      ->allow_extra_args(false);  // the next word is the next option, "--" the end of all
  flags->add_option("--server-timeout", options->server_timeout_s, "Seconds for that")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags
      ->add_option("--drain-timeout", options->drain_timeout_s,
                   "Seconds from SIGTERM to SIGKILL for what is still running at the end")
      ->check(daemon::Seconds(0, 86400))
      ->capture_default_str();
  flags->add_option("--join", options->join,
                    "PID:a or PID:b: only runs COMMAND, inside of that side of a running emulator");
  flags->add_flag("--json", options->json,
                  "Print the counters as one JSON object, as the last line of stdout (default: in "
                  "words on stderr)");
  flags->add_flag("--quiet", options->quiet, "Print no counters");
  flags->add_flag("--exit-on-stdin-close", options->exit_on_stdin_close,
                  "End when standard input closes");
}

}  // namespace

int main(int argc, char** argv) {
  daemon::Tool tool(
      {.name = "link-emulator",
       .summary = "Emulates a link for real packets: two network namespaces, side a (10.77.0.1, "
                  "fd77::1) and side b (10.77.0.2, fd77::2), and what is between them. COMMAND and "
                  "servers find the addresses as $LINK_LOCAL, $LINK_PEER, $LINK_LOCAL6, "
                  "$LINK_PEER6. Nothing stays behind, also after kill -9. Exits as COMMAND does; "
                  "1 when the link cannot be made, 130 or 143 when interrupted."});
  EmulatorOptions options;
  AddFlags(&tool.flags(), &options);
  if (const auto code = tool.Parse(argc, argv)) return *code;
  if (!options.join.empty()) return tool.Fail(udp_transfer::JoinEmulator(options));
  if (const auto links = options.Links(); !links.ok()) return tool.Fail(links.status());
  return udp_transfer::RunEmulator(options, &tool);
}
