#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "compute/core/prime_connection.h"

namespace ds::compute::tcp {

class Worker;

/// Who decides what is answered.
using Protocol = std::variant<PrimeConnection, EchoConnection>;

/// The shell of one connection: a socket, and the Protocol that decides. Reads only while the peer
/// has taken all answers, one buffer a turn, so what waits for a peer is bounded by the answers to
/// one read; and the worker bounds what waits for all of them. Owned by its worker and used on the
/// worker's thread only.
class Connection final : private net::EventLoop::Watcher, private net::EventLoop::Timer {
 public:
  enum class End {  ///< why it is to be closed
    kDone,
    kIdle,      ///< the idle time-out has passed
    kPeerGone,  ///< reset, or another error of the socket
  };

  Connection(Worker* worker, UniqueFd socket, const net::Endpoint& peer, Protocol protocol);
  ~Connection() override;

  /// REQUIRES: called once, before anything else. kResourceExhausted: there is no room for it.
  absl::Status Start();
  /// Answers what the kernel has received by now and a number whose pause is under way, then ends
  /// the stream. May destroy the connection.
  void BeginShutdown();

  const net::Endpoint& peer() const { return peer_; }
  std::size_t index = 0;  ///< the worker's own note: in its list of connections

 private:
  void OnEvents(std::uint32_t events) override;
  void OnTimer() override;

  bool Read();
  void Send();
  void SendUnsent();
  void Discard();
  void Settle();
  void CountUnsent();
  void Watch(std::uint32_t events);

  Worker* const worker_;
  const UniqueFd socket_;
  const net::Endpoint peer_;
  Protocol protocol_;
  std::string unsent_;         ///< answers that the kernel has not taken
  std::size_t counted_ = 0;    ///< the worker knows of so many bytes of them
  std::uint32_t watched_ = 0;  ///< events in the loop
  bool ended_ = false;         ///< the peer has ended its stream
  bool broken_ = false;        ///< the socket has
  bool closing_ = false;       ///< BeginShutdown() was called
  bool lingering_ = false;     ///< our stream has ended; what comes is discarded
  std::size_t in_flight_ = 0;  ///< while closing: bytes to read before the end
};

}  // namespace ds::compute::tcp
