#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/counter.h"
#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/event_loop.h"
#include "udp_transfer/net/datagram_socket.h"

namespace ds::udp_transfer {

/// A UDP socket in an event loop, with what waits to be sent from it. Belongs to the loop's thread.
class DatagramPort final : net::EventLoop::Watcher {
 public:
  /// Whom the datagrams are for. Must outlive the port.
  class Receiver {
   public:
    /// Its bytes may be changed in place, and are gone after the call. `now`: when its batch was
    /// fetched.
    virtual void OnDatagram(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                            TimePoint now) = 0;
    /// Behind a batch of datagrams: time to answer. Also when the port can send again.
    virtual void OnTurn(DatagramPort& port) = 0;

   protected:
    virtual ~Receiver() = default;
  };

  struct Counters {
    Counter received;  ///< datagrams
    Counter received_bytes;
    Counter sent_bytes;
    Counter sent;
    Counter blocked;  ///< times that the socket's buffer was full
  };

  /// `loop`, `receiver` and `in`, the batch that ports of one thread share, must outlive the port.
  static absl::StatusOr<std::unique_ptr<DatagramPort>> Create(net::EventLoop* loop,
                                                              DatagramSocket socket,
                                                              ReceiveBatch* in, Receiver* receiver);
  ~DatagramPort() override;

  DatagramSocket& socket() { return socket_; }
  const net::Endpoint& local() const { return socket_.local(); }
  const Counters& counters() const { return counters_; }
  /// Calls take(const SendBatch::Failure&) for each datagram that the kernel refused.
  template <typename Take>
  void TakeFailures(Take&& take) {
    for (const SendBatch::Failure& failure : out_.failures()) take(failure);
    out_.ClearFailures();
  }

  /// See SendBatch. Empty: the socket's buffer is full; OnTurn() comes when there is room.
  std::span<std::byte> Room();
  void Add(std::size_t bytes, const Path& path, std::uint64_t owner, bool alone = false);
  /// A datagram that is lost if there is no room.
  void AddIfRoom(std::span<const std::byte> datagram, const Path& path);
  /// Sends what was added.
  void Flush();
  /// Waiting for room; nothing can be added.
  bool blocked() const { return blocked_; }

 private:
  /// Batches of one turn: what other descriptors and the timers have to wait for.
  static constexpr int kBatchesPerTurn = 4;

  DatagramPort(net::EventLoop* loop, DatagramSocket socket, ReceiveBatch* in, Receiver* receiver)
      : loop_(loop), receiver_(receiver), in_(in), socket_(std::move(socket)) {}
  void OnEvents(std::uint32_t events) override;

  net::EventLoop* const loop_;
  Receiver* const receiver_;
  ReceiveBatch* const in_;
  DatagramSocket socket_;
  SendBatch out_;
  bool blocked_ = false;
  Counters counters_;
};

}  // namespace ds::udp_transfer
