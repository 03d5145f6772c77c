#include <unistd.h>

#include <cstdlib>
#include <string>

#include "common/daemon/daemon.h"
#include "ipc_proxy_cache/cache/options.h"
#include "ipc_proxy_cache/cache/service.h"
#include "ipc_proxy_cache/link/socket_path.h"

int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Daemon daemon({.name = "getfile-cached",
                         .summary = "Keeps what getfile-proxy processes fetch, in shared memory."});

  ipc_proxy_cache::CacheOptions options;
  std::string socket;
  std::uint64_t threads = 1;
  std::int64_t delay_us = 0;
  std::int64_t ttl_s = options.ttl.count();
  std::int64_t negative_ttl_s = options.negative_ttl.count();
  auto& flags = daemon.flags();
  flags.add_option(
      "-c,--content", options.content_file,
      "Content file (lines: path, blanks, file) of objects that are kept for good, for "
      "every origin; read again on SIGHUP (default: none)");
  flags
      .add_option("-t,--threads", threads,
                  "Accepted for scripts of older caches, and without effect: hits are looked up by "
                  "the proxies' own threads, and one thread does all the cache's writing")
      ->check(daemon::Count(1, 1024))
      ->capture_default_str();
  flags
      .add_option("-d,--delay", delay_us,
                  "Microseconds by which each answer to a miss is delayed, to play a slow cache")
      ->check(daemon::Count(0, 60'000'000))
      ->capture_default_str();
  flags.add_option("--memory", options.memory_bytes, "Bytes of shared memory (suffixes K, M, G)")
      ->check(daemon::Size())
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flags.add_option("--ttl", ttl_s, "Seconds of freshness where the origin says nothing")
      ->check(daemon::Count(0, std::uint64_t{1} << 31U))
      ->capture_default_str();
  flags.add_option("--negative-ttl", negative_ttl_s, "Seconds for which a 404 or 410 is kept")
      ->check(daemon::Count(0, std::uint64_t{1} << 31U))
      ->capture_default_str();
  flags
      .add_option("--max-object", options.object_fraction,
                  "Fraction of the memory; a larger object passes through")
      ->capture_default_str();
  flags.add_option("--socket", socket,
                   "Path of the socket (default: getfile-cached.sock in the first of "
                   "/run/getfile-cached, $XDG_RUNTIME_DIR, /tmp/getfile-cached-<uid>)");
  flags.add_option(
      "--allow-uid", options.allowed_uids,
      "A further user whose proxies may connect; may be repeated (default: only ours)");

  if (const auto code = daemon.Parse(argc, argv)) return *code;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet
  const char* const runtime_dir = std::getenv("XDG_RUNTIME_DIR");
  options.sockets = socket.empty() ? ipc_proxy_cache::DefaultSocketPaths(
                                         runtime_dir == nullptr ? "" : runtime_dir, ::geteuid())
                                   : std::vector<std::string>{socket};
  options.delay = std::chrono::microseconds(delay_us);
  options.ttl = std::chrono::seconds(ttl_s);
  options.negative_ttl = std::chrono::seconds(negative_ttl_s);
  return daemon.Run([&](const std::stop_token&, daemon::Metrics& metrics) {
    return ipc_proxy_cache::CacheService::Start(options, &metrics);
  });
}
