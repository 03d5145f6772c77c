#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "udp_transfer/core/interval_set.h"

namespace ds::udp_transfer {

/// The sending end of the stream: a ring that holds bytes from Commit() until they are
/// acknowledged, and knows which are new, in flight, or have to be sent again. Single threaded, but
/// for the bytes of Writable(): they stay where they are and are not touched until Commit(), so
/// another thread may fill them meanwhile.
class SendStream {
 public:
  /// A piece of the stream, as one packet carries it.
  struct Chunk {
    std::uint64_t offset = 0;
    std::size_t size = 0;
    bool end = false;    ///< the stream ends behind it; the only chunk that may be empty
    bool again = false;  ///< was sent before
  };

  /// The peer takes bytes below `limit`. REQUIRES: capacity > 0.
  SendStream(std::size_t capacity, std::uint64_t limit);

  /// Where the next bytes go, as far as room lies in one piece; empty when the ring is full or
  /// Finish() was called.
  std::span<std::byte> Writable();
  /// The first `bytes` of Writable() hold the stream's next bytes. REQUIRES: that many.
  void Commit(std::size_t bytes);
  /// The stream ends here.
  void Finish() { finished_ = true; }

  /// The peer takes bytes below `limit`; lower ones than it said before are of the past.
  void RaiseLimit(std::uint64_t limit);

  /// What should be sent now in at most `size_max` bytes: first what was lost, from the begin on,
  /// then new bytes as far as the peer takes them. REQUIRES: size_max > 0.
  std::optional<Chunk> Next(std::size_t size_max) const;
  /// The bytes of a chunk, into `out`, which is as large.
  void Copy(const Chunk& chunk, std::span<std::byte> out) const;
  /// The chunk of Next(), or the begin of it, has been sent.
  void OnSent(const Chunk& chunk);
  /// A packet with this chunk was acknowledged, or is taken for lost; in any order, any number of
  /// times, after other packets with parts of it.
  void OnAcked(std::uint64_t offset, std::size_t size, bool end);
  void OnLost(std::uint64_t offset, std::size_t size, bool end);
  /// Nothing is lost and nothing new can be sent, but the peer is silent: the oldest `bytes` that
  /// are in flight are to be sent again (RFC 9002, 6.2.4). False: nothing is in flight.
  bool SendOldestAgain(std::size_t bytes);

  /// Bytes that were never sent, whether or not the peer takes them.
  std::uint64_t unsent() const { return written_ - sent_; }
  std::uint64_t written() const { return written_; }
  /// All bytes below it are acknowledged.
  std::uint64_t acked() const { return acked_; }
  /// The whole stream and its end are acknowledged.
  bool complete() const { return end_acked_ && acked_ == written_; }

 private:
  /// The end belongs to a chunk that reaches it.
  bool EndsAt(std::uint64_t offset) const { return finished_ && offset == written_; }

  std::size_t capacity_;
  std::unique_ptr<std::byte[]> ring_;  ///< byte `offset` at offset mod capacity
  std::uint64_t limit_;
  std::uint64_t acked_ = 0;    ///< <= sent_ <= written_ <= acked_ + capacity_
  std::uint64_t sent_ = 0;     ///< at least once
  std::uint64_t written_ = 0;  ///< end of what was committed
  IntervalSet beyond_;         ///< acknowledged, above acked_
  IntervalSet lost_;           ///< to be sent again; disjoint from what is acknowledged
  bool finished_ = false;
  bool end_sent_ = false;
  bool end_lost_ = false;
  bool end_acked_ = false;
};

}  // namespace ds::udp_transfer
