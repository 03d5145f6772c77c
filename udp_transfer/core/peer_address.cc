#include "udp_transfer/core/peer_address.h"

#include <algorithm>

namespace ds::udp_transfer {
namespace {

constexpr std::array<std::byte, 16> kLoopback6{
    {{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{1}}};

}  // namespace

bool PeerAddress::IsLoopback() const {
  if (IsMapped()) return bytes[12] == std::byte{127};
  return std::ranges::equal(host(), kLoopback6);
}

PeerAddress PeerAddress::Source() const {
  PeerAddress source;
  std::copy_n(bytes.begin(), IsMapped() ? 16 : 8, source.bytes.begin());
  return source;
}

}  // namespace ds::udp_transfer
