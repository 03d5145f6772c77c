#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/counter.h"
#include "common/base/time.h"
#include "common/daemon/metrics.h"
#include "common/net/event_loop.h"
#include "common/net/work_pool.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/core/packet.h"
#include "udp_transfer/net/datagram_port.h"
#include "udp_transfer/seal/cookie_jar.h"
#include "udp_transfer/seal/hmac.h"
#include "udp_transfer/seal/key_schedule.h"
#include "udp_transfer/server/log_limit.h"
#include "udp_transfer/server/partial_store.h"

namespace ds::udp_transfer {

/// The server's side of fast mode: answers hellos with cookies and keeps nothing of them, begins
/// connections for those who bring a cookie back, and serves these: the loop's thread moves
/// datagrams, a thread of the pool writes what has arrived. Belongs to the loop's thread, but for
/// Collect().
class FastService {
 public:
  /// Of each session, for answers to the client.
  static constexpr std::size_t kSendBufferBytes = 65536;

  struct Options {
    std::size_t sessions_max = 256;
    std::size_t sessions_per_source_max = 64;  ///< of PeerAddress::Source(); loopback is exempt
    /// Receive buffer of a session, at most; 64 KiB to 1 GiB.
    std::uint64_t window_bytes = 32U << 20U;
    std::uint64_t memory_bytes = 512U << 20U;  ///< buffers of all sessions
    double idle_timeout_s = 30;
  };

  /// A hello that is answered by a cookie, unless it returns false.
  using HelloGate = std::function<bool(DatagramPort& port, const Path& path)>;
  /// A connection has begun.
  using OnOpened = std::function<void(DatagramPort& port, const Path& path)>;

  /// `keys`, `store`, `loop` and `pool` must outlive the service, and so must the ports that give
  /// it datagrams.
  FastService(const Options& options, const KeySchedule* keys, PartialStore* store,
              net::EventLoop* loop, net::WorkPool* pool);
  /// REQUIRES: the pool's threads have ended. Unfinished files are kept for a resume.
  ~FastService();

  void SetHelloGate(HelloGate gate) { hello_gate_ = std::move(gate); }
  void SetOnOpened(OnOpened opened) { on_opened_ = std::move(opened); }

  /// A datagram that begins like a hello, or with a byte of at least 0x80.
  void HandleDatagram(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                      TimePoint now);
  /// Behind a batch of datagrams, and when the port can send again.
  void OnTurn(DatagramPort& port);
  /// Sends what the port has, and what follows from datagrams that the kernel did not take for
  /// their size.
  void Flush(DatagramPort& port);

  /// No new session from now on.
  void BeginShutdown() { shutting_down_ = true; }
  /// No session has anything left to do.
  bool idle() const;
  /// A file is on its way, or was not answered yet.
  bool HasUnfinishedFiles() const;
  /// Files of sessions are still to be closed.
  bool HasOpenFiles() const;
  /// Called whenever idle() may have become true.
  void SetIdleCallback(std::function<void()> callback) { on_idle_ = std::move(callback); }
  /// Tells all clients that it is over.
  void CloseAll(std::string_view why);

  /// Thread-safe.
  void Collect(daemon::MetricsPage& page) const;

 private:
  class Session;

  void HandleHello(DatagramPort& port, std::span<const std::byte> datagram, const Path& path);
  void HandleInitial(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                     TimePoint now);
  void HandlePacket(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
                    TimePoint now);
  bool HasCookie(const PacketHeader& header, const Path& path);
  void Begin(DatagramPort& port, std::span<std::byte> datagram, const Path& path,
             const PacketHeader& header, TimePoint now);
  void SendReset(DatagramPort& port, std::uint64_t connection_id, const Path& path);
  /// Tells a client that nothing is kept for it, and keeps nothing.
  void SendRefusal(DatagramPort& port, std::uint64_t connection_id, const Path& path);
  /// Whether one more from there may begin.
  bool IsFull(const PeerAddress& from) const;
  /// What the next session gets as its receive buffer; 0: there is not enough memory for one.
  std::uint64_t NextWindow() const;
  void Touch(Session* session);
  void ServeTouched();
  void OnSessionEnd(Session* session);

  const Options options_;
  const KeySchedule* const keys_;
  PartialStore* const store_;
  net::EventLoop* const loop_;
  net::WorkPool* const pool_;
  HelloSeal tags_;
  CookieJar cookies_;
  HelloGate hello_gate_;
  OnOpened on_opened_;
  std::function<void()> on_idle_;
  bool shutting_down_ = false;
  std::map<std::uint64_t, std::unique_ptr<Session>> sessions_;  ///< by connection id
  std::vector<Session*> touched_;  ///< have something to do in the next turn
  std::vector<Session*> turn_;     ///< of these, the ones of the present turn
  std::uint64_t memory_used_ = 0;
  LogLimit log_limit_;

  struct alignas(64) Counters {
    Counter hellos, cookies_sent, resets_sent, sessions_begun, sessions_complete, sessions_broken,
        moves, send_failures;
    // Datagrams and sessions refused.
    Counter malformed, bad_tag, bad_version, bad_cookie, bad_seal, wrong_address, unknown, full,
        shutdown;
    Counter files_stored, files_failed, content_bytes, resumed_bytes;
    std::atomic<std::uint64_t> sessions{0}, memory{0};
  } counters_;
};

}  // namespace ds::udp_transfer
