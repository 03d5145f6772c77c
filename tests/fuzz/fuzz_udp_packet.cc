#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <variant>

#include "common/base/check.h"
#include "udp_transfer/core/packet.h"

namespace udp = ds::udp_transfer;

/// Whatever a packet says, what is read of it lies within its bytes and within the wire format's
/// limits, and acks name falling ranges.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> datagram(reinterpret_cast<const std::byte*>(data), size);
  const auto header = udp::DecodeHeader(datagram);
  if (!header) return 0;
  CHECK(header->size() <= size);
  const auto inside = [&](const void* begin, std::size_t bytes) {
    const std::less_equal<const void*> below;
    return bytes == 0 || (below(data, begin) &&
                          below(static_cast<const std::uint8_t*>(begin) + bytes, data + size));
  };
  udp::FrameReader reader(datagram.subspan(header->size()));
  while (const auto frame = reader.Next()) {
    if (const auto* ack = std::get_if<udp::AckFrame>(&*frame)) {
      CHECK(ack->largest < udp::kVarintEnd && ack->stream_limit <= udp::kStreamEnd);
      udp::AckRanges ranges = ack->ranges;
      std::uint64_t end = ack->largest + 2;
      std::size_t count = 0;
      while (const auto range = ranges.Next()) {
        CHECK(range->begin < range->end && range->end < end);
        CHECK(count > 0 || range->end == ack->largest + 1);
        end = range->begin;
        ++count;
      }
      CHECK(count >= 1 && count <= udp::kAckRangesMax);
    } else if (const auto* stream = std::get_if<udp::StreamFrame>(&*frame)) {
      CHECK(inside(stream->payload.data(), stream->payload.size()));
      CHECK(stream->offset + stream->payload.size() <= udp::kStreamEnd);
      CHECK(stream->end || !stream->payload.empty());
      CHECK(!reader.Next() && reader.error().empty());
    } else if (const auto* close = std::get_if<udp::CloseFrame>(&*frame)) {
      CHECK(inside(close->text.data(), close->text.size()));
    }
  }
  return 0;
}
