#include "common/fs/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "common/base/check.h"

namespace ds::fs {
namespace {

/// For a file that is still being written: nobody else's.
std::string FreshTemporaryName() {
  static std::atomic<std::uint64_t> next{0};
  return fmt::format(".tmp-{}-{}", ::getpid(), next.fetch_add(1, std::memory_order_relaxed));
}

/// For a whole file on its way to replace `name`: always the same, so that what a crash left there
/// is found again.
std::string ReplacementName(const std::string& name) {
  return fmt::format(".{}.{:016x}.tmp", name.substr(0, 200), std::hash<std::string>{}(name));
}

/// Removes the temporary name if the process that made it is gone; else its owner is about to
/// rename it.
void RemoveIfAbandoned(int folder, const std::string& name) {
  const UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat opened {};
  struct stat named {};
  // With the lock held, a name that still stands for this file can only be taken away by us.
  const bool abandoned = fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 &&
                         ::fstat(fd.get(), &opened) == 0 &&
                         ::fstatat(folder, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
  if (abandoned) {
    ::unlinkat(folder, name.c_str(), 0);
  } else {
    std::this_thread::yield();
  }
}

}  // namespace

absl::StatusOr<AtomicFile> AtomicFile::Create(int folder, std::string name, unsigned mode) {
  CHECK(!name.empty() && name.find('/') == std::string::npos, "a name, not a path");
  int fd = ::openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
  std::string temporary;
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    do {  // a process of the same pid may have left one behind
      temporary = FreshTemporaryName();
      fd = ::openat(folder, temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EEXIST);
  }
  if (fd < 0) return ErrnoError(fmt::format("create \"{}\"", name), errno);
  return AtomicFile(folder, std::move(name), UniqueFd(fd), std::move(temporary));
}

AtomicFile::~AtomicFile() {
  if (fd_ && !temporary_.empty()) ::unlinkat(folder_, temporary_.c_str(), 0);
}

absl::Status AtomicFile::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(fmt::format("write \"{}\"", name_), errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

/// Gives the nameless file its name.
absl::Status AtomicFile::Link() {
  const std::string self = fmt::format("/proc/self/fd/{}", fd_.get());
  const std::string replacement = ReplacementName(name_);
  const auto link_as = [&](const std::string& name) {
    return ::linkat(AT_FDCWD, self.c_str(), folder_, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
  };
  // The common case needs no temporary name at all: the target does not exist yet.
  if (link_as(name_)) return absl::OkStatus();
  bool linked = false;
  if (errno == EEXIST) {
    // The lock says that whoever gave the file its temporary name is still there.
    ::flock(fd_.get(), LOCK_EX);
    // Bounded: a name that is neither ours to remove nor ever given up is an error.
    for (int attempt = 0; attempt < 100'000; ++attempt) {
      linked = link_as(replacement);
      if (linked || errno != EEXIST) break;
      RemoveIfAbandoned(folder_, replacement);
      errno = EEXIST;
    }
  }
  if (linked && ::renameat(folder_, replacement.c_str(), folder_, name_.c_str()) == 0) {
    return absl::OkStatus();
  }
  absl::Status status = ErrnoError(fmt::format("rename to \"{}\"", name_), errno);
  if (linked) ::unlinkat(folder_, replacement.c_str(), 0);
  return status;
}

absl::Status AtomicFile::Commit(Durability durability) {
  CHECK(fd_, "committed twice");
  if (durability == Durability::kSynced && ::fsync(fd_.get()) != 0) {
    return ErrnoError(fmt::format("fsync \"{}\"", name_), errno);
  }
  if (temporary_.empty()) {
    RETURN_IF_ERROR(Link());
  } else if (::renameat(folder_, temporary_.c_str(), folder_, name_.c_str()) != 0) {
    return ErrnoError(fmt::format("rename to \"{}\"", name_), errno);
  }
  temporary_.clear();
  fd_.Reset();
  if (durability == Durability::kSynced) {
    // fsync wants a real descriptor of the folder; folder_ may be O_PATH.
    const UniqueFd folder(::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) != 0) {
      return ErrnoError(fmt::format("fsync the folder of \"{}\"", name_), errno);
    }
  }
  return absl::OkStatus();
}

}  // namespace ds::fs
