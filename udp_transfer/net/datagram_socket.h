#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "udp_transfer/core/wire.h"
#include "udp_transfer/net/path.h"

namespace ds::udp_transfer {

/// Received datagrams, their buffers and where they came from: filled by DatagramSocket::Receive(),
/// used over and over. About 64 KiB for each message; a message may hold many datagrams of one
/// sender (UDP GRO). One owner, not thread-safe.
class ReceiveBatch {
 public:
  explicit ReceiveBatch(std::size_t messages_max = 16);

  /// Calls take(std::span<std::byte> datagram, const Path&) for each datagram in the order of
  /// arrival. The bytes are the batch's, and may be changed in place.
  template <typename Take>
  void ForEach(Take&& take) {
    for (std::size_t i = 0; i < count_; ++i) {
      std::span<std::byte> left(Buffer(i), messages_[i].msg_len);
      const std::size_t segment = segment_[i] == 0 ? left.size() : segment_[i];
      do {  // at least once: an empty datagram is one, too
        const std::size_t size = std::min(segment, left.size());
        take(left.first(size), paths_[i]);
        left = left.subspan(size);
      } while (!left.empty());
    }
  }
  /// How many messages there are.
  std::size_t size() const { return count_; }
  bool full() const { return count_ == messages_.size(); }

 private:
  friend class DatagramSocket;
  static constexpr std::size_t kBufferBytes = 65536;
  static constexpr std::size_t kControlBytes = 128;

  std::byte* Buffer(std::size_t i) { return buffers_.get() + i * kBufferBytes; }

  const std::unique_ptr<std::byte[]> buffers_;
  std::vector<mmsghdr> messages_;
  std::vector<iovec> contents_;
  std::vector<sockaddr_storage> addresses_;
  std::vector<std::array<std::byte, kControlBytes>> controls_;
  std::vector<std::size_t> segment_;  ///< bytes of each datagram but the last; 0: there is one
  std::vector<Path> paths_;
  std::size_t count_ = 0;
};

/// Datagrams on their way out, sent by DatagramSocket::Send(). Neighbours of equal size and path
/// become one message (UDP GSO). One owner, not thread-safe.
class SendBatch {
 public:
  /// A datagram that the kernel did not take and never will.
  struct Failure {
    std::uint64_t owner = 0;
    std::size_t datagram_bytes = 0;
    int error = 0;  ///< EMSGSIZE: larger than the interface's MTU
  };

  explicit SendBatch(std::size_t messages_max = 16);

  /// Where to write the next datagram: kDatagramMax bytes. Empty: send first.
  std::span<std::byte> Room();
  /// Takes the first `bytes` of what Room() gave. `owner` comes back in a Failure. With `alone` it
  /// shares its message with no other: for a datagram that may well be too big.
  void Add(std::size_t bytes, const Path& path, std::uint64_t owner, bool alone = false);

  bool empty() const { return first_ == count_; }
  /// Of the calls of Send() since the last Clear().
  const std::vector<Failure>& failures() const { return failures_; }
  void ClearFailures() { failures_.clear(); }

 private:
  friend class DatagramSocket;
  /// Behind the longest message there is still room for any datagram.
  static constexpr std::size_t kBufferBytes = std::size_t{2} * 65536;
  /// A message of segments: as many as every kernel takes, and as many bytes as IPv6 allows.
  static constexpr std::size_t kSegmentsMax = 64;
  static constexpr std::size_t kMessageBytesMax = 65000;

  struct Message {
    std::size_t bytes = 0;
    std::size_t segment = 0;   ///< bytes of each datagram but the last
    std::size_t segments = 0;  ///< datagrams
    std::uint64_t owner = 0;
    Path path;
    bool closed = false;  ///< takes no further datagram
  };
  std::byte* Buffer(std::size_t i) { return buffers_.get() + i * kBufferBytes; }
  bool TakesMore(const Message& message) const;

  const std::unique_ptr<std::byte[]> buffers_;
  std::vector<Message> messages_;  ///< the last one is a spare, for a datagram of another kind
  std::size_t first_ = 0;          ///< not sent yet
  std::size_t count_ = 0;
  bool appends_ = false;  ///< what Room() gave is behind the last message
  std::vector<Failure> failures_;
  // For the system call.
  std::vector<mmsghdr> headers_;
  std::vector<iovec> contents_;
  std::vector<sockaddr_storage> addresses_;
  struct alignas(8) Control {
    std::array<std::byte, 128> bytes;
  };
  std::vector<Control> controls_;
};

/// A non-blocking UDP socket: batches, segmentation offload where the kernel has it, datagrams that
/// nobody may fragment. One owner, not thread-safe.
class DatagramSocket {
 public:
  struct Options {
    int receive_buffer_bytes = 16 << 20;  ///< asked for; beyond the system's limit if permitted
    int send_buffer_bytes = 4 << 20;
    bool offload = true;  ///< UDP GSO and GRO, where the kernel has them
  };

  /// For any peer. Bound to a wildcard address it answers from the address that was asked.
  static absl::StatusOr<DatagramSocket> Bind(const net::Endpoint& local, const Options& options);
  /// 127.0.0.1 and [::1] at `port`; port 0 gets the same free port on both. Without IPv6 on this
  /// machine only the first is returned; the caller warns.
  static absl::StatusOr<std::vector<DatagramSocket>> BindLoopback(std::uint16_t port,
                                                                  const Options& options);
  /// For one peer: other senders are not heard, and what ICMP says of it is reported.
  static absl::StatusOr<DatagramSocket> Connect(const net::Endpoint& peer, const Options& options);

  int fd() const { return fd_.get(); }
  const net::Endpoint& local() const { return local_; }
  /// Whether the kernel cuts messages into datagrams for us. Found out anew by each failure.
  bool offload() const { return segments_; }
  /// True, once, after the peer's host has said that nobody listens there (ICMP).
  bool TakeRefused() { return std::exchange(refused_, false); }

  /// Whether routers and this host may cut datagrams into fragments, as is the way of plain UDP
  /// programs. At first they may not.
  void AllowFragments(bool allow);

  /// Fills the batch with what has come, without waiting. True if there may be more.
  bool Receive(ReceiveBatch& batch);

  /// Sends what it can; false if the socket's buffer is full and the rest stays in the batch (wait
  /// for EPOLLOUT).
  bool Send(SendBatch& batch);

 private:
  DatagramSocket(UniqueFd fd, int family) : fd_(std::move(fd)), family_(family) {}
  static absl::StatusOr<DatagramSocket> Open(int family, const Options& options);
  void FillHeader(SendBatch& batch, std::size_t message, std::size_t slot) const;
  /// Sends datagram by datagram. False if the socket's buffer is full.
  bool SendSeparately(SendBatch& batch, SendBatch::Message& message, std::byte* bytes);

  UniqueFd fd_;
  int family_;
  net::Endpoint local_;
  bool connected_ = false;
  bool wildcard_ = false;
  bool segments_ = false;
  bool refused_ = false;
};

}  // namespace ds::udp_transfer
