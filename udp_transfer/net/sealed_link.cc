#include "udp_transfer/net/sealed_link.h"

#include "udp_transfer/core/packet.h"

namespace ds::udp_transfer {

bool SealedLink::HandleDatagram(std::span<std::byte> datagram, TimePoint now) {
  const auto number = connection_.PacketNumber(datagram);
  if (!number) return false;
  const bool initial = std::to_integer<std::uint8_t>(datagram.front()) == kInitialType;
  const auto opened =
      in_.Open(*number, initial ? kInitialHeaderBytes : kPacketHeaderBytes, datagram);
  if (!opened) return false;
  connection_.HandleDatagram(*opened, *number, now);
  return true;
}

bool SealedLink::Pump(DatagramPort& port, const Path& path, TimePoint now) {
  for (;;) {
    const std::span<std::byte> room = port.Room();
    if (room.empty()) return false;
    const auto transmit = connection_.PollTransmit(room, now);
    if (!transmit) return true;
    const std::size_t bytes = transmit->size + out_.tag_bytes();
    out_.Seal(transmit->packet_number, transmit->initial ? kInitialHeaderBytes : kPacketHeaderBytes,
              room.first(bytes));
    port.Add(bytes, path, id_, transmit->mtu_probe);
  }
}

}  // namespace ds::udp_transfer
