#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::fs {

/// An open file of a Disk. Used by one thread at a time.
class DiskFile {
 public:
  enum class What {
    kContent,  ///< bytes and size: fdatasync(2)
    kAll,      ///< mode and times too: fsync(2)
  };

  virtual ~DiskFile() = default;

  /// All of it, or an error after a part of it. A full disk: kResourceExhausted.
  virtual absl::Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// How many bytes were read; fewer than asked for only at the end of the file.
  virtual absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<std::byte> out) = 0;
  virtual absl::Status Truncate(std::uint64_t size) = 0;
  virtual absl::StatusOr<std::uint64_t> Size() = 0;
  /// Since 1970.
  virtual absl::StatusOr<std::int64_t> MtimeNs() = 0;
  virtual absl::Status SetAttributes(unsigned mode, std::int64_t mtime_ns) = 0;

  /// Begins to write these bytes out, so that a later Sync() is short. Promises nothing.
  virtual void StartWriteOut(std::uint64_t offset, std::uint64_t length) = 0;
  /// After it, what was written survives a loss of power; not the file's name, that is its folder's
  /// (Disk::SyncFolder). A failure other than kResourceExhausted is kDataLoss: what was written
  /// since the last Sync() may be gone without a further error, so it must not be tried again.
  virtual absl::Status Sync(What what) = 0;
};

/// A folder with all that is below it, as durable stores use it: the seam between them and the
/// kernel. RootedDisk is the real one; tests have one that forgets on power loss what was not
/// synced (tests/sim/sim_disk.h). Names are relative to it, "" is the folder itself. Thread-safe.
/// kResourceExhausted is a full disk and nothing else: without descriptors or memory it is
/// kUnavailable.
class Disk {
 public:
  enum class Open {
    kExisting,  ///< else kNotFound
    kToRead,    ///< as kExisting; anything but a file is kFailedPrecondition. Sync() works
    kEmpty,     ///< created, or emptied
  };
  enum class Target {
    kReplace,  ///< atomically, if it exists
    kKeep,     ///< kAlreadyExists if it exists
  };
  struct Entry {
    std::string name;  ///< without its folder
    bool folder = false;
    bool other = false;  ///< neither a folder nor a file: a link, a socket …
    std::uint64_t bytes = 0;
    std::int64_t modified_unix_s = 0;
  };

  virtual ~Disk() = default;

  virtual absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name,
                                                             Open open) = 0;
  /// Of a file. A folder in its way: kFailedPrecondition.
  virtual absl::Status Rename(const std::string& from, const std::string& to, Target target) = 0;
  /// Of a file.
  virtual absl::Status Remove(const std::string& name) = 0;
  /// False: it was there. Something else of this name: kFailedPrecondition.
  virtual absl::StatusOr<bool> MakeFolder(const std::string& name, unsigned mode) = 0;
  /// After it, the names in the folder survive a loss of power as they are now.
  virtual absl::Status SyncFolder(const std::string& name) = 0;
  /// Sorted by name.
  virtual absl::StatusOr<std::vector<Entry>> List(const std::string& folder) = 0;
  virtual absl::StatusOr<bool> Exists(const std::string& name) = 0;
  virtual absl::StatusOr<std::uint64_t> FreeBytes() = 0;
};

/// "a/b" of "a/b/c", "" of "c".
inline std::string FolderOf(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? std::string() : name.substr(0, slash);
}

}  // namespace ds::fs
