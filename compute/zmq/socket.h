#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"

// ZeroMQ without its headers and without its exceptions.

namespace ds::compute::zmq {

/// The frames of one message.
using Frames = std::vector<std::string>;

/// A ZeroMQ context: its I/O thread, and all sockets of a program. Outlives them. Thread-safe.
class ZmqContext {
 public:
  /// `sockets_max`: as many can be open at a time.
  explicit ZmqContext(int sockets_max = 1023);
  /// Waits until what the closed sockets had to send was sent, or their linger time is over.
  ~ZmqContext();

 private:
  friend class Socket;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A ZeroMQ socket over TCP. Nothing here ever blocks; Poll() waits. Used by one thread at a time.
class Socket {
 public:
  enum class Type { kReq, kRep, kPub, kXpub, kSub, kRouter, kDealer, kPush, kPull };

  struct Options {
    Duration linger = std::chrono::milliseconds(500);  ///< for what is unsent when it is closed
    int queue_max = 1000;  ///< messages that wait for one peer, and that came from one (HWM)
    std::int64_t message_bytes_max = 64 << 10;  ///< of a frame; who sends more is disconnected
    bool report_unroutable = false;             ///< ROUTER: kUnreachable instead of dropping
  };

  static absl::StatusOr<Socket> Create(ZmqContext* context, Type type, const Options& options);
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;
  ~Socket();

  /// Accepts peers on a socket that listens already. May be called several times.
  absl::Status Bind(net::Listener listener);
  /// Connects, and again whenever the connection is lost, every 50 to 500 ms.
  absl::Status Connect(const net::HostPort& address);
  /// SUB: wants what begins with `prefix`.
  absl::Status Subscribe(std::string_view prefix);

  enum class Sent {
    kYes,
    kFull,         ///< the queue is full, or there is no peer
    kUnreachable,  ///< there is no such peer (report_unroutable)
    kFailed,       ///< the state of the socket does not allow it
  };
  Sent Send(const Frames& frames);
  Sent Send(std::string_view frame);

  /// The next message; nothing: there is none, and everything that peers have told this socket up
  /// to now (their subscriptions) is known to it. Of hostile messages with more than kFramesMax
  /// frames the rest is dropped.
  std::optional<Frames> Receive();
  static constexpr std::size_t kFramesMax = 16;

  /// Of a socket with one peer.
  struct Connections {
    int made = 0;           ///< handshakes that have succeeded
    bool standing = false;  ///< the last one's connection has not ended
  };
  /// Follows connections from now on. Poll() with `watched` wakes for a change.
  absl::Status Watch();
  /// Since Watch().
  Connections connections();

 private:
  friend absl::Status Poll(std::span<struct PollItem> items, std::optional<TimePoint> until);
  struct Impl;
  explicit Socket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What Poll() waits for: exactly one of socket, sender, watched, fd.
struct PollItem {
  Socket* socket = nullptr;   ///< a message can be received
  Socket* sender = nullptr;   ///< a message can be sent
  Socket* watched = nullptr;  ///< something has happened to its connections
  int fd = -1;                ///< readable
  bool ready = false;         ///< the result
};

/// Waits for any of the items, until `until` (nothing: for ever), to the next millisecond.
absl::Status Poll(std::span<PollItem> items, std::optional<TimePoint> until);

/// PORT (on 127.0.0.1) or HOST:PORT, as the tools take addresses. kInvalidArgument: neither, or
/// port 0.
absl::StatusOr<net::HostPort> ParseAddress(std::string_view text);

}  // namespace ds::compute::zmq
