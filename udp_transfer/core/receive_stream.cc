#include "udp_transfer/core/receive_stream.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "udp_transfer/core/packet.h"

namespace ds::udp_transfer {

ReceiveStream::ReceiveStream(std::size_t capacity)
    : capacity_(capacity),
      ring_(std::make_unique_for_overwrite<std::byte[]>(capacity)),
      beyond_(capacity / 2048 + 64) {
  CHECK(capacity > 0);
}

std::uint64_t ReceiveStream::limit() const {
  return std::min<std::uint64_t>(consumed_ + capacity_, kStreamEnd);
}

ReceiveStream::Taken ReceiveStream::Insert(std::uint64_t offset, std::span<const std::byte> bytes,
                                           bool end) {
  const std::uint64_t behind = offset + bytes.size();
  if (end_ ? behind > *end_ || (end && behind != *end_) : end && behind < highest()) {
    return Taken::kViolation;
  }
  if (behind > limit()) return Taken::kNoRoom;
  const std::uint64_t begin = std::max(offset, contiguous_);  // what is before was here already
  if (begin < behind) {
    // Bytes received before are written again below, but not those that may be read.
    if (begin == contiguous_) {
      contiguous_ = behind;
      while (!beyond_.empty() && beyond_.front().begin <= contiguous_) {
        contiguous_ = std::max(contiguous_, beyond_.front().end);
        beyond_.RemoveBelow(beyond_.front().end);
      }
    } else if (!beyond_.Add(begin, behind)) {
      return Taken::kNoRoom;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(begin - offset));
    const std::size_t at = Place(begin);
    const std::size_t first = std::min(bytes.size(), capacity_ - at);
    std::memcpy(ring_.get() + at, bytes.data(), first);
    if (first < bytes.size()) {
      std::memcpy(ring_.get(), bytes.data() + first, bytes.size() - first);
    }
  }
  if (end) end_ = behind;
  return Taken::kTaken;
}

std::span<const std::byte> ReceiveStream::Readable() const {
  const std::size_t at = Place(consumed_);
  const auto bytes = static_cast<std::size_t>(contiguous_ - consumed_);
  return {ring_.get() + at, std::min(bytes, capacity_ - at)};
}

void ReceiveStream::Consume(std::size_t bytes) {
  CHECK(bytes <= contiguous_ - consumed_);
  consumed_ += bytes;
  // Who keeps up uses the same few pages of the ring again and again.
  if (consumed_ == contiguous_ && beyond_.empty()) origin_ = consumed_;
}

}  // namespace ds::udp_transfer
