#include "udp_transfer/link/side.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr const char* kTunPath = "/dev/net/tun";

absl::Status WriteFile(const std::string& path, const std::string& text) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return ErrnoError(fmt::format("write \"{}\"", path), errno);
  }
  return absl::OkStatus();
}

/// ioctl() on a device, with the error in words.
absl::Status Control(int fd, unsigned long request, void* argument, const char* what) {
  if (::ioctl(fd, request, argument) == 0) return absl::OkStatus();
  return ErrnoError(fmt::format("{} of {}", what, Side::kDeviceName), errno);
}

ifreq RequestFor(const char* device) {
  ifreq request{};
  std::strncpy(request.ifr_name, device, IFNAMSIZ - 1);
  return request;
}

absl::Status BringUp(int socket, const char* device) {
  ifreq request = RequestFor(device);
  RETURN_IF_ERROR(Control(socket, SIOCGIFFLAGS, &request, "read the flags"));
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return Control(socket, SIOCSIFFLAGS, &request, "bring up the device");
}

absl::Status SetIpv4Address(int socket, const char* text) {
  const auto set = [socket](unsigned long call, const char* address,
                            const char* what) -> absl::Status {
    ifreq request = RequestFor(Side::kDeviceName);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    CHECK(::inet_pton(AF_INET, address, &in.sin_addr) == 1);
    std::memcpy(&request.ifr_addr, &in, sizeof in);
    return Control(socket, call, &request, what);
  };
  RETURN_IF_ERROR(set(SIOCSIFADDR, text, "set the IPv4 address"));
  return set(SIOCSIFNETMASK, "255.255.255.0", "set the IPv4 netmask");
}

absl::Status SetIpv6Address(const char* text) {
  UniqueFd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return absl::OkStatus();  // a machine without IPv6
  ifreq index = RequestFor(Side::kDeviceName);
  RETURN_IF_ERROR(Control(socket.get(), SIOCGIFINDEX, &index, "read the index"));
  in6_ifreq request{};
  request.ifr6_ifindex = index.ifr_ifindex;
  request.ifr6_prefixlen = 64;
  CHECK(::inet_pton(AF_INET6, text, &request.ifr6_addr) == 1);
  return Control(socket.get(), SIOCSIFADDR, &request, "set the IPv6 address");
}

absl::StatusOr<UniqueFd> OpenTun() {
  UniqueFd tun(::open(kTunPath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tun) {
    const int error = errno;
    const char* const advice =
        error == ENOENT || error == ENODEV || error == ENXIO
            ? " (the TUN driver is missing: modprobe tun; a container needs --device /dev/net/tun)"
        : error == EACCES || error == EPERM ? " (run as root, or allow it: chmod 666 /dev/net/tun)"
                                            : "";
    return Error(absl::StatusCode::kUnavailable,
                 fmt::format("open {}: {}{}", kTunPath, ErrnoText(error), advice));
  }
  ifreq request = RequestFor(Side::kDeviceName);
  // No header in front: without IFF_VNET_HDR the kernel cuts what TCP would leave to the device
  // into packets of at most the MTU, and fills in their checksums, before they are read.
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  RETURN_IF_ERROR(Control(tun.get(), TUNSETIFF, &request, "create the TUN device"));
  return tun;
}

/// In a new namespace: everything in it.
absl::StatusOr<UniqueFd> SetUp(const SideAddresses& addresses, std::size_t mtu) {
  // Before the device exists: an interface that comes up would ask for routers.
  const std::string ipv6 = "/proc/sys/net/ipv6/conf/default/";
  if (::access(ipv6.c_str(), F_OK) == 0) {
    RETURN_IF_ERROR(WriteFile(ipv6 + "router_solicitations", "0"));
    RETURN_IF_ERROR(WriteFile(ipv6 + "addr_gen_mode", "1"));
  }
  ASSIGN_OR_RETURN(UniqueFd tun, OpenTun());
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoError("create a socket", errno);
  ifreq request = RequestFor(Side::kDeviceName);
  request.ifr_mtu = static_cast<int>(mtu);
  RETURN_IF_ERROR(Control(socket.get(), SIOCSIFMTU, &request, "set the MTU"));
  request = RequestFor(Side::kDeviceName);
  request.ifr_qlen = Side::kDeviceQueuePackets;
  // The root of a user namespace may not; it keeps the default of 500 (see DroppedByDevice()).
  if (::ioctl(socket.get(), SIOCSIFTXQLEN, &request) != 0 && errno != EPERM) {
    return ErrnoError("set the queue length of link0", errno);
  }
  RETURN_IF_ERROR(SetIpv4Address(socket.get(), addresses.ipv4));
  RETURN_IF_ERROR(BringUp(socket.get(), "lo"));
  RETURN_IF_ERROR(BringUp(socket.get(), Side::kDeviceName));
  RETURN_IF_ERROR(SetIpv6Address(addresses.ipv6));
  return tun;
}

}  // namespace

absl::Status EnterUserNamespaceIfNeeded() {
  // Whether network namespaces are allowed is best seen by making one. We stay in it: nothing here
  // needs a network, and on a thread of its own, which takes a moment to be gone, the next call
  // would fail.
  if (::unshare(CLONE_NEWNET) == 0) return absl::OkStatus();
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER) != 0) {
    return ErrnoError(
        "create a user namespace, being not allowed to create a network namespace (run as root, or "
        "allow it: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
        errno);
  }
  RETURN_IF_ERROR(WriteFile("/proc/self/setgroups", "deny"));
  RETURN_IF_ERROR(WriteFile("/proc/self/uid_map", fmt::format("0 {} 1", uid)));
  return WriteFile("/proc/self/gid_map", fmt::format("0 {} 1", gid));
}

absl::StatusOr<Side> Side::Create(SideName name, std::size_t mtu) {
  // On a thread of its own: a namespace belongs to a thread, and this one ends.
  absl::StatusOr<Side> result = Side();
  std::jthread([&] {
    result = [&]() -> absl::StatusOr<Side> {
      Side side;
      if (::unshare(CLONE_NEWNET) != 0) return ErrnoError("create a network namespace", errno);
      side.namespace_.Reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      if (!side.namespace_) return ErrnoError("open /proc/thread-self/ns/net", errno);
      ASSIGN_OR_RETURN(side.tun_, SetUp(kSideAddresses[static_cast<std::size_t>(name)], mtu));
      return side;
    }();
  }).join();
  return result;
}

void Side::Run(const std::function<void()>& function) const {
  std::jthread([&] {
    CHECK(::setns(namespace_.get(), CLONE_NEWNET) == 0);
    function();
  }).join();
}

std::size_t Side::BoundSockets() const {
  std::size_t count = 0;
  Run([&count] {
    // Columns: number, local address:port, remote address:port, state. 0A: listens; 07: as an
    // unconnected UDP socket has it.
    for (const char* const table : {"tcp", "tcp6", "udp", "udp6"}) {
      std::ifstream file(fmt::format("/proc/thread-self/net/{}", table));
      std::string line;
      std::getline(file, line);
      while (std::getline(file, line)) {
        std::istringstream columns(line);
        std::string number, local, remote, state;
        columns >> number >> local >> remote >> state;
        if (state == "0A" || state == "07") ++count;
      }
    }
  });
  return count;
}

std::uint64_t Side::DroppedByDevice() const {
  std::uint64_t dropped = 0;
  Run([&dropped] {
    // "link0: " and 16 numbers: 8 of receiving, then bytes, packets, errors, drops of sending.
    std::ifstream file("/proc/thread-self/net/dev");
    for (std::string word; file >> word;) {
      if (word != std::string(kDeviceName) + ":") continue;
      for (int i = 0; i < 12; ++i) file >> dropped;
      break;
    }
  });
  return dropped;
}

}  // namespace ds::udp_transfer
