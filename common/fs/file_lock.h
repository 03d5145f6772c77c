#pragma once

#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

namespace ds::fs {

/// Takes flock(2) on an open file without waiting. Held by somebody else: kFailedPrecondition.
/// The lock goes with the descriptor, and so with the process, however that ends.
absl::Status LockFile(int fd, const std::string& name);

/// Keeps a data folder to one process: locks `<folder>/LOCK`, in which the holder writes its pid.
class FolderLock {
 public:
  /// Held by somebody else: kFailedPrecondition, with the holder's pid in the message (unless the
  /// holder reads only, and wrote none).
  static absl::StatusOr<FolderLock> Acquire(const std::string& folder);
  /// The same for one who changes nothing: no pid is written, and a folder without LOCK is nobody's
  /// and stays so.
  static absl::StatusOr<FolderLock> AcquireToRead(const std::string& folder);

  /// Whether the folder's LOCK is still the one that is locked: who removes the folder removes it
  /// too, and whoever makes the folder again can lock another one.
  bool InPlace() const;

 private:
  FolderLock(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

}  // namespace ds::fs
