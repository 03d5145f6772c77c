#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "udp_transfer/core/hello.h"
#include "udp_transfer/core/interval_set.h"
#include "udp_transfer/core/wire.h"

// Initials and packets: header and frames (ARCHITECTURE.md, "Fast mode on the wire"). A datagram is
// header, frames, tag; encoding and decoding end where the tag begins.

namespace ds::udp_transfer {

inline constexpr std::size_t kPacketHeaderBytes = 13;
inline constexpr std::size_t kInitialExtraBytes = 56;  ///< randoms and cookie
inline constexpr std::size_t kInitialHeaderBytes = kPacketHeaderBytes + kInitialExtraBytes;

inline constexpr std::uint64_t kStreamEnd = std::uint64_t{1} << 48U;  ///< no offset reaches it

/// What an initial carries beyond a packet's header.
struct InitialFields {
  Random client_random{};
  Random server_random{};
  Cookie cookie{};

  friend bool operator==(const InitialFields&, const InitialFields&) = default;
};

struct PacketHeader {
  std::uint64_t connection_id = 0;
  std::uint32_t packet_number_low = 0;     ///< its lowest 32 bits
  std::optional<InitialFields> initial{};  ///< set in an initial

  std::size_t size() const { return initial ? kInitialHeaderBytes : kPacketHeaderBytes; }
  friend bool operator==(const PacketHeader&, const PacketHeader&) = default;
};

void EncodeHeader(const PacketHeader& header, WireWriter& writer);
/// Nothing when the datagram is neither an initial nor a packet, or too short for its header.
std::optional<PacketHeader> DecodeHeader(std::span<const std::byte> datagram);

/// The packet number nearest to `expected` (the largest received so far, plus 1) with these lowest
/// 32 bits (RFC 9000, appendix A.3).
std::uint64_t ReconstructPacketNumber(std::uint64_t expected, std::uint32_t low);

// Frames.

struct PingFrame {};

/// The packets that an ack names: decoded while it is read, so that an ack needs no memory of its
/// own. Valid as long as the datagram.
class AckRanges {
 public:
  /// REQUIRES: `encoded` has been checked to hold `count` ranges below `largest` + 1.
  AckRanges(std::uint64_t largest, std::size_t count, std::span<const std::byte> encoded)
      : end_(largest + 1), left_(count), reader_(encoded) {}

  /// From the newest to the oldest range; nothing after the last.
  std::optional<Interval> Next();

 private:
  std::uint64_t end_;
  std::size_t left_;
  WireReader reader_;
};

struct AckFrame {
  std::uint64_t largest = 0;
  std::uint32_t delay_us = 0;      ///< from the reception of `largest` to this ack
  std::uint64_t stream_limit = 0;  ///< the receiver of this frame may send bytes below it
  AckRanges ranges;
};

struct StreamFrame {
  std::uint64_t offset = 0;
  std::span<const std::byte> payload;
  bool end = false;  ///< the stream ends with this payload
};

struct CloseFrame {
  std::uint8_t code = 0;
  std::string_view text;
};

using Frame = std::variant<PingFrame, AckFrame, StreamFrame, CloseFrame>;

inline constexpr std::size_t kPingBytes = 1;
inline constexpr std::size_t kStreamHeaderBytes = 7;
inline constexpr std::size_t kAckHeaderBytes = 22;
inline constexpr std::size_t kCloseHeaderBytes = 4;
inline constexpr std::size_t kAckRangesMax = 255;

/// Reads frame after frame out of a packet without its header and tag. The peer is not trusted: all
/// that Next() gives lies within the bytes, and numbers within what the wire format allows. Frames
/// refer to the bytes. A value, for one function's use.
class FrameReader {
 public:
  explicit FrameReader(std::span<const std::byte> frames) : reader_(frames) {}

  /// Nothing at the end, or when what follows is malformed. Padding is skipped.
  std::optional<Frame> Next();
  /// What was malformed; empty when all could be read.
  std::string_view error() const { return error_; }

 private:
  std::optional<Frame> ReadAck();
  std::optional<Frame> ReadStream(bool end);
  std::optional<Frame> ReadClose();

  WireReader reader_;
  std::string_view error_;
};

void EncodePing(WireWriter& writer);
/// How many of the newest `received` ranges (ascending) an ack of at most `bytes` names, if it
/// names `ranges_max` at most.
std::size_t RangesWithin(std::span<const Interval> received, std::size_t ranges_max,
                         std::size_t bytes);
/// Bytes of a whole ack frame with the `received` ranges (ascending), at most kAckRangesMax.
std::size_t AckBytes(std::span<const Interval> received);
/// The newest of the `received` ranges (ascending), as many as there is room for.
/// REQUIRES: room for one; not empty.
void EncodeAck(std::span<const Interval> received, std::uint32_t delay_us,
               std::uint64_t stream_limit, WireWriter& writer);
/// The payload follows it, up to the end of the packet.
void EncodeStreamHeader(std::uint64_t offset, bool end, WireWriter& writer);
/// The text is cut to fit. REQUIRES: room for kCloseHeaderBytes.
void EncodeClose(std::uint8_t code, std::string_view text, WireWriter& writer);

}  // namespace ds::udp_transfer
