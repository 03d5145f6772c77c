#pragma once

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/harness/daemon_process.h"
#include "tests/harness/deadline.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"

// What the integration tests of getfile share: a running server and its metrics, the bytes of the
// protocol (written out once more: nothing of the product is linked), and a look at sockets.

namespace ds::testing {

// For the messages of failed matchers.
void PrintTo(const RawPeer::Received& received, std::ostream* out);
void PrintTo(const ToolResult& result, std::ostream* out);

}  // namespace ds::testing

namespace ds::getfile {

using testing::DaemonProcess;
using testing::kDeadline;
using testing::RawPeer;

inline constexpr std::string_view kNotFound = "GETFILE FILE_NOT_FOUND\r\n\r\n";
inline constexpr std::string_view kError = "GETFILE ERROR\r\n\r\n";
inline constexpr std::string_view kInvalid = "GETFILE INVALID\r\n\r\n";

std::string Get(std::string_view path);
std::string GetKeepAlive(std::string_view path);
std::string Ok(std::string_view body);

/// `size` bytes, all values among them, determined by `seed`.
std::string Content(std::size_t size, unsigned seed = 1);

/// For messages: how many bytes there are, and the first of them.
std::string Abbreviate(std::string_view bytes);

/// A RawPeer::Received: exactly these bytes, and then an orderly end.
MATCHER_P(Answers, bytes, "has " + Abbreviate(bytes) + " and then an orderly end") {
  const std::string_view expected(bytes);
  if (arg.bytes != expected) {
    const auto differ =
        std::mismatch(expected.begin(), expected.end(), arg.bytes.begin(), arg.bytes.end());
    *result_listener << "which differs from byte " << differ.first - expected.begin() << " on";
    return false;
  }
  return arg.end == RawPeer::End::kClosed;
}

/// A getfile-server with two workers on a free port.
class GetfileServer {
 public:
  /// `flags` are put in front of `-p 0 -t 2`; the rest of `process` is taken as it is. Ends the
  /// test program if the server does not get ready.
  explicit GetfileServer(std::vector<std::string> flags, DaemonProcess::Options process = {});

  DaemonProcess& process() { return process_; }
  std::string host() const { return process_.host(); }
  std::uint16_t port() const { return process_.port(); }

  /// Ends the test program if the server cannot be reached.
  RawPeer Connect(const RawPeer::ConnectOptions& options = {}) const;
  RawPeer::Received Exchange(std::string_view request) const;

  /// The whole metrics page. REQUIRES: --metrics among the flags.
  std::string MetricsPage() const;
  /// One value of it, by name and labels as they stand there; -1 if it is not there.
  double Metric(const std::string& series) const;

  /// Waits until it is `value`. An answer is counted after its last byte has been sent, and before
  /// the connection is closed: who reads no further than to that byte can look too early.
  ::testing::AssertionResult Counts(const std::string& series, double value) const;

  /// Waits until the server has read everything that `peer` (IPv4) has sent, or is gone.
  ::testing::AssertionResult WaitUntilRead(const RawPeer& peer) const;

 private:
  DaemonProcess process_;
};

/// The value of `series` in a page of metrics or a dump of statistics, the last one if there are
/// several; -1 if it is not there.
double FindMetric(const std::string& text, const std::string& series);

/// One line of /proc/net/tcp: an IPv4 connection as this end sees it.
struct TcpSocket {
  std::string local_host;
  std::uint16_t remote_port = 0;
  bool held_back = false;            ///< SYN_RECV: the kernel does not let it be accepted yet
  std::uint64_t unacknowledged = 0;  ///< bytes given to the kernel, not acknowledged by the peer
  std::uint64_t unread = 0;          ///< bytes received, not read by the program
};
/// The ends at `local_port` of all connections.
std::vector<TcpSocket> TcpSocketsAt(std::uint16_t local_port);

/// An option (an int) of the socket that the process `pid` has at the other end of `peer`; nothing
/// if it has none, or if the kernel does not let us look (pidfd_getfd).
std::optional<int> SocketOptionOfPeer(pid_t pid, const RawPeer& peer, int level, int option);

/// RLIMIT_NOFILE of another process while the object lives; the hard limit is left alone.
class DescriptorLimit {
 public:
  DescriptorLimit(pid_t pid, rlim_t limit);
  ~DescriptorLimit();
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  const pid_t pid_;
  rlimit before_{};
};

/// The paths of all files (anything but folders) below `folder`, relative to it, sorted.
std::vector<std::string> FilesBelow(const std::string& folder);

}  // namespace ds::getfile
