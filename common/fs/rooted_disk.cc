#include "common/fs/rooted_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>

namespace ds::fs {
namespace {

std::string BaseOf(const std::string& name) { return name.substr(name.rfind('/') + 1); }

absl::Status DiskError(std::string_view verb, std::string_view name, int error_number) {
  const std::string what = fmt::format("{} \"{}\"", verb, name);
  switch (error_number) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:  // not the disk's room, which a store would make by removing files
      return Error(absl::StatusCode::kUnavailable,
                   fmt::format("{}: {}", what, ErrnoText(error_number)));
    case EXDEV:
      return Error(absl::StatusCode::kPermissionDenied,
                   what + ": the name leads out of the folder, or to another file system");
    case EISDIR:
    case ENOTDIR:
    case ENOTEMPTY:
    case ENAMETOOLONG:
    case ELOOP:
    case ETXTBSY:
      return Error(absl::StatusCode::kFailedPrecondition,
                   fmt::format("{}: {}", what, ErrnoText(error_number)));
    default:
      return ErrnoError(what, error_number);
  }
}

absl::Status SyncError(std::string_view name, int error_number) {
  absl::Status status = DiskError("sync", name, error_number);
  if (absl::IsResourceExhausted(status)) return status;
  return Error(absl::StatusCode::kDataLoss, Message(status));
}

class RootedFile final : public DiskFile {
 public:
  RootedFile(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  absl::Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return DiskError("write", name_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<std::byte> out) override {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(fd_.get(), out.data() + done, out.size() - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return DiskError("read", name_, errno);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  absl::Status Truncate(std::uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      return DiskError("truncate", name_, errno);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::uint64_t> Size() override {
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return DiskError("stat", name_, errno);
    return static_cast<std::uint64_t>(info.st_size);
  }

  absl::StatusOr<std::int64_t> MtimeNs() override {
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return DiskError("stat", name_, errno);
    return info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec;
  }

  absl::Status SetAttributes(unsigned mode, std::int64_t mtime_ns) override {
    if (::fchmod(fd_.get(), mode) != 0) return DiskError("chmod", name_, errno);
    constexpr std::int64_t kSecond = 1'000'000'000;
    const std::int64_t ns = (mtime_ns % kSecond + kSecond) % kSecond;
    const timespec times[2] = {{0, UTIME_OMIT}, {(mtime_ns - ns) / kSecond, ns}};
    if (::futimens(fd_.get(), times) != 0) return DiskError("set the time of", name_, errno);
    return absl::OkStatus();
  }

  void StartWriteOut(std::uint64_t offset, std::uint64_t length) override {
    // A hint: where a file system has no such call, Sync() takes longer.
    static_cast<void>(::sync_file_range(fd_.get(), static_cast<off64_t>(offset),
                                        static_cast<off64_t>(length), SYNC_FILE_RANGE_WRITE));
  }

  absl::Status Sync(What what) override {
    if ((what == What::kAll ? ::fsync(fd_.get()) : ::fdatasync(fd_.get())) != 0) {
      return SyncError(name_, errno);
    }
    return absl::OkStatus();
  }

 private:
  UniqueFd fd_;
  std::string name_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RootedDisk>> RootedDisk::Open(const std::string& path) {
  ASSIGN_OR_RETURN(RootedDir root, RootedDir::Open(path, RootedDir::Mounts::kRefuse));
  return std::unique_ptr<RootedDisk>(new RootedDisk(std::move(root)));
}

absl::StatusOr<UniqueFd> RootedDisk::ParentOf(const std::string& name) const {
  const std::string folder = FolderOf(name);
  const int fd = root_.OpenBeneath(folder.c_str(), O_PATH | O_DIRECTORY);
  if (fd < 0) return DiskError("open folder", folder, -fd);
  return UniqueFd(fd);
}

absl::StatusOr<std::unique_ptr<DiskFile>> RootedDisk::OpenFile(const std::string& name,
                                                               Disk::Open open) {
  if (open == Disk::Open::kToRead) {
    // Not to wait for the other end of a pipe.
    const int opened = root_.OpenBeneath(name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (opened < 0) return DiskError("open", name, -opened);
    UniqueFd fd(opened);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return DiskError("stat", name, errno);
    if (!S_ISREG(info.st_mode)) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   fmt::format("open \"{}\": is not a file", name));
    }
    return std::make_unique<RootedFile>(std::move(fd), name);
  }
  const bool create = open == Disk::Open::kEmpty;
  const int fd = root_.OpenBeneath(
      name.c_str(), O_RDWR | O_NOFOLLOW | (create ? O_CREAT | O_TRUNC : 0), create ? 0666 : 0);
  if (fd < 0) return DiskError(create ? "create" : "open", name, -fd);
  return std::make_unique<RootedFile>(UniqueFd(fd), name);
}

absl::Status RootedDisk::Rename(const std::string& from, const std::string& to, Target target) {
  ASSIGN_OR_RETURN(const UniqueFd from_folder, ParentOf(from));
  ASSIGN_OR_RETURN(const UniqueFd to_folder, ParentOf(to));
  const std::string from_base = BaseOf(from);
  const std::string to_base = BaseOf(to);
  const unsigned flags = target == Target::kKeep ? RENAME_NOREPLACE : 0U;
  int failed =
      ::renameat2(from_folder.get(), from_base.c_str(), to_folder.get(), to_base.c_str(), flags);
  if (failed != 0 && flags != 0 && (errno == EINVAL || errno == ENOSYS)) {
    // A file system without RENAME_NOREPLACE (NFS, some FUSE): link() does not replace either.
    failed = ::linkat(from_folder.get(), from_base.c_str(), to_folder.get(), to_base.c_str(), 0);
    if (failed == 0 && ::unlinkat(from_folder.get(), from_base.c_str(), 0) != 0) {
      const int error_number = errno;
      ::unlinkat(to_folder.get(), to_base.c_str(), 0);  // what failed has not happened
      failed = -1;
      errno = error_number;
    }
  }
  if (failed != 0) return DiskError("rename to", to, errno);
  return absl::OkStatus();
}

absl::Status RootedDisk::Remove(const std::string& name) {
  ASSIGN_OR_RETURN(const UniqueFd folder, ParentOf(name));
  if (::unlinkat(folder.get(), BaseOf(name).c_str(), 0) != 0) {
    return DiskError("remove", name, errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RootedDisk::MakeFolder(const std::string& name, unsigned mode) {
  ASSIGN_OR_RETURN(const UniqueFd parent, ParentOf(name));
  if (::mkdirat(parent.get(), BaseOf(name).c_str(), mode) == 0) return true;
  if (errno != EEXIST) return DiskError("create folder", name, errno);
  const UniqueFd there(root_.OpenBeneath(name.c_str(), O_PATH | O_DIRECTORY));
  if (there) return false;
  return Error(absl::StatusCode::kFailedPrecondition,
               fmt::format("create folder \"{}\": something else has this name", name));
}

absl::Status RootedDisk::SyncFolder(const std::string& name) {
  const int opened = root_.OpenBeneath(name.c_str(), O_RDONLY | O_DIRECTORY);
  if (opened < 0) return DiskError("open folder", name, -opened);
  const UniqueFd fd(opened);
  if (::fsync(fd.get()) != 0) return SyncError(name.empty() ? "." : name, errno);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Disk::Entry>> RootedDisk::List(const std::string& folder) {
  int opened = root_.OpenBeneath(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (opened < 0) return DiskError("open folder", folder, -opened);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(opened), &::closedir);
  if (!stream) {
    ::close(opened);
    return DiskError("list", folder, errno);
  }
  std::vector<Entry> entries;
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): our own DIR
    if (found == nullptr) break;
    const std::string_view name = found->d_name;
    if (name == "." || name == "..") continue;
    struct stat info {};
    if (::fstatat(::dirfd(stream.get()), found->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const bool is_folder = S_ISDIR(info.st_mode);
    entries.push_back({std::string(name), is_folder, !is_folder && !S_ISREG(info.st_mode),
                       static_cast<std::uint64_t>(info.st_size), info.st_mtim.tv_sec});
  }
  if (errno != 0) return DiskError("list", folder, errno);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

absl::StatusOr<bool> RootedDisk::Exists(const std::string& name) {
  const int fd = root_.OpenBeneath(name.c_str(), O_PATH | O_NOFOLLOW);
  if (fd == -ENOENT) return false;
  if (fd < 0) return DiskError("look at", name, -fd);
  ::close(fd);
  return true;
}

absl::StatusOr<std::uint64_t> RootedDisk::FreeBytes() {
  struct statvfs info {};
  // fstatvfs() takes an O_PATH descriptor.
  if (::fstatvfs(root_.fd(), &info) != 0) return ErrnoError("statvfs", errno);
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace ds::fs
