#include "tests/harness/loopback_lease.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ds::testing {
namespace {

constexpr const char* kLockFolder = "/tmp/ds-loopback-leases";
constexpr unsigned kBlocks = 1024;    // 127.16.0.0 to 127.19.255.255
constexpr unsigned kFirstOctet = 16;  // well away from what systems use: 127.0.0.53, 127.0.1.1

UniqueFd OpenLockFolder() {
  // Shared by all users of the machine, like /tmp itself; chmod() is for the umask.
  if (::mkdir(kLockFolder, 01777) == 0) CHECK(::chmod(kLockFolder, 01777) == 0);
  UniqueFd folder(::open(kLockFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  CHECK(folder, fmt::format("open {}: {}", kLockFolder, ErrnoText(errno)));
  return folder;
}

/// flock(2) is content with a descriptor for reading, so the files of another user will do. They
/// are never removed: a lock on a file that has lost its name protects nothing.
UniqueFd OpenLockFile(int folder, const std::string& name) {
  UniqueFd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file && errno == ENOENT) {
    file.Reset(::openat(folder, name.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  }
  return file;
}

}  // namespace

bool MachineHasIpv6() {
  const UniqueFd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  return fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&loopback), sizeof loopback) == 0;
}

LoopbackLease::LoopbackLease(std::size_t count) {
  CHECK(count >= 1 && count <= 254);
  const UniqueFd folder = OpenLockFolder();
  // Blocks are handed out in turn rather than lowest first: a server of a run that was killed may
  // need a moment to go.
  const unsigned first = static_cast<unsigned>(::getpid()) % kBlocks;
  for (unsigned i = 0; i < kBlocks && !lock_; ++i) {
    const unsigned block = (first + i) % kBlocks;
    const std::string prefix = fmt::format("127.{}.{}", kFirstOctet + block / 256, block % 256);
    UniqueFd file = OpenLockFile(folder.get(), prefix);
    if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;
    lock_ = std::move(file);
    for (std::size_t z = 1; z <= count; ++z) addresses_.push_back(fmt::format("{}.{}", prefix, z));
  }
  CHECK(lock_, "every block of loopback addresses is leased");
}

const std::string& LoopbackLease::address(std::size_t index) const {
  CHECK(index < addresses_.size());
  return addresses_[index];
}

}  // namespace ds::testing
