#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "udp_transfer/core/interval_set.h"

namespace ds::udp_transfer {

/// The receiving end of the stream: puts bytes that come in any order into a ring and hands them
/// out in order. Memory: `capacity` for the bytes (touched only where bytes come to stand), and 16
/// bytes for each gap, of which there are at most capacity / 2048 + 64: a sender of whole datagrams
/// stays far below. Single threaded, but for the bytes of Readable(): they stay where they are and
/// are not written to until Consume(), so another thread may read them meanwhile.
class ReceiveStream {
 public:
  enum class Taken {
    kTaken,
    kNoRoom,     ///< beyond the limit, or one gap too many: nothing was taken
    kViolation,  ///< contradicts what the peer said about the end of the stream
  };

  /// REQUIRES: capacity > 0.
  explicit ReceiveStream(std::size_t capacity);

  /// Bytes that begin at `offset`, and whether the stream ends behind them. REQUIRES: offset + size
  /// <= kStreamEnd.
  Taken Insert(std::uint64_t offset, std::span<const std::byte> bytes, bool end);

  /// The peer may send bytes below it: what was consumed plus the capacity. Never falls.
  std::uint64_t limit() const;

  /// Bytes in order, as far as they lie in one piece; empty when there are none.
  std::span<const std::byte> Readable() const;
  /// The first `bytes` of Readable() are no longer needed.
  void Consume(std::size_t bytes);

  std::uint64_t consumed() const { return consumed_; }
  /// All bytes before it have been received.
  std::uint64_t contiguous() const { return contiguous_; }
  /// The end of what was received, gaps included.
  std::uint64_t highest() const { return beyond_.empty() ? contiguous_ : beyond_.back().end; }
  /// All bytes up to the end of the stream have been received.
  bool complete() const { return end_ == contiguous_; }
  /// They have been consumed too.
  bool finished() const { return end_ == consumed_; }

 private:
  std::size_t Place(std::uint64_t offset) const {
    return static_cast<std::size_t>((offset - origin_) % capacity_);
  }

  std::size_t capacity_;
  std::unique_ptr<std::byte[]> ring_;  ///< byte `offset` at offset - origin_ mod capacity
  std::uint64_t origin_ = 0;
  std::uint64_t consumed_ = 0;
  std::uint64_t contiguous_ = 0;
  IntervalSet beyond_;  ///< received, above contiguous_
  std::optional<std::uint64_t> end_;
};

}  // namespace ds::udp_transfer
