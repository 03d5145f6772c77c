#include "udp_transfer/core/send_stream.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "udp_transfer/core/packet.h"

namespace ds::udp_transfer {

SendStream::SendStream(std::size_t capacity, std::uint64_t limit)
    : capacity_(capacity),
      ring_(std::make_unique_for_overwrite<std::byte[]>(capacity)),
      limit_(limit) {
  CHECK(capacity > 0);
}

std::span<std::byte> SendStream::Writable() {
  if (finished_) return {};
  const auto at = static_cast<std::size_t>(written_ % capacity_);
  const std::uint64_t room = std::min(acked_ + capacity_, kStreamEnd) - written_;
  return {ring_.get() + at,
          static_cast<std::size_t>(std::min<std::uint64_t>(room, capacity_ - at))};
}

void SendStream::Commit(std::size_t bytes) {
  CHECK(bytes <= Writable().size());
  written_ += bytes;
}

void SendStream::RaiseLimit(std::uint64_t limit) { limit_ = std::max(limit_, limit); }

std::optional<SendStream::Chunk> SendStream::Next(std::size_t size_max) const {
  if (!lost_.empty()) {
    const Interval& lost = lost_.front();
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(lost.size(), size_max));
    return Chunk{lost.begin, size, EndsAt(lost.begin + size), /*again=*/true};
  }
  const std::uint64_t end = std::min(written_, std::max(limit_, sent_));
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(end - sent_, size_max));
  const bool ends = EndsAt(sent_ + size);
  if (size == 0 && !(ends && (!end_sent_ || end_lost_))) return std::nullopt;
  return Chunk{sent_, size, ends, /*again=*/size == 0 && end_sent_};
}

void SendStream::Copy(const Chunk& chunk, std::span<std::byte> out) const {
  if (chunk.size == 0) return;
  const auto at = static_cast<std::size_t>(chunk.offset % capacity_);
  const std::size_t first = std::min(chunk.size, capacity_ - at);
  std::memcpy(out.data(), ring_.get() + at, first);
  if (first < chunk.size) std::memcpy(out.data() + first, ring_.get(), chunk.size - first);
}

void SendStream::OnSent(const Chunk& chunk) {
  const std::uint64_t end = chunk.offset + chunk.size;
  if (chunk.again) {
    lost_.RemoveBelow(end);
  } else {
    sent_ = end;
  }
  if (chunk.end) {
    end_sent_ = true;
    end_lost_ = false;
  }
}

void SendStream::OnAcked(std::uint64_t offset, std::size_t size, bool end) {
  if (end) {
    end_acked_ = true;
    end_lost_ = false;
  }
  const std::uint64_t begin = std::max(offset, acked_);
  const std::uint64_t behind = offset + size;
  CHECK(behind <= sent_);
  if (begin >= behind) return;
  lost_.Remove(begin, behind);
  if (begin > acked_) {
    CHECK(beyond_.Add(begin, behind));
    return;
  }
  acked_ = behind;
  while (!beyond_.empty() && beyond_.front().begin <= acked_) {
    acked_ = std::max(acked_, beyond_.front().end);
    beyond_.RemoveBelow(beyond_.front().end);
  }
}

void SendStream::OnLost(std::uint64_t offset, std::size_t size, bool end) {
  if (end && !end_acked_) end_lost_ = true;
  const std::uint64_t begin = std::max(offset, acked_);
  const std::uint64_t behind = offset + size;
  if (begin >= behind) return;
  CHECK(lost_.Add(begin, behind));
  for (const Interval& acked : beyond_.Overlapping(begin, behind)) {
    lost_.Remove(acked.begin, acked.end);
  }
}

bool SendStream::SendOldestAgain(std::size_t bytes) {
  if (acked_ < sent_) {
    const std::uint64_t gap_end = beyond_.empty() ? sent_ : beyond_.front().begin;
    OnLost(acked_, static_cast<std::size_t>(std::min<std::uint64_t>(gap_end - acked_, bytes)),
           /*end=*/false);
    return true;
  }
  if (end_sent_ && !end_acked_) {
    end_lost_ = true;
    return true;
  }
  return false;
}

}  // namespace ds::udp_transfer
