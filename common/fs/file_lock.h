#pragma once

#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/fs/rooted_dir.h"

namespace ds::fs {

/// Takes flock(2) on an open file without waiting. Held by somebody else: kFailedPrecondition.
/// The lock goes with the descriptor, and so with the process, however that ends.
absl::Status LockFile(int fd, const std::string& name);

/// Keeps a data folder to one process: locks `<folder>/LOCK`, in which the holder writes its pid.
/// `folder` is a name below `root`: what is stored there by the root's descriptor is what is
/// locked, whatever the root's path leads to by then.
class FolderLock {
 public:
  /// Held by somebody else: kFailedPrecondition, with the holder's pid in the message (unless the
  /// holder reads only, and wrote none).
  static absl::StatusOr<FolderLock> Acquire(const RootedDir& root, const std::string& folder);
  /// The same for one who changes nothing: no pid is written, and a folder without LOCK is nobody's
  /// and stays so.
  static absl::StatusOr<FolderLock> AcquireToRead(const RootedDir& root, const std::string& folder);

  /// Whether the folder's LOCK below `root` is still the one that is locked: who removes the folder
  /// removes it too, and whoever makes the folder again can lock another one.
  bool InPlace(const RootedDir& root) const;

 private:
  FolderLock(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  UniqueFd fd_;
  std::string name_;  ///< below the root
};

}  // namespace ds::fs
