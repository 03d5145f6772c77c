#include "tests/harness/own_network.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

namespace ds::testing {

void NetworkOfItsOwn::SetUp() {
  const std::string uid = fmt::format("0 {} 1", ::geteuid());
  const std::string gid = fmt::format("0 {} 1", ::getegid());
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(::unshare(CLONE_NEWNET | (root ? 0 : CLONE_NEWUSER)), 0) << ErrnoText(errno);
  if (!root) {
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid;
    std::ofstream("/proc/self/gid_map") << gid;
  }
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq interface {};
  std::strncpy(interface.ifr_name, "lo", IFNAMSIZ - 1);
  interface.ifr_flags = IFF_UP;
  ASSERT_EQ(::ioctl(any.get(), SIOCSIFFLAGS, &interface), 0) << ErrnoText(errno);
  std::strncpy(interface.ifr_name, "lo:1", IFNAMSIZ - 1);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ASSERT_EQ(::inet_pton(AF_INET, kHost, &address.sin_addr), 1);
  std::memcpy(&interface.ifr_addr, &address, sizeof address);
  ASSERT_EQ(::ioctl(any.get(), SIOCSIFADDR, &interface), 0) << ErrnoText(errno);
}

}  // namespace ds::testing
