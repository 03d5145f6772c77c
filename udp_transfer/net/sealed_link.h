#pragma once

#include <cstddef>
#include <span>

#include "common/base/time.h"
#include "udp_transfer/core/connection.h"
#include "udp_transfer/net/datagram_port.h"
#include "udp_transfer/seal/sealer.h"

namespace ds::udp_transfer {

/// A connection with its seals: opens what comes, and seals and sends what leaves. Belongs to the
/// thread of its port.
class SealedLink {
 public:
  SealedLink(const Connection::Options& options, const DirectionKey& in, const DirectionKey& out,
             TimePoint now)
      : id_(options.id), connection_(options, now), in_(in), out_(out) {}

  Connection& connection() { return connection_; }
  const Connection& connection() const { return connection_; }

  /// An initial or a packet of this connection. False if it is not taken as new and right: its seal
  /// is of somebody else, or it came before.
  bool HandleDatagram(std::span<std::byte> datagram, TimePoint now);

  /// Adds to `port` what may leave now. False if the port is blocked: call it again when it is not.
  bool Pump(DatagramPort& port, const Path& path, TimePoint now);

 private:
  const std::uint64_t id_;
  Connection connection_;
  Sealer in_;
  Sealer out_;
};

}  // namespace ds::udp_transfer
