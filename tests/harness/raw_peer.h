#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "tests/harness/deadline.h"

namespace ds::testing {

/// A TCP client that does what it is told, byte by byte: the misbehaving peer of a test. All calls
/// block, with a deadline of last resort. Not thread-safe.
class RawPeer {
 public:
  struct ConnectOptions {
    int receive_buffer_bytes = 0;  ///< SO_RCVBUF, set before connecting; 0: the system's default
  };

  /// What came, and what came after it.
  enum class End {
    kClosed,   ///< the peer closed, or shut down, its sending side
    kReset,    ///< the peer reset the connection
    kTimeout,  ///< nothing more within the deadline
    kOpen,     ///< nobody looked: all the bytes asked for have come
  };
  struct Received {
    std::string bytes;
    End end = End::kTimeout;
  };

  /// `host`: a name or a numeric address, IPv6 without brackets.
  static absl::StatusOr<RawPeer> Connect(const std::string& host, std::uint16_t port,
                                         const ConnectOptions& options);
  static absl::StatusOr<RawPeer> Connect(const std::string& host, std::uint16_t port) {
    return Connect(host, port, ConnectOptions{});
  }

  /// Connects, sends `request` and reads to the end. Failing to connect fails the test.
  static Received Exchange(const std::string& host, std::uint16_t port, std::string_view request,
                           Duration deadline = kDeadline);

  /// Sends all of `bytes`; false once the peer is gone (or took nothing for kDeadline).
  bool Send(std::string_view bytes);
  /// The same, one byte per call and, as far as the kernel can be told, per segment.
  bool SendSlowly(std::string_view bytes);

  /// Ends the sending side; the peer reads end-of-file and can still answer.
  void ShutdownWrite();
  /// Closes with a reset (SO_LINGER 0), throwing away what is in flight.
  void Reset();
  void Close();

  /// Everything until the peer ends the connection, in `deadline` altogether.
  Received ReadToEnd(Duration deadline = kDeadline);
  /// `n` bytes exactly, fewer only if the end or the deadline comes first.
  Received Read(std::size_t n, Duration deadline = kDeadline);

  /// For poll(2) and options of the socket; -1 after Close() and Reset().
  int fd() const { return fd_.get(); }
  /// The port at this end.
  std::uint16_t local_port() const;

 private:
  explicit RawPeer(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace ds::testing
