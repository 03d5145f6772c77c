#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

namespace ds::fs {

/// A file that appears under its name whole or not at all. Written without a name (O_TMPFILE), so
/// that kill -9 leaves nothing behind, except between the two system calls that replace an older
/// file: that leaves one hidden name, which the next replacement takes over. Where the file system
/// has no O_TMPFILE, it is written under a hidden temporary name that the destructor removes. One
/// owner, not thread-safe.
class AtomicFile {
 public:
  enum class Durability {
    kCached,  ///< survives kill -9 of this process, not a loss of power
    kSynced,  ///< file and folder are fsynced before Commit() returns
  };

  /// Prepares to create `name` (no slash in it) in `folder` (a descriptor, O_PATH is enough, which
  /// must stay open until Commit).
  static absl::StatusOr<AtomicFile> Create(int folder, std::string name, unsigned mode = 0666);

  AtomicFile(AtomicFile&&) noexcept = default;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  absl::Status Write(std::string_view bytes);
  int fd() const { return fd_.get(); }

  /// Gives the file its name, replacing an older one atomically. At most once.
  absl::Status Commit(Durability durability);

 private:
  absl::Status Link();

  AtomicFile(int folder, std::string name, UniqueFd fd, std::string temporary)
      : folder_(folder),
        name_(std::move(name)),
        fd_(std::move(fd)),
        temporary_(std::move(temporary)) {}

  int folder_;
  std::string name_;
  UniqueFd fd_;
  std::string temporary_;  ///< empty while the file has no name
};

}  // namespace ds::fs
