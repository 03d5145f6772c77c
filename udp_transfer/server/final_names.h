#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "common/fs/disk.h"

namespace ds::udp_transfer {

enum class Overwrite {
  kYes,     ///< replaces a file atomically
  kNo,      ///< an existing one is left, the new one refused
  kRename,  ///< "name.1", "name.2" … instead
};

/// Gives complete files their names, and makes the folders they are in, so that both survive a loss
/// of power. Thread-safe; must not outlive the disk.
class FinalNames {
 public:
  /// kRename gives up after this many.
  static constexpr int kRenamesMax = 10'000;

  FinalNames(fs::Disk* disk, Overwrite overwrite, bool sync)
      : disk_(disk), overwrite_(overwrite), sync_(sync) {}

  /// kAlreadyExists, in words for the client.
  static absl::Status Taken(const std::string& name);

  /// OK when a file of this name would be taken now; an answer without effect, to refuse early.
  absl::Status Check(const std::string& name) const;

  /// Moves the file `from`, whose content is synced, to `name`; what is missing of its folders is
  /// made. Returns the name that it got, which is durable after Sync(FolderOf(name)).
  /// kAlreadyExists, kFailedPrecondition, kPermissionDenied: the name cannot be had.
  absl::StatusOr<std::string> Place(const std::string& from, const std::string& name);

  /// Makes the names in a folder durable.
  absl::Status Sync(const std::string& folder);

  struct Found {
    std::unique_ptr<fs::DiskFile> file;  ///< to read
    std::string name;
  };
  /// A file with this size and time that stands under `name`, or under one that Place() would have
  /// given it instead; nothing if there is none.
  std::optional<Found> Find(const std::string& name, std::uint64_t size,
                            std::int64_t mtime_ns) const;

  /// Makes a folder and what is missing above it; only the folder itself gets `mode`.
  absl::Status MakeFolder(const std::string& name, unsigned mode);

 private:
  fs::Disk* disk_;
  const Overwrite overwrite_;
  const bool sync_;
  Mutex mutex_;
  /// Folders whose names are known to be durable: a file in them needs no further sync of these.
  std::set<std::string> durable_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ds::udp_transfer
