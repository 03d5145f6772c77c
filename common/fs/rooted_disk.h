#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/fs/disk.h"
#include "common/fs/rooted_dir.h"

namespace ds::fs {

/// The real Disk: names below a RootedDir, which none of them leaves (kPermissionDenied), also not
/// to another file system that is mounted there: files could not be moved to it. New files
/// and folders get their mode less the umask.
class RootedDisk final : public Disk {
 public:
  static absl::StatusOr<std::unique_ptr<RootedDisk>> Open(const std::string& path);

  absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name,
                                                     Disk::Open open) override;
  absl::Status Rename(const std::string& from, const std::string& to, Target target) override;
  absl::Status Remove(const std::string& name) override;
  absl::StatusOr<bool> MakeFolder(const std::string& name, unsigned mode) override;
  absl::Status SyncFolder(const std::string& name) override;
  absl::StatusOr<std::vector<Entry>> List(const std::string& folder) override;
  absl::StatusOr<bool> Exists(const std::string& name) override;
  absl::StatusOr<std::uint64_t> FreeBytes() override;

  const RootedDir& root() const { return root_; }

 private:
  explicit RootedDisk(RootedDir root) : root_(std::move(root)) {}

  /// An O_PATH descriptor of the folder that `name` is in.
  absl::StatusOr<UniqueFd> ParentOf(const std::string& name) const;

  RootedDir root_;
};

}  // namespace ds::fs
