#include "common/fs/rooted_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ds::fs {
namespace {

int OpenAt2(int folder, const char* name, int flags, unsigned mode, RootedDir::Mounts mounts) {
  while (*name == '/') ++name;
  open_how how{};
  how.flags = static_cast<decltype(how.flags)>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (mounts == RootedDir::Mounts::kRefuse) how.resolve |= RESOLVE_NO_XDEV;
  // EAGAIN: a rename raced with a ".." in the name; the kernel asks to try again.
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, folder, *name == '\0' ? "." : name, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == EINTR || (errno == EAGAIN && attempt < 16)) continue;
    return -errno;
  }
}

}  // namespace

absl::StatusOr<RootedDir> RootedDir::Open(const std::string& path, Mounts mounts) {
  UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoError(fmt::format("open folder \"{}\"", path), errno);
  return RootedDir(std::move(fd), mounts);
}

int RootedDir::OpenBeneath(const char* name, int flags, unsigned mode) const {
  return OpenAt2(fd_.get(), name, flags, mode, mounts_);
}

absl::StatusOr<UniqueFd> RootedDir::MakeFolders(const std::string& name) const {
  int opened = OpenBeneath(name.c_str(), O_PATH | O_DIRECTORY);
  if (opened >= 0) return UniqueFd(opened);
  // One component at a time. Each step resolves the whole prefix beneath the root, so a symbolic
  // link to another folder below the root works as it does for open().
  std::size_t end = 0;
  UniqueFd parent(OpenBeneath("", O_PATH | O_DIRECTORY));
  while (end < name.size()) {
    const std::size_t begin = name.find_first_not_of('/', end);
    if (begin == std::string::npos) break;
    end = std::min(name.find('/', begin), name.size());
    const std::string prefix = name.substr(0, end);
    opened = OpenBeneath(prefix.c_str(), O_PATH | O_DIRECTORY);
    if (opened == -ENOENT) {
      const std::string component = name.substr(begin, end - begin);
      if (::mkdirat(parent.get(), component.c_str(), 0777) != 0 && errno != EEXIST) {
        return ErrnoError(fmt::format("create folder \"{}\"", prefix), errno);
      }
      opened = OpenBeneath(prefix.c_str(), O_PATH | O_DIRECTORY);
    }
    if (opened < 0) return ErrnoError(fmt::format("open folder \"{}\"", prefix), -opened);
    parent.Reset(opened);
  }
  return parent;
}

}  // namespace ds::fs
