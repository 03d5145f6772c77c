#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/net/event_loop.h"
#include "common/net/work_pool.h"
#include "udp_transfer/client/source_reader.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/net/sealed_link.h"

namespace ds::udp_transfer {

/// The sources on their way through one connection: a thread of the pool reads files into the
/// connection's buffer while the loop's thread sends from it. Belongs to the loop's thread.
class FastTransfer final : net::EventLoop::Timer, net::WorkPool::Task {
 public:
  /// Told of everything that its user may want to act on.
  class Observer {
   public:
    virtual void OnResult(const SourceReader::Result& result) = 0;
    /// outcome() is no longer kRunning. The transfer must not be destroyed within the call.
    virtual void OnEnd() = 0;

   protected:
    virtual ~Observer() = default;
  };
  enum class State {
    kRunning,
    kDone,    ///< every source has its result
    kFailed,  ///< the connection broke: failure()
  };

  /// All of these must outlive the transfer.
  FastTransfer(const Connection::Options& options, const ConnectionKeys& keys, SourceReader* reader,
               DatagramPort* port, net::EventLoop* loop, net::WorkPool* pool, Observer* observer);
  /// REQUIRES: busy() is false, or the pool's threads have ended.
  ~FastTransfer() override;

  /// Begins to send.
  void Start();
  /// A datagram of the server that is no cookie, reset or refusal.
  void HandleDatagram(std::span<std::byte> datagram, TimePoint now) {
    link_.HandleDatagram(datagram, now);
  }
  /// A reset with the right tag.
  void HandleReset();
  /// A refusal with the right tag.
  void HandleRefusal(RefusalReason reason);
  /// Behind a batch of datagrams, or when the port can send again.
  void OnTurn() { Serve(); }
  /// Ctrl+C: tells the server.
  void Abort(const std::string& why);

  Connection& connection() { return link_.connection(); }
  State state() const { return state_; }
  const absl::Status& failure() const { return failure_; }
  /// A thread of the pool is reading.
  bool busy() const { return under_way(); }

 private:
  /// At most this much is read in one go: the rest goes out meanwhile.
  static constexpr std::size_t kReadBytesMax = std::size_t{1} << 20U;

  void OnTimer() override;
  void Work() override;
  void OnDone() override;
  void Serve();
  void MoveBytes();
  void Look();
  void End(State state, absl::Status failure);

  SealedLink link_;
  SourceReader* const reader_;
  DatagramPort* const port_;
  net::EventLoop* const loop_;
  net::WorkPool* const pool_;
  Observer* const observer_;
  State state_ = State::kRunning;
  absl::Status failure_;
  bool finished_ = false;  ///< the end of the stream was written
  bool starved_ = false;   ///< the reader waits for the server

  // Between the threads: what the pool's works on.
  std::span<std::byte> room_;
  std::span<const std::byte> replies_;
  std::size_t filled_ = 0;
  absl::Status read_status_;
};

}  // namespace ds::udp_transfer
