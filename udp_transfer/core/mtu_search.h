#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "common/base/time.h"

namespace ds::udp_transfer {

/// How large datagrams may be (packetization layer path MTU discovery, RFC 8899): begins with what
/// every path carries and probes the sizes that real paths have. A size counts when a datagram of
/// it was acknowledged; it is given up after kProbesMax lost probes or when the own kernel refuses
/// it. Sizes are bytes of UDP payload, tag included. Single threaded.
class MtuSearch {
 public:
  static constexpr std::size_t kBase = 1200;
  static constexpr int kProbesMax = 3;
  /// Lost large datagrams in a row that make a black hole (RFC 8899, 4.3).
  static constexpr int kBlackHoleLosses = 16;
  /// After a search that ended below the maximum: paths change (RFC 8899, 5.1.1, PMTU_RAISE_TIMER).
  static constexpr Duration kSearchInterval = std::chrono::seconds(600);

  /// REQUIRES: size_max >= kBase.
  explicit MtuSearch(std::size_t size_max) : size_max_(size_max), refused_(size_max + 1) {}

  /// What data may be sent with.
  std::size_t size() const { return size_; }

  /// The size of a probe that should be sent now; nothing while one is under way or none is needed.
  std::optional<std::size_t> ProbeSize(TimePoint now);
  void OnProbeSent(std::size_t size) { probe_ = size; }
  /// Fate of a probe; of none but the last one since StartAgain() it matters.
  void OnProbeAcked(std::size_t size);
  void OnProbeLost(std::size_t size);

  /// The kernel refused a datagram of this size. False: even kBase is too large for the path.
  bool OnTooBig(std::size_t size);

  /// Fate of other datagrams.
  void OnAcked(std::size_t size, TimePoint sent_at);
  void OnLost(std::size_t size, TimePoint sent_at);

  /// Nothing is known of the path any more: the peer is silent, or it is another path.
  void StartAgain();

 private:
  std::optional<std::size_t> NextCandidate() const;

  std::size_t size_max_;
  std::size_t size_ = kBase;
  std::size_t refused_;               ///< the least size that the path does not carry
  std::optional<std::size_t> probe_;  ///< under way
  int probes_lost_ = 0;               ///< of the candidate
  std::optional<TimePoint> finished_at_;

  TimePoint large_arrived_;  ///< when the newest large datagram that arrived was sent
  int large_lost_ = 0;       ///< large datagrams sent after it and lost
};

}  // namespace ds::udp_transfer
