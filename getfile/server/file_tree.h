#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "common/base/status.h"
#include "common/fs/rooted_dir.h"

namespace ds::getfile {

/// Which file a request path names: a folder served as a tree, or the list of a content file.
/// Immutable, so all workers share one; a reload makes another.
class FileTree {
 public:
  /// Everything below `root`. No path leaves it. Paths with a component that begins with a dot are
  /// refused unless `dot_files`.
  static absl::StatusOr<std::shared_ptr<const FileTree>> FromRoot(const std::string& root,
                                                                  bool dot_files);
  /// The entries of a content file; every file must be there and be readable. All that is wrong
  /// stands in the message of the error (kInvalidArgument).
  static absl::StatusOr<std::shared_ptr<const FileTree>> FromContentFile(const std::string& path);

  /// The path of what stands for the folder `request_path`, which ends in a slash: its index.html,
  /// or in a content file an entry of just this name.
  std::string IndexOf(const std::string& request_path) const;

  /// Opens the file for reading: a descriptor, or a negative errno. It need not be a regular file.
  int Open(const std::string& request_path) const;
  /// Opens the file for fstat() only, which needs no permission on the file itself.
  int OpenPath(const std::string& request_path) const;

 private:
  FileTree() = default;
  int OpenWith(const std::string& request_path, int flags) const;

  std::optional<fs::RootedDir> root_;
  bool dot_files_ = false;
  absl::flat_hash_map<std::string, std::string> file_of_key_;  ///< used when there is no root_
};

}  // namespace ds::getfile
