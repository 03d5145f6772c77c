#include "udp_transfer/net/path.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"

namespace ds::udp_transfer {
PeerAddress ToPeerAddress(const sockaddr_storage& address) {
  PeerAddress peer{};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), peer.bytes.begin());
    std::memcpy(&peer.bytes[12], &v4.sin_addr, 4);
    std::memcpy(&peer.bytes[16], &v4.sin_port, 2);
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(peer.bytes.data(), &v6.sin6_addr, 16);
    std::memcpy(&peer.bytes[16], &v6.sin6_port, 2);
  }
  return peer;
}

PeerAddress ToPeerAddress(const net::Endpoint& endpoint) {
  sockaddr_storage storage{};
  std::memcpy(&storage, endpoint.address(), endpoint.length());
  return ToPeerAddress(storage);
}

net::Endpoint ToEndpoint(const PeerAddress& peer, int family, std::uint32_t interface) {
  if (family == AF_INET) {
    CHECK(peer.IsMapped(), "an IPv4 address");
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, &peer.bytes[12], 4);
    std::memcpy(&v4.sin_port, &peer.bytes[16], 2);
    return net::Endpoint(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  std::memcpy(&v6.sin6_addr, peer.bytes.data(), 16);
  std::memcpy(&v6.sin6_port, &peer.bytes[16], 2);
  v6.sin6_scope_id = interface;
  return net::Endpoint(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
}

net::Endpoint ToEndpoint(const PeerAddress& peer) {
  return ToEndpoint(peer, peer.IsMapped() ? AF_INET : AF_INET6);
}

}  // namespace ds::udp_transfer
