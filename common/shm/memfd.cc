#include "common/shm/memfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "common/base/check.h"

#ifndef MFD_NOEXEC_SEAL  // Linux 6.3; the distribution's headers are older
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace ds::shm {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

/// The seals of a finished file.
int SealsOf(Memfd::Access access) {
  const int seals = kSizeSeals | F_SEAL_SEAL;
  return access == Memfd::Access::kRead ? seals | F_SEAL_FUTURE_WRITE : seals;
}

/// Without the right to be executed where the kernel knows that.
int CreateFile(const std::string& name) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = ::memfd_create(name.c_str(), kFlags | MFD_NOEXEC_SEAL);
  if (fd >= 0 || errno != EINVAL) return fd;
  return ::memfd_create(name.c_str(), kFlags);
}

absl::StatusOr<std::byte*> Map(int fd, std::size_t size, bool writable) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = ::mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return ErrnoError(fmt::format("map {} bytes of a memfd", size), errno);
  return static_cast<std::byte*>(data);
}

absl::Status Refuse(std::string_view why) {
  return InvalidArgument(fmt::format("adopt a memfd: {}", why));
}

}  // namespace

absl::StatusOr<Memfd> Memfd::Create(const std::string& name, std::size_t bytes, Access access) {
  CHECK(bytes > 0);
  const std::string what = fmt::format("create memfd '{}' of {} bytes", name, bytes);
  if (bytes > static_cast<std::size_t>(std::numeric_limits<off_t>::max())) {
    return ErrnoError(what, ENOMEM);
  }
  UniqueFd fd(CreateFile(name));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return ErrnoError(what, errno);
  ASSIGN_OR_RETURN(std::byte* const data, Map(fd.get(), bytes, true));
  const int number = fd.get();
  Memfd memfd(std::move(fd), data, bytes, true);
  if (::fcntl(number, F_ADD_SEALS, SealsOf(access)) != 0) {
    return ErrnoError(fmt::format("{}: seal it", what), errno);
  }
  return memfd;
}

absl::StatusOr<Memfd> Memfd::Adopt(UniqueFd fd, Access access, SizeBounds bounds) {
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0) return Refuse("not a memfd");
  // F_SEAL_WRITE instead of F_SEAL_FUTURE_WRITE would do to read, but is none of ours.
  const int needed = SealsOf(access) & ~F_SEAL_SEAL;
  if ((seals & needed) != needed) return Refuse(fmt::format("its seals are {:#x}", seals));
  struct statfs filesystem {};
  struct stat status {};
  if (::fstatfs(fd.get(), &filesystem) != 0 || ::fstat(fd.get(), &status) != 0) {
    return ErrnoError("adopt a memfd", errno);
  }
  if (filesystem.f_type != TMPFS_MAGIC) return Refuse("not on tmpfs");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (status.st_size <= 0 || size < bounds.min || size > bounds.max) {
    return Refuse(fmt::format("{} bytes, not {} to {}", status.st_size, bounds.min, bounds.max));
  }
  const bool writable = access == Access::kReadWrite;
  ASSIGN_OR_RETURN(std::byte* const data, Map(fd.get(), size, writable));
  return Memfd(std::move(fd), data, size, writable);
}

Memfd::Memfd(UniqueFd fd, std::byte* data, std::size_t size, bool writable)
    : fd_(std::move(fd)), data_(data), size_(size), writable_(writable) {}

Memfd::Memfd(Memfd&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      writable_(other.writable_) {}

Memfd& Memfd::operator=(Memfd&& other) noexcept {
  if (this == &other) return *this;
  Unmap();
  fd_ = std::move(other.fd_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  writable_ = other.writable_;
  return *this;
}

Memfd::~Memfd() { Unmap(); }

void Memfd::Unmap() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::span<std::byte> Memfd::writable_bytes() const {
  CHECK(writable_);
  return {data_, size_};
}

}  // namespace ds::shm
