#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/net/endpoint.h"
#include "udp_transfer/core/peer_address.h"

namespace ds::udp_transfer {

/// A way to a peer as this end sees it: the peer, and which of our addresses it asked, so that the
/// answer leaves from that one. A value.
struct Path {
  PeerAddress peer;
  std::array<std::byte, 16> local{};  ///< IPv6 or mapped IPv4; zeros: the kernel chooses
  std::uint32_t interface = 0;        ///< of a link-local peer; else 0

  friend bool operator==(const Path&, const Path&) = default;
};

/// The address in the form that the cores know: IPv4 mapped into IPv6, and the port.
PeerAddress ToPeerAddress(const net::Endpoint& endpoint);
PeerAddress ToPeerAddress(const sockaddr_storage& address);

/// The way back, as an address of `family`. REQUIRES: with AF_INET, the address is a mapped one.
net::Endpoint ToEndpoint(const PeerAddress& peer, int family, std::uint32_t interface = 0);
/// The family is that of the address itself.
net::Endpoint ToEndpoint(const PeerAddress& peer);

}  // namespace ds::udp_transfer
