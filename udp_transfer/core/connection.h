#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/base/time.h"
#include "udp_transfer/core/bbr.h"
#include "udp_transfer/core/loss_detector.h"
#include "udp_transfer/core/mtu_search.h"
#include "udp_transfer/core/pacer.h"
#include "udp_transfer/core/packet.h"
#include "udp_transfer/core/receive_stream.h"
#include "udp_transfer/core/received_packets.h"
#include "udp_transfer/core/send_stream.h"

namespace ds::udp_transfer {

/// Why a connection ended. Codes from kFirstApplicationCode on belong to those who use the streams.
enum CloseCode : std::uint8_t {
  kCloseDone = 0,
  kCloseProtocolViolation = 1,
  kCloseIdle = 2,          ///< nothing came for the idle time-out; never sent
  kCloseReset = 3,         ///< the peer does not know the connection; never sent
  kClosePathTooSmall = 4,  ///< the path does not carry MtuSearch::kBase
  kCloseRefused = 5,       ///< the server takes no connection; never sent
  kFirstApplicationCode = 16,
};

struct CloseReason {
  std::uint8_t code = kCloseDone;
  bool by_peer = false;
  std::string text;  ///< the peer's, as it came: escape before logging
};

/// One end of a fast connection: a reliable byte stream in each direction over datagrams
/// (ARCHITECTURE.md, "Fast mode on the wire"). Without sockets, clocks and keys: the shell
///
///   * for each datagram of this connection: PacketNumber(), opens the seal with it, then
///     HandleDatagram(); several of them before
///   * PollTransmit() until it gives nothing, sealing and sending what it gives;
///   * HandleTimeout() when NextDeadline() has come, and PollTransmit() again;
///   * moves bytes by Writable()/Commit() and Readable()/Consume(), and calls PollTransmit() after.
///
/// Owned by the shell; single threaded, but for the bytes behind Writable() and Readable(), see
/// there. Nothing is allocated per datagram once buffers have grown to what is in flight. Memory is
/// bounded by both buffers and bookkeeping: tens of KB in most cases; in the worst about 15 MB, and
/// 1 MB of an end whose send buffer is below 2 MiB.
class Connection {
 public:
  enum class Role { kClient, kServer };

  struct Options {
    Role role = Role::kClient;
    std::uint64_t id = 0;
    std::size_t send_buffer = std::size_t{32} << 20U;     ///< bytes
    std::size_t receive_buffer = std::size_t{32} << 20U;  ///< bytes
    std::size_t tag_bytes = 8;                            ///< that the seal adds to each datagram
    InitialFields initial{};                              ///< the client's initials carry them
    std::size_t datagram_max = 65507;  ///< bytes of UDP payload that the socket can send
    double rate_max = std::numeric_limits<double>::infinity();  ///< bytes per second
    Duration idle_timeout = std::chrono::seconds(30);
    Duration keep_alive = std::chrono::seconds(5);  ///< a silent peer is asked whether it lives;
                                                    ///< a third of idle_timeout if that is less
    Duration initial_rtt = std::chrono::milliseconds(100);  ///< from hello to cookie, or a guess
    /// Bytes that the peer takes before its first ack: the cookie's receive window;
    /// kFirstLimit of a client.
    std::uint64_t peer_limit = kFirstLimit;
    std::uint64_t seed = 0;

    absl::Status Validate() const;
  };
  /// What every client takes of the server's stream before its first ack: no receive buffer is
  /// smaller.
  static constexpr std::uint64_t kFirstLimit = 65536;
  /// The largest window that programs offer; a cookie has 32 bits for it.
  static constexpr std::uint64_t kWindowMax = std::uint64_t{1} << 30U;

  enum class State {
    kOpen,
    kClosing,   ///< closed by this end; late packets are answered with the close again
    kDraining,  ///< closed by the peer; silent, so that late packets are still known
    kClosed,    ///< nothing more will happen: forget it
  };

  enum class Received {
    kTaken,
    kDuplicate,
    kDropped,  ///< its stream bytes cannot be taken, or the connection is closed
  };

  /// A datagram to be sealed and sent.
  struct Transmit {
    std::size_t size = 0;  ///< without the tag
    std::uint64_t packet_number = 0;
    bool initial = false;
    bool mtu_probe = false;  ///< only this one's size is uncertain: send it apart
  };

  /// Counts since the begin; of whole datagrams with tags, unless it says otherwise.
  struct Stats {
    std::uint64_t sent_datagrams = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t sent_stream_bytes = 0;           ///< payload, repetitions included
    std::uint64_t retransmitted_stream_bytes = 0;  ///< payload
    std::uint64_t lost_datagrams = 0;
    std::uint64_t spuriously_lost_datagrams = 0;  ///< of these: acknowledged after all
    std::uint64_t probe_timeouts = 0;
    std::uint64_t received_datagrams = 0;
    std::uint64_t duplicate_datagrams = 0;
    std::uint64_t dropped_datagrams = 0;
  };

  /// REQUIRES: options.Validate().ok().
  Connection(const Options& options, TimePoint now);

  // Datagrams.

  /// The whole number of a packet of this connection, to open its seal with. Nothing: not a packet
  /// or initial of this connection, too short, or certainly one that has been received before.
  std::optional<std::uint64_t> PacketNumber(std::span<const std::byte> datagram) const;
  /// No later packet than the one with this number has come.
  bool IsNewest(std::uint64_t packet_number) const { return packet_number >= received_.expected(); }
  /// A datagram whose seal has been opened, without its tag. REQUIRES: `packet_number` is what
  /// PacketNumber() says of it now.
  Received HandleDatagram(std::span<const std::byte> datagram, std::uint64_t packet_number,
                          TimePoint now);
  /// The next datagram that should leave now, written to `out`. Those in a row are of equal size
  /// (datagram_bytes(), with tags) but for the last, as segmentation offload wants it, with rare
  /// exceptions. An MTU probe leaves only where `out` has room for it, at most
  /// options.datagram_max. REQUIRES: out.size() >= datagram_bytes().
  std::optional<Transmit> PollTransmit(std::span<std::byte> out, TimePoint now);
  /// When HandleTimeout() and PollTransmit() should be called, if nothing else happens before: in
  /// the future after HandleTimeout() with the present time and PollTransmit() until it gave
  /// nothing. None when kClosed.
  std::optional<TimePoint> NextDeadline() const;
  /// The same while nothing can be sent: when the connection will have ended, should nothing come.
  std::optional<TimePoint> EndDeadline() const;
  /// Harmless when called early.
  void HandleTimeout(TimePoint now);

  /// The kernel refused a datagram of `bytes`, tag included, as too large (EMSGSIZE).
  void DatagramTooBig(std::size_t bytes, TimePoint now);
  /// A server's reset for this connection came; its tag was right.
  void HandleReset(TimePoint now);
  /// A server's refusal of this connection came; its tag was right. Too late, it changes nothing:
  /// who has heard of the server in the connection itself was not refused.
  void HandleRefusal(std::string_view why, TimePoint now);
  /// Instead of HandleRefusal(): the server is full, and its place may be that of a connection
  /// whose idle time-out began as late as this one's. Until a packet comes this end waits two probe
  /// intervals longer, so that a probe finds the place free.
  void AwaitPlace() { awaits_place_ = true; }

  /// A client's path seems dead: several time-outs went by unanswered, and a new cookie (from a new
  /// address, perhaps) may bring the connection back. True until HandleCookie() or a packet. Never
  /// before the server was heard: it may not have the keys yet, and would derive others from the
  /// new cookie's random; the first cookie is still good then.
  bool NeedsCookie() const;
  /// Several time-outs in a row went by unanswered.
  bool PathSeemsDead() const;
  /// A new cookie: packets are initials again until the server answers. REQUIRES: a client.
  void HandleCookie(const InitialFields& initial);
  enum class PathChange {
    kPort,     ///< a NAT's doing, most likely: the path is the same
    kAddress,  ///< or nobody knows: rate, round trip and datagram size are found out anew
  };
  /// The peer has another address (RFC 9000, 9.4). Something is sent at once.
  void HandlePathChange(PathChange change);

  // The stream to the peer.

  /// Where the next bytes go; empty when the buffer is full (acks make room) or after Finish(). It
  /// stays valid and untouched until Commit(): another thread may fill it meanwhile.
  std::span<std::byte> Writable() { return send_.Writable(); }
  void Commit(std::size_t bytes) { send_.Commit(bytes); }
  /// The stream ends here.
  void Finish() { send_.Finish(); }
  std::uint64_t written() const { return send_.written(); }
  /// Bytes of the stream that have left at least once: the peer may have them.
  std::uint64_t sent() const { return send_.written() - send_.unsent(); }
  /// Bytes of the stream that the peer has for certain.
  std::uint64_t acked() const { return send_.acked(); }

  // The stream from the peer.

  /// The next bytes; empty when there are none. They stay where they are until Consume(): another
  /// thread may read them meanwhile.
  std::span<const std::byte> Readable() const { return receive_.Readable(); }
  void Consume(std::size_t bytes) { receive_.Consume(bytes); }
  /// The peer's stream has ended and is consumed.
  bool PeerFinished() const { return receive_.finished(); }

  /// Both streams have ended, the peer has all of ours, and we have consumed all of its.
  bool complete() const { return send_.complete() && receive_.finished(); }

  /// Ends the connection; streams move no further. Nothing happens unless kOpen. `text` of at most
  /// 512 bytes is sent, the rest cut off.
  void Close(std::uint8_t code, std::string_view text, TimePoint now);

  State state() const { return state_; }
  /// REQUIRES: not kOpen.
  const CloseReason& close_reason() const { return reason_; }
  /// A packet of the peer has been received.
  bool established() const { return received_.expected() > 0; }
  /// Of full datagrams now, tags included: the segment size.
  std::size_t datagram_bytes() const { return mtu_.size(); }

  const Stats& stats() const { return stats_; }
  const RttEstimate& rtt() const { return detector_.rtt(); }
  const Bbr& congestion() const { return bbr_; }

 private:
  struct Plan;

  void HandleAck(const AckFrame& ack, TimePoint now);
  void Apply(const LossDetector::Events& events, TimePoint now);
  void OnProbeTimeout();
  void NoteReceived(std::uint64_t number, bool eliciting, TimePoint now);

  std::optional<Transmit> PollClose(std::span<std::byte> out, TimePoint now);
  std::optional<Transmit> PollMtuProbe(std::span<std::byte> out, TimePoint now);
  Plan PlanDatagram(TimePoint now);
  Transmit Write(const Plan& plan, std::span<std::byte> out, TimePoint now);
  WireWriter Begin(std::span<std::byte> out) const;
  Transmit Record(Transmit transmit, const Plan& plan, TimePoint now);
  void WriteAck(WireWriter& writer, TimePoint now);
  /// That the next ack names.
  std::span<const Interval> AckedRanges() const;
  std::size_t room() const;

  bool WindowIsOpen() const;
  bool WindowUpdateIsDue() const;
  void End(State state, CloseReason reason, TimePoint now);
  TimePoint IdleDeadline() const;
  std::optional<TimePoint> KeepAliveDeadline() const;

  Options options_;
  State state_ = State::kOpen;
  CloseReason reason_;
  bool initial_;                     ///< packets are initials
  std::uint64_t initial_begin_ = 0;  ///< until one from this on is acknowledged

  SendStream send_;
  ReceiveStream receive_;
  ReceivedPackets received_;
  LossDetector detector_;
  MtuSearch mtu_;
  Bbr bbr_;
  Pacer pacer_;

  // Acks to be sent.
  unsigned acks_sent_ = 0;
  unsigned unacknowledged_ = 0;  ///< packets that ask for an ack, since the last one
  bool ack_now_ = false;
  TimePoint ack_deadline_;         ///< while unacknowledged_ > 0
  TimePoint largest_received_at_;  ///< the packet with the largest number
  std::uint64_t limit_sent_ = 0;   ///< the highest limit that an ack named
  bool limit_lost_ = false;        ///< an update that the peer may wait for was lost

  bool ping_ = false;        ///< something that asks for an ack has to be sent
  unsigned probes_due_ = 0;  ///< packets that may leave whatever the window says
  TimePoint last_received_;
  bool awaits_place_ = false;

  // While kClosing or kDraining.
  bool close_due_ = false;
  unsigned close_periods_ = 0;  ///< that are left
  TimePoint close_deadline_;

  std::vector<PacketOutcome> outcomes_;  ///< for the congestion control; kept for its memory
  Stats stats_;
};

}  // namespace ds::udp_transfer
