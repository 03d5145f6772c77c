#include "common/fs/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/parse.h"

namespace ds::fs {

absl::Status LockFile(int fd, const std::string& name) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno == EWOULDBLOCK) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("lock \"{}\": in use by another process", name));
  }
  return ErrnoError(fmt::format("lock \"{}\"", name), errno);
}

absl::StatusOr<FolderLock> FolderLock::Acquire(const std::string& folder) {
  const std::string path = folder + "/LOCK";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return ErrnoError(fmt::format("open \"{}\"", path), errno);
  if (absl::Status locked = LockFile(fd.get(), path); !locked.ok()) {
    if (locked.code() != absl::StatusCode::kFailedPrecondition) return locked;
    char pid[32];
    const ssize_t n = ::pread(fd.get(), pid, sizeof pid, 0);
    const std::string_view text(pid, n > 0 ? static_cast<std::size_t>(n) : 0);
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("lock \"{}\": in use by process {}", folder, TrimBlanks(text)));
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoError(fmt::format("write \"{}\"", path), errno);
  }
  return FolderLock(std::move(fd));
}

}  // namespace ds::fs
