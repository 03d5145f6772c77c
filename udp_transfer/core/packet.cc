#include "udp_transfer/core/packet.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

enum FrameType : std::uint8_t {
  kPadding = 0,
  kPing = 1,
  kAck = 2,
  kStream = 3,
  kStreamWithEnd = 4,
  kClose = 5,
};

}  // namespace

void EncodeHeader(const PacketHeader& header, WireWriter& writer) {
  writer.Number(header.initial ? kInitialType : kPacketType, 1);
  writer.Number(header.connection_id, 8);
  writer.Number(header.packet_number_low, 4);
  if (!header.initial) return;
  writer.Bytes(header.initial->client_random);
  writer.Bytes(header.initial->server_random);
  writer.Bytes(header.initial->cookie);
}

std::optional<PacketHeader> DecodeHeader(std::span<const std::byte> datagram) {
  WireReader reader(datagram);
  const std::uint64_t type = reader.Number(1);
  if (type != kInitialType && type != kPacketType) return std::nullopt;
  PacketHeader header;
  header.connection_id = reader.Number(8);
  header.packet_number_low = static_cast<std::uint32_t>(reader.Number(4));
  if (type == kInitialType) {
    header.initial.emplace();
    header.initial->client_random = reader.Array<16>();
    header.initial->server_random = reader.Array<16>();
    header.initial->cookie = reader.Array<24>();
  }
  if (!reader.ok()) return std::nullopt;
  return header;
}

std::uint64_t ReconstructPacketNumber(std::uint64_t expected, std::uint32_t low) {
  constexpr std::uint64_t kWindow = std::uint64_t{1} << 32U;
  const std::uint64_t candidate = (expected & ~(kWindow - 1)) | low;
  if (candidate + kWindow / 2 <= expected && candidate < kVarintEnd - kWindow) {
    return candidate + kWindow;
  }
  if (candidate > expected + kWindow / 2 && candidate >= kWindow) return candidate - kWindow;
  return candidate;
}

std::optional<Interval> AckRanges::Next() {
  if (left_ == 0) return std::nullopt;
  const std::uint64_t end = end_;
  const std::uint64_t begin = end - reader_.Varint();
  if (--left_ > 0) end_ = begin - reader_.Varint();
  return Interval{begin, end};
}

std::optional<Frame> FrameReader::Next() {
  while (!reader_.left().empty() && error_.empty()) {
    switch (reader_.Number(1)) {
      case kPadding:
        break;
      case kPing:
        return PingFrame{};
      case kAck:
        return ReadAck();
      case kStream:
        return ReadStream(/*end=*/false);
      case kStreamWithEnd:
        return ReadStream(/*end=*/true);
      case kClose:
        return ReadClose();
      default:
        error_ = "unknown frame type";
    }
  }
  return std::nullopt;
}

std::optional<Frame> FrameReader::ReadAck() {
  const std::uint64_t largest = reader_.Number(8);
  const auto delay_us = static_cast<std::uint32_t>(reader_.Number(4));
  const std::uint64_t stream_limit = reader_.Number(8);
  const std::uint64_t count = reader_.Number(1);
  const std::span<const std::byte> ranges = reader_.left();
  if (count == 0 || largest >= kVarintEnd || stream_limit > kStreamEnd) {
    error_ = "malformed ack frame";
    return std::nullopt;
  }
  std::uint64_t below = largest + 1;  // the rest of the ranges lies below it
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t gap = i == 0 ? 0 : reader_.Varint();
    const std::uint64_t length = reader_.Varint();
    if (!reader_.ok() || (i > 0 && gap == 0) || length == 0 || gap > below ||
        length > below - gap) {
      error_ = "malformed ack frame";
      return std::nullopt;
    }
    below -= gap + length;
  }
  return AckFrame{largest, delay_us, stream_limit,
                  AckRanges(largest, count, ranges.first(ranges.size() - reader_.left().size()))};
}

std::optional<Frame> FrameReader::ReadStream(bool end) {
  const std::uint64_t offset = reader_.Number(6);
  const std::span<const std::byte> payload = reader_.Bytes(reader_.left().size());
  if (!reader_.ok() || payload.size() > kStreamEnd - offset || (payload.empty() && !end)) {
    error_ = "malformed stream frame";
    return std::nullopt;
  }
  return StreamFrame{offset, payload, end};
}

std::optional<Frame> FrameReader::ReadClose() {
  const auto code = static_cast<std::uint8_t>(reader_.Number(1));
  const std::span<const std::byte> text = reader_.Bytes(reader_.Number(2));
  if (!reader_.ok()) {
    error_ = "malformed close frame";
    return std::nullopt;
  }
  return CloseFrame{code, {reinterpret_cast<const char*>(text.data()), text.size()}};
}

void EncodePing(WireWriter& writer) { writer.Number(kPing, 1); }

std::size_t RangesWithin(std::span<const Interval> received, std::size_t ranges_max,
                         std::size_t bytes) {
  std::size_t used = kAckHeaderBytes;
  std::size_t count = 0;
  while (count < std::min(received.size(), ranges_max)) {
    const std::size_t at = received.size() - 1 - count;
    used += VarintBytes(received[at].size());
    if (count > 0) used += VarintBytes(received[at + 1].begin - received[at].end);
    if (used > bytes) break;
    ++count;
  }
  return count;
}

std::size_t AckBytes(std::span<const Interval> received) {
  std::size_t bytes = kAckHeaderBytes;
  for (std::size_t i = 0; i < received.size(); ++i) {
    bytes += VarintBytes(received[i].size());
    if (i > 0) bytes += VarintBytes(received[i].begin - received[i - 1].end);
  }
  return bytes;
}

void EncodeAck(std::span<const Interval> received, std::uint32_t delay_us,
               std::uint64_t stream_limit, WireWriter& writer) {
  const std::size_t room = writer.left();
  writer.Number(kAck, 1);
  writer.Number(received.back().end - 1, 8);
  writer.Number(delay_us, 4);
  writer.Number(stream_limit, 8);
  const std::span<std::byte> count = writer.Skip(1);
  const std::size_t ranges_max = std::min(received.size(), kAckRangesMax);
  std::size_t written = 0;
  for (std::uint64_t begin = 0; written < ranges_max; ++written) {  // of the range before
    const Interval& range = received[received.size() - 1 - written];
    const std::size_t bytes =
        VarintBytes(range.size()) + (written == 0 ? 0 : VarintBytes(begin - range.end));
    if (bytes > writer.left()) break;
    if (written > 0) writer.Varint(begin - range.end);
    writer.Varint(range.size());
    begin = range.begin;
  }
  CHECK(written > 0 && room >= kAckHeaderBytes);
  count[0] = static_cast<std::byte>(written);
}

void EncodeStreamHeader(std::uint64_t offset, bool end, WireWriter& writer) {
  writer.Number(end ? kStreamWithEnd : kStream, 1);
  writer.Number(offset, 6);
}

void EncodeClose(std::uint8_t code, std::string_view text, WireWriter& writer) {
  text = text.substr(0, std::min<std::size_t>(writer.left() - kCloseHeaderBytes, 0xffff));
  writer.Number(kClose, 1);
  writer.Number(code, 1);
  writer.Number(text.size(), 2);
  writer.Bytes(std::as_bytes(std::span(text)));
}

}  // namespace ds::udp_transfer
