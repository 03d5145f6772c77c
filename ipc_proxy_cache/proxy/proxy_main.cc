#include <cstdlib>
#include <string>

#include "common/daemon/daemon.h"
#include "ipc_proxy_cache/proxy/options.h"
#include "ipc_proxy_cache/proxy/proxy.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon({.name = "getfile-proxy",
                         .summary = "Serves an HTTP origin's objects by GETFILE and HTTP/1.1, with "
                                    "the cache of this machine if there is one."});
  daemon.AddListenOptions(10881, "-p,--port");

  ipc_proxy_cache::ProxyOptions options;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet
  if (const char* const folder = std::getenv("XDG_RUNTIME_DIR")) options.runtime_dir = folder;
  auto& flags = daemon.flags();
  flags
      .add_option("-s,--origin", options.origin,
                  "URL in front of all paths (without a scheme: http)")
      ->required();
  flags.add_option("--cache-socket", options.cache_socket,
                   "Socket of getfile-cached (default: the first that is there of "
                   "/run/getfile-cached/, $XDG_RUNTIME_DIR/, /tmp/getfile-cached-<uid>/)");
  flags.add_option("--cache-uid", options.cache_uids,
                   "A further user whose cache is trusted; may be repeated (default: ours, root)");
  flags
      .add_option("-n,--segments", options.segments,
                  "Content travels through this many segments (64, if only -z is given)")
      ->check(daemon::Count(1, ipc_proxy_cache::SegmentGeometry::kCountMax));
  flags
      .add_option("-z,--segment-bytes", options.segment_bytes,
                  "The same, and their size, 64 bytes of header included (65536, if only -n is "
                  "given)")
      ->check(daemon::Count(ipc_proxy_cache::SegmentGeometry::kBytesMin,
                            ipc_proxy_cache::SegmentGeometry::kBytesMax));
  flags
      .add_option("--on-miss", options.on_miss,
                  "What the cache does not have: origin, or not-found (never asks the origin)")
      ->transform(daemon::OneOf(ipc_proxy_cache::kOnMissNames))
      ->default_str("origin");
  flags
      .add_option("--max-unknown", options.collection.memory_max,
                  "Bytes of an answer of unknown length kept in memory (k, m, g suffixes); more go "
                  "to a temporary file")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags
      .add_option("--max-unknown-length", options.collection.bytes_max,
                  "Bytes of such an answer in all (k, m, g suffixes); a longer one is an error")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags
      .add_option("--temp-dir", options.collection.folder,
                  "Folder for those files, which have no name")
      ->capture_default_str();
  flags.add_flag(
      "--sendfile", options.sendfile,
      "Large hits go out by sendfile: less work here, more for a client on this machine");
  const auto add_timeout = [&](const char* name, double* seconds, const char* help) {
    flags.add_option(name, *seconds, help)
        ->check(daemon::Seconds(0.001, 86400))
        ->capture_default_str();
  };
  add_timeout("--connect-timeout", &options.connect_timeout_s, "Seconds to connect to the origin");
  add_timeout("--first-byte-timeout", &options.first_byte_timeout_s,
              "Seconds from the request to the origin's first byte");
  add_timeout("--stall-timeout", &options.stall_timeout_s, "Seconds between the origin's bytes");
  flags.add_option("--origin-ca", options.ca_file,
                   "Certificates to trust for https in place of the system's (PEM)");
  getfile::AddFrontFlags(flags, &options.front);

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  return daemon.Run(
      [&](const std::stop_token&, daemon::Metrics& metrics) -> absl::StatusOr<daemon::Started> {
        return ipc_proxy_cache::Proxy::Start(
            options, [&] { return daemon.Bind(); }, &metrics);
      });
}
