#include <string>

#include "common/daemon/daemon.h"
#include "getfile/server/options.h"
#include "getfile/server/server.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon(
      {.name = "getfile-server",
       .summary = "Serves a folder, or the files of a content file, by GETFILE and HTTP/1.1."});
  daemon.AddListenOptions(10880, "-p,--port");

  getfile::ServerOptions options;
  auto& flags = daemon.flags();
  flags.add_option("-t,--threads", options.threads, "Worker threads; 0: one per core, at least 2")
      ->check(daemon::Count(0, 1024))
      ->capture_default_str();
  auto* root =
      flags.add_option("--root", options.root, "Folder to serve as a tree")->capture_default_str();
  flags
      .add_option("-m,--content", options.content_file,
                  "Serve the files of this content file (lines: key, blanks, file) instead")
      ->excludes(root);
  flags.add_flag("--dot-files", options.dot_files, "Serve files and folders named .something too");
  flags.add_option("--dialect", options.dialect, "Spelling of answers")
      ->transform(daemon::OneOf(getfile::kDialectNames))
      ->default_str("standard");
  flags.add_option("-d,--delay", options.delay_us, "Microseconds to wait before each lookup")
      ->check(daemon::Count(0, 5'000'000))
      ->capture_default_str();
  flags
      .add_option("--header-timeout", options.header_timeout_s,
                  "Seconds for a whole header, from the accept or from the last answer")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags.add_option("--timeout", options.timeout_s, "Seconds without progress in an answer")
      ->check(daemon::Seconds(0.001, 86400))
      ->capture_default_str();
  flags
      .add_option("--revalidate", options.revalidate_s,
                  "Seconds for which a cached open file may be stale")
      ->check(daemon::Seconds(0, 86400))
      ->capture_default_str();
  flags
      .add_option("--max-connections", options.connections_max,
                  "Connections served at once; further ones are answered ERROR, "
                  "and closed at once when there are 256 of those")
      ->check(daemon::Count(1))
      ->capture_default_str();
  flags
      .add_option("--send-buffer-total", options.send_buffer_total,
                  "Bytes that may wait in the kernel's send buffers (1m or more; k, m, g suffixes)")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags.add_option("--access-log", options.access_log,
                   "File for a line per answer; SIGHUP opens it anew (default: none)");

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  return daemon.Run(
      [&](const std::stop_token&, daemon::Metrics& metrics) -> absl::StatusOr<daemon::Started> {
        RETURN_IF_ERROR(options.Validate());
        return getfile::Server::Start(
            options, [&] { return daemon.Bind(); }, &metrics);
      });
}
