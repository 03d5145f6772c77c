#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

namespace ds::shm {

/// A memory file without a name (memfd_create(2)) and its mapping; nothing of it outlives the last
/// descriptor and mapping. Either the one that made it, or one received from a peer. Owned by
/// whoever holds the object; movable, not copyable; spans stay valid when it is moved. Not
/// thread-safe; the memory itself needs an agreement of its own.
class Memfd {
 public:
  /// What those who get the descriptor may do. The maker may always write, through its mapping.
  enum class Access {
    kRead,       ///< sealed with F_SEAL_FUTURE_WRITE: no write(2), no writable mapping, no hole
    kReadWrite,  ///< only its size is fixed
  };

  /// The bounds that a received file's size must be in.
  struct SizeBounds {
    std::size_t min = 1;
    std::size_t max = 0;
  };

  /// Makes a file of `bytes` zero bytes (not reserved: memory is used page by page as it is
  /// touched), maps it writable and then seals it: size and seals are final, and with kRead nobody
  /// can map it writable any more. `name` shows in /proc/<pid>/maps only.
  /// REQUIRES: bytes > 0.
  static absl::StatusOr<Memfd> Create(const std::string& name, std::size_t bytes, Access access);

  /// Takes over a descriptor that came from a peer, which is not trusted: kInvalidArgument unless
  /// it is a memfd on tmpfs (not hugetlbfs, nor a file whose pages somebody else supplies), its
  /// size is sealed and within `bounds`, and, for kRead, writing is sealed too. The checks come
  /// before the mapping; since seals cannot be removed they stay true. Mapped read-only for kRead.
  static absl::StatusOr<Memfd> Adopt(UniqueFd fd, Access access, SizeBounds bounds);

  Memfd(Memfd&& other) noexcept;
  Memfd& operator=(Memfd&& other) noexcept;
  Memfd(const Memfd&) = delete;
  Memfd& operator=(const Memfd&) = delete;
  ~Memfd();

  /// To be sent to peers, or given to sendfile(2); stays owned by this object.
  int fd() const { return fd_.get(); }
  std::size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// REQUIRES: writable().
  std::span<std::byte> writable_bytes() const;
  bool writable() const { return writable_; }

 private:
  Memfd(UniqueFd fd, std::byte* data, std::size_t size, bool writable);
  void Unmap();

  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool writable_ = false;
};

}  // namespace ds::shm
