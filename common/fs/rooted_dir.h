#pragma once

#include <string>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

namespace ds::fs {

/// A folder that names below it cannot leave: every name is resolved by openat2(2) with
/// RESOLVE_BENEATH, symbolic links included. Thread-safe (it is only a descriptor).
class RootedDir {
 public:
  enum class Mounts {
    kFollow,
    kRefuse,  ///< what is mounted below the root is out of it
  };

  static absl::StatusOr<RootedDir> Open(const std::string& path, Mounts mounts = Mounts::kFollow);

  /// Opens `name` below the root; leading slashes are dropped, an empty name is the root itself.
  /// Returns the descriptor, or the negative errno (EXDEV: it would leave the root).
  int OpenBeneath(const char* name, int flags, unsigned mode = 0) const;

  /// Opens the folder `name` below the root, creating what is missing of it (mode 0777 & ~umask).
  absl::StatusOr<UniqueFd> MakeFolders(const std::string& name) const;

  int fd() const { return fd_.get(); }

 private:
  RootedDir(UniqueFd fd, Mounts mounts) : fd_(std::move(fd)), mounts_(mounts) {}
  UniqueFd fd_;
  Mounts mounts_;
};

}  // namespace ds::fs
