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
  auto* root =
      flags.add_option("--root", options.root, "Folder to serve as a tree")->capture_default_str();
  flags
      .add_option("-m,--content", options.content_file,
                  "Serve the files of this content file (lines: key, blanks, file) instead")
      ->excludes(root);
  flags.add_flag("--dot-files", options.dot_files, "Serve files and folders named .something too");
  flags
      .add_option("--revalidate", options.revalidate_s,
                  "Seconds for which a cached open file may be stale")
      ->check(daemon::Seconds(0, 86400))
      ->capture_default_str();
  getfile::AddFrontFlags(flags, &options.front);
  getfile::AddDelayFlag(flags, &options.front);

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  return daemon.Run(
      [&](const std::stop_token&, daemon::Metrics& metrics) -> absl::StatusOr<daemon::Started> {
        RETURN_IF_ERROR(options.Validate());
        return getfile::Server::Start(
            options, [&] { return daemon.Bind(); }, &metrics);
      });
}
