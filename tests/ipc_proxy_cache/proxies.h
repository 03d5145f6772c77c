#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

// What the integration tests of ipc_proxy_cache share: the running programs, and their clients.

namespace ds::ipc_proxy_cache {

using getfile::HttpReply;
using testing::DaemonProcess;

/// getfile-cached and getfile-proxy processes around one socket. Not thread-safe.
class Machine {
 public:
  std::string socket() const { return folder_.path("cache.sock"); }
  const testing::TempDir& folder() const { return folder_; }

  /// Started, with metrics. Ends the test program if it does not get ready.
  std::unique_ptr<DaemonProcess> Cache(std::vector<std::string> flags = {}) const;
  /// The same before `origin`; two workers unless -t is among the flags.
  std::unique_ptr<DaemonProcess> Proxy(const std::string& origin,
                                       std::vector<std::string> flags = {},
                                       const std::string& program = "getfile-proxy") const;
  /// Proxy(), and waits until all of its workers have found the cache.
  std::unique_ptr<DaemonProcess> LinkedProxy(const std::string& origin,
                                             std::vector<std::string> flags = {}) const;

  /// getfile-cachectl.
  testing::ToolResult Ctl(std::vector<std::string> arguments) const;
  nlohmann::json Status() const;

 private:
  const testing::TempDir folder_;
};

/// Waits until `workers` workers of the proxy have a cache. Fails the test if they do not.
void AwaitLinks(const DaemonProcess& proxy, int workers = 2);

/// Waits until the daemon has logged `text`. Fails the test if it does not.
void AwaitLog(const DaemonProcess& daemon, std::string_view text);

/// One value of a daemon's metrics page, or -1. REQUIRES: it was started with --metrics.
double Metric(const DaemonProcess& daemon, const std::string& series);
/// Answers with this X-Cache: "HIT", …
double Served(const DaemonProcess& proxy, const std::string& label);
double OriginFetches(const DaemonProcess& proxy);

/// One GET by GETFILE.
testing::RawPeer::Received Getfile(const DaemonProcess& proxy, std::string_view path);
/// One GET by HTTP, connection closed after it; code 0 if there was no whole answer.
HttpReply Http(const DaemonProcess& proxy, std::string_view path, std::string_view fields = "");

/// What an origin says. The script of a FakeServer talks to one peer at a time and the proxies'
/// workers have connections of their own, so this answer closes its connection.
std::string HttpOk(std::string_view body, std::string_view fields = "");
std::string Url(const testing::FakeServer& origin);
/// Begins with so many bytes of `answer`; the rest comes when `go_on` does.
testing::FakeServer::Script InTwoParts(std::string answer, std::shared_future<void> go_on);
inline constexpr std::size_t kFirstPartBytes = 500'000;

/// A client in the middle of its answer. Reads when it is told to.
class Download {
 public:
  enum class Protocol { kHttp, kGetfile };

  Download(const DaemonProcess& proxy, std::string_view path, Protocol protocol = Protocol::kHttp,
           int receive_buffer_bytes = 0);

  /// One that has so much of its answer, and is to get more. Fails the test if it has not.
  static Download Begun(const DaemonProcess& proxy, std::string_view path,
                        std::size_t body_bytes = 100'000);

  /// Waits until there are `n` bytes of the body, or the end.
  bool ReadTo(std::size_t n);
  /// Reads until the end. Whether the answer is whole: a success, with as many bytes as it says.
  bool Finish(Duration deadline = testing::kDeadline);
  void Reset() { peer_.Reset(); }
  void Close() { peer_.Close(); }

  /// What has come of the body.
  std::string_view body() const;
  /// Everything before it.
  std::string_view head() const;
  /// A field of the head, or "<none>".
  std::string Field(std::string_view name) const;
  /// How it ended.
  testing::RawPeer::End end() const { return end_; }

 private:
  std::optional<std::size_t> length() const;

  testing::RawPeer peer_;
  std::string received_;
  testing::RawPeer::End end_ = testing::RawPeer::End::kOpen;
};

/// Waits until no fill is under way. A client may have all the bytes of one that is not published
/// yet: its leader has still to say that this was the end. What follows is a hit then.
void AwaitFills(const DaemonProcess& cache);

/// What a process has written by write(2) and sendfile(2), but not by sendmsg(2); nothing if this
/// kernel does not count.
std::optional<std::uint64_t> BytesWritten(pid_t pid);

/// The number of descriptors of a process that refer to memory without a name.
std::size_t MemfdsOf(pid_t pid);

}  // namespace ds::ipc_proxy_cache
