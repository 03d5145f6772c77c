#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace ds::udp_transfer {

/// What an IPv6 address begins with that stands for an IPv4 address (RFC 4291, 2.5.5.2).
inline constexpr std::array<std::byte, 12> kMappedPrefix{
    {{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{0xff}, std::byte{0xff}}};

/// Where a datagram came from: an IPv6 address (IPv4 mapped into it, ::ffff:a.b.c.d) and a port,
/// both in network order. A value.
struct PeerAddress {
  std::array<std::byte, 18> bytes{};

  std::span<const std::byte, 16> host() const { return std::span(bytes).first<16>(); }
  bool IsMapped() const { return std::ranges::equal(host().first<12>(), kMappedPrefix); }
  /// 127.0.0.0/8 mapped, and ::1.
  bool IsLoopback() const;
  /// What one owner is given at least: the IPv4 address, or the /64 of an IPv6 address, with port
  /// 0.
  PeerAddress Source() const;

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
  friend bool operator<(const PeerAddress& a, const PeerAddress& b) { return a.bytes < b.bytes; }
};

}  // namespace ds::udp_transfer
