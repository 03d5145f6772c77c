#include "common/fs/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <limits>

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

namespace {

/// LockFile() on a folder's LOCK; a refusal names the holder.
absl::Status LockFolder(int fd, const std::string& folder) {
  absl::Status locked = LockFile(fd, folder + "/LOCK");
  if (locked.code() != absl::StatusCode::kFailedPrecondition) return locked;
  char pid[32];
  const ssize_t n = ::pread(fd, pid, sizeof pid, 0);
  const std::string_view text = TrimBlanks({pid, n > 0 ? static_cast<std::size_t>(n) : 0});
  // One who locks to read leaves the pid of the last holder, which may be gone.
  const auto holder = ParseDecimal(text);
  const bool runs = holder && *holder > 0 && *holder <= std::numeric_limits<pid_t>::max() &&
                    (::kill(static_cast<pid_t>(*holder), 0) == 0 || errno == EPERM);
  return Error(absl::StatusCode::kFailedPrecondition,
               fmt::format("lock \"{}\": in use by {}", folder,
                           runs ? fmt::format("process {}", text) : "another process"));
}

}  // namespace

absl::StatusOr<FolderLock> FolderLock::Acquire(const RootedDir& root, const std::string& folder) {
  const std::string name = folder + "/LOCK";
  const int opened = root.OpenBeneath(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0644);
  if (opened < 0) return ErrnoError(fmt::format("open \"{}\"", name), -opened);
  UniqueFd fd(opened);
  RETURN_IF_ERROR(LockFolder(fd.get(), folder));
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoError(fmt::format("write \"{}\"", name), errno);
  }
  return FolderLock(std::move(fd), name);
}

absl::StatusOr<FolderLock> FolderLock::AcquireToRead(const RootedDir& root,
                                                     const std::string& folder) {
  const std::string name = folder + "/LOCK";
  const int opened = root.OpenBeneath(name.c_str(), O_RDONLY | O_NOFOLLOW);
  if (opened == -ENOENT) return FolderLock({}, name);
  if (opened < 0) return ErrnoError(fmt::format("open \"{}\"", name), -opened);
  UniqueFd fd(opened);
  RETURN_IF_ERROR(LockFolder(fd.get(), folder));
  return FolderLock(std::move(fd), name);
}

bool FolderLock::InPlace(const RootedDir& root) const {
  struct stat ours {};
  struct stat there {};
  const int opened = root.OpenBeneath(name_.c_str(), O_PATH | O_NOFOLLOW);
  if (opened < 0) return false;
  const UniqueFd fd(opened);
  return ::fstat(fd_.get(), &ours) == 0 && ::fstat(fd.get(), &there) == 0 &&
         ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

}  // namespace ds::fs
