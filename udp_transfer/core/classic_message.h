#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {

// The four messages of the classic protocol. One datagram is one message; fields stand between the
// three bytes " | ", numbers are ASCII decimal.

/// `s | <seqno0> | <name> | <total_bytes>`. The name is all between the second separator and the
/// last one, so it may contain separators itself.
struct ClassicStart {
  std::uint64_t seqno0 = 0;  ///< at most kSeqno0Max
  std::string_view name;     ///< any bytes; see CheckClassicName()
  std::uint64_t total_bytes = 0;
  friend bool operator==(const ClassicStart&, const ClassicStart&) = default;
};

/// `a | <next_seqno>` acknowledges data; with ` | <buf_bytes>` behind it, a start.
struct ClassicAck {
  std::uint64_t next_seqno = 0;
  std::optional<std::uint64_t> buf_bytes{};  ///< of the largest datagram the server takes
  friend bool operator==(const ClassicAck&, const ClassicAck&) = default;
};

/// `d | <seqno> | ` and then the payload, any bytes.
struct ClassicData {
  std::uint64_t seqno = 0;
  std::span<const std::byte> payload;
};

using ClassicMessage = std::variant<ClassicStart, ClassicAck, ClassicData>;

/// Leaves all sequence numbers of a session room below 2^64: none ever wraps.
inline constexpr std::uint64_t kSeqno0Max = (std::uint64_t{1} << 63U) - 1;
/// Of UDP over IPv4; no datagram of the classic protocol is larger, whatever a server announces.
inline constexpr std::size_t kClassicDatagramBytesMax = kDatagramMax;
inline constexpr std::size_t kClassicAckBytesMax = 47;

/// The message in a datagram, with views into it; nothing for an unknown type, a wrong separator, a
/// missing or additional field, or a number that is none (or is beyond 64 bits).
std::optional<ClassicMessage> ParseClassic(std::span<const std::byte> datagram);

// Sizes of what FormatClassic…() writes.
std::size_t ClassicDataHeaderBytes(std::uint64_t seqno);
std::size_t ClassicAckBytes(const ClassicAck& ack);

// Write a message (for data, what stands before the payload) to the begin of `out` and return its
// size. REQUIRES: it fits.
std::size_t FormatClassic(const ClassicStart& start, std::span<std::byte> out);
std::size_t FormatClassic(const ClassicAck& ack, std::span<std::byte> out);
std::size_t FormatClassicDataHeader(std::uint64_t seqno, std::span<std::byte> out);

}  // namespace ds::udp_transfer
