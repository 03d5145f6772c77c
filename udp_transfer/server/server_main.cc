#include <cstdio>
#include <string>

#include "common/daemon/daemon.h"
#include "udp_transfer/core/classic_message.h"
#include "udp_transfer/server/check_folder.h"
#include "udp_transfer/server/options.h"
#include "udp_transfer/server/server.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon({.name = "udp-server",
                         .summary = "Receives files over UDP into a folder: by the classic "
                                    "stop-and-wait protocol, and in udp-client's fast mode."});
  daemon.AddListenOptions(10990, "PORT,-p,--port");

  udp_transfer::ServerOptions options;
  auto& flags = daemon.flags();
  flags.add_option("--dir", options.folder, "Folder for the files")->capture_default_str();
  flags.add_option("--mode", options.mode, "Protocols to speak")
      ->transform(daemon::OneOf(udp_transfer::kServerModeNames))
      ->default_str("auto");
  flags.add_flag("--classic", options.classic,
                 "Speak the classic protocol off loopback and beside a key, too, though nothing "
                 "authenticates it");
  flags
      .add_option("--overwrite", options.overwrite,
                  "What becomes of a file whose name is taken (default: yes; rename when listening "
                  "off loopback)")
      ->transform(daemon::OneOf(udp_transfer::kOverwriteNames));
  flags
      .add_option("--key-file", options.key_file,
                  "File with the key that clients must have; encrypts (default: none)")
      ->check(daemon::NotEmpty());
  flags
      .add_flag("!--no-sync", options.sync,
                "Acknowledge files before they are safe from a loss of power")
      ->default_str("");
  flags
      .add_option("--buf-size", options.classic_limits.buf_bytes,
                  "Bytes of the largest classic datagram")
      ->check(daemon::Count(32, udp_transfer::kClassicDatagramBytesMax))
      ->capture_default_str();
  flags
      .add_option("--max-classic-sessions", options.classic_limits.sessions_max,
                  "Classic transfers at a time")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  flags
      .add_option("--max-classic-sessions-per-source",
                  options.classic_limits.sessions_per_source_max,
                  "The same from one address off loopback")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  const auto add_size = [&](const char* name, auto* value, const char* help) {
    flags.add_option(name, *value, help)
        ->check(daemon::Size())
        ->transform(CLI::AsSizeValue(false))
        ->capture_default_str();
  };
  add_size("--max-classic-file", &options.classic_limits.session_bytes_max,
           "Bytes of the largest file taken by the classic protocol (k, m, g suffixes)");
  add_size("--max-classic-total", &options.classic_limits.total_bytes_max,
           "Bytes of all unfinished files of the classic protocol");
  add_size("--max-classic-total-per-source", &options.classic_limits.source_bytes_max,
           "The same from one address off loopback");
  flags.add_option("--max-sessions", options.fast.sessions_max, "Fast transfers at a time")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  flags
      .add_option("--max-sessions-per-source", options.fast.sessions_per_source_max,
                  "The same from one address off loopback")
      ->check(daemon::Count(1, 1'000'000))
      ->capture_default_str();
  add_size("--window", &options.fast.window_bytes,
           "Bytes that a fast transfer may have in flight; its receive buffer (64k-1g)");
  add_size("--memory", &options.fast.memory_bytes, "Bytes of the buffers of all fast transfers");
  const auto add_limit = [&](const char* name, auto* value, const char* help) {
    flags.add_option(name, *value, help)->check(daemon::Size())->transform(CLI::AsSizeValue(false));
  };
  add_limit("--max-file", &options.file_bytes_max,
            "Bytes of the largest file taken by a fast transfer (default: what the disk has)");
  add_limit(
      "--max-partial", &options.partial_bytes_max,
      "Bytes of all unfinished fast transfers; those that wait for a resume longest make room "
      "(default: what the disk has)");
  flags
      .add_option("--idle-timeout", options.fast.idle_timeout_s,
                  "Seconds after which a fast transfer whose client is silent is given up")
      ->check(daemon::Seconds(0.1, 86400))
      ->capture_default_str();
  flags
      .add_option("--keep-partial", options.keep_partial_s,
                  "Seconds for which an unfinished fast transfer can be resumed")
      ->check(daemon::Seconds(0, 366 * 86400))
      ->capture_default_str();
  bool check = false;
  flags.add_flag(
      "--check", check,
      "Verify the unfinished files below --dir, change nothing, and end; exit code 1 when "
      "one is damaged");
  daemon.AllowOffLoopbackWithKey(&options.key_file, "--key-file");

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  if (check) {
    const auto report = udp_transfer::CheckFolder(options.folder);
    if (!report.ok()) return daemon::FailWith("udp-server", report.status());
    for (const std::string& line : report->lines) std::printf("%s\n", line.c_str());
    return report->damaged == 0 ? daemon::kExitSuccess : daemon::kExitFailure;
  }
  return daemon.Run([&](const std::stop_token&,
                        daemon::Metrics& metrics) -> absl::StatusOr<daemon::Started> {
    RETURN_IF_ERROR(options.Validate());
    return udp_transfer::Server::Start(options, daemon.listen(), daemon.options().port, &metrics);
  });
}
