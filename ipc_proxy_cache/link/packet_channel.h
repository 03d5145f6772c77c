#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "ipc_proxy_cache/core/messages.h"

namespace ds::ipc_proxy_cache {

/// One end of a link: messages over a SEQPACKET socket, in order, without blocking. What the socket
/// does not take waits in a queue; when that is full the link is ended. Belongs to its loop's
/// thread; owned by whoever the messages are for, who may destroy it at any time, inside its own
/// calls too.
class PacketChannel final : private net::EventLoop::Watcher {
 public:
  class Receiver {
   public:
    /// `descriptor`: what came with it, if DescriptorsOf(message) says 1.
    virtual void OnMessage(Message message, UniqueFd descriptor) = 0;
    /// Once, and nothing after it: the link is over and its socket closed. Ok: the peer has ended
    /// it. kInvalidArgument: the peer has sent a packet that is malformed. kResourceExhausted: the
    /// queue was full. Else: it broke.
    virtual void OnLinkEnd(const absl::Status& why) = 0;

   protected:
    virtual ~Receiver() = default;
  };
  static constexpr std::size_t kQueueMax = 256;

  /// `peer` is who is at the other end. `socket` is non-blocking and connected.
  PacketChannel(net::EventLoop* loop, UniqueFd socket, Sender peer, Receiver* receiver,
                std::size_t queue_max = kQueueMax);
  ~PacketChannel() override;
  PacketChannel(const PacketChannel&) = delete;
  PacketChannel& operator=(const PacketChannel&) = delete;

  /// To be called once: messages are received from now on.
  absl::Status Start();
  /// Sends or queues, with a duplicate of `descriptor` (unless -1). After a failure, or the end, it
  /// does nothing; OnLinkEnd() comes in a later turn of the loop. REQUIRES: as EncodeMessage(); a
  /// descriptor if the message has one.
  void Send(const Message& message, int descriptor = -1);
  /// Gives what was not sent up, sends nothing more, and waits for the peer to close its end; until
  /// then messages of the peer are received.
  void ShutDownSending();
  /// Receives what has arrived by now, before something is decided by the clock.
  void ReceiveArrived();

  /// Ends the link; OnLinkEnd() does not come any more.
  void Close();

  /// False after OnLinkEnd() and Close().
  bool open() const { return static_cast<bool>(socket_); }
  std::size_t queued() const { return queue_.size(); }

 private:
  /// Packets received in one turn, so that a busy link gives way to others. More than a socket
  /// buffer holds.
  static constexpr int kBatch = 64;
  static constexpr int kArrivedMax = 4096;

  struct Packet {
    std::vector<std::byte> bytes;
    UniqueFd descriptor;
  };
  enum class Next { kMore, kNone };

  void OnEvents(std::uint32_t events) override;
  void Receive(int packets_max);
  /// kNone too if the channel is gone (then `this` must not be touched) or has ended.
  Next ReceiveOne();
  void Flush();
  /// Ends the link in a later turn of the loop, unless it is to end already.
  void Fail(absl::Status why);
  void End(const absl::Status& why);
  void Watch(std::uint32_t events);

  net::EventLoop* loop_;
  UniqueFd socket_;
  const Sender peer_;
  Receiver* const receiver_;
  const std::size_t queue_max_;
  std::deque<Packet> queue_;
  absl::Status failure_;  ///< not ok: OnLinkEnd() is due
  std::uint32_t watched_ = 0;
  bool deferred_ = false;
  bool sending_ = true;
  bool first_ = true;          ///< no packet has come yet
  bool* destroyed_ = nullptr;  ///< where to tell a call of ours, that is under way, of the end
};

}  // namespace ds::ipc_proxy_cache
