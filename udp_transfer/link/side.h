#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "udp_transfer/link/options.h"

namespace ds::udp_transfer {

/// Each side's addresses: one IPv4 /24 and one IPv6 /64, shared by both.
struct SideAddresses {
  const char* ipv4;
  const char* ipv6;
};
inline constexpr std::array<SideAddresses, 2> kSideAddresses{
    {{"10.77.0.1", "fd77::1"}, {"10.77.0.2", "fd77::2"}}};

/// Makes this process the root of a user namespace of its own, where it is not allowed to make
/// network namespaces otherwise; afterwards it may be in an empty one. REQUIRES: it has one thread.
absl::Status EnterUserNamespaceIfNeeded();

/// One end of the link: a network namespace with a loopback and a TUN device in it that is up, has
/// its addresses, and sends nothing by itself (no IPv6 router solicitation). The namespace has no
/// name: it is gone with the last descriptor and process that holds it, however these end.
/// Thread-safe after Create().
class Side {
 public:
  /// The device in each namespace.
  static constexpr const char* kDeviceName = "link0";
  /// Packets that the device holds until they are read; beyond, the kernel drops them.
  static constexpr int kDeviceQueuePackets = 20'000;

  /// Does not change the namespace of the caller.
  static absl::StatusOr<Side> Create(SideName name, std::size_t mtu);

  /// Whole IP packets, one per read() and write(). Non-blocking.
  int tun_fd() const { return tun_.get(); }
  int namespace_fd() const { return namespace_.get(); }

  /// Calls `function` on a thread that is inside of the namespace, and waits for it.
  void Run(const std::function<void()>& function) const;

  /// UDP sockets that are bound to a port and TCP sockets that listen.
  std::size_t BoundSockets() const;
  /// Packets that were sent into the device and never read.
  std::uint64_t DroppedByDevice() const;

 private:
  UniqueFd namespace_;
  UniqueFd tun_;
};

}  // namespace ds::udp_transfer
