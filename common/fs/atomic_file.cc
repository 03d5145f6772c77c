#include "common/fs/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "common/base/check.h"

namespace ds::fs {
namespace {

std::string TemporaryName() {
  static std::atomic<std::uint64_t> next{0};
  return fmt::format(".tmp-{}-{}", ::getpid(), next.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace

absl::StatusOr<AtomicFile> AtomicFile::Create(int folder, std::string name, unsigned mode) {
  CHECK(!name.empty() && name.find('/') == std::string::npos, "a name, not a path");
  int fd = ::openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
  std::string temporary;
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    temporary = TemporaryName();
    fd = ::openat(folder, temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
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

absl::Status AtomicFile::Commit(Durability durability) {
  CHECK(fd_, "committed twice");
  if (durability == Durability::kSynced && ::fsync(fd_.get()) != 0) {
    return ErrnoError(fmt::format("fsync \"{}\"", name_), errno);
  }
  if (temporary_.empty()) {
    const std::string self = fmt::format("/proc/self/fd/{}", fd_.get());
    // The common case needs no temporary name at all: the target does not exist yet.
    bool linked = ::linkat(AT_FDCWD, self.c_str(), folder_, name_.c_str(), AT_SYMLINK_FOLLOW) == 0;
    if (!linked && errno == EEXIST) {
      std::string temporary = TemporaryName();
      if (::linkat(AT_FDCWD, self.c_str(), folder_, temporary.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        temporary_ = std::move(temporary);  // the destructor removes it when rename fails
        linked = ::renameat(folder_, temporary_.c_str(), folder_, name_.c_str()) == 0;
      }
    }
    if (!linked) return ErrnoError(fmt::format("rename to \"{}\"", name_), errno);
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
