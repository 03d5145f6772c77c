#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/fs/atomic_file.h"
#include "common/fs/rooted_dir.h"

namespace ds::getfile {

/// SHA-256 of bytes as they pass (OpenSSL). A value that can be moved.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) = delete;
  void Update(std::string_view bytes);
  /// 64 lower-case hexadecimal digits. REQUIRES: called once, last.
  std::string FinishHex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Where downloads go: a folder that no path leaves, and the digests they must have. Thread-safe
/// (constant).
class DownloadFolder {
 public:
  using Digests = std::map<std::string, std::string>;

  /// Creates the folder if it is missing. `digests`: name -> SHA-256, of every file that may
  /// arrive; none: no verification.
  static absl::StatusOr<DownloadFolder> Open(const std::string& path,
                                             std::optional<Digests> digests);

  /// The name below the folder under which `request_path` is kept: without leading slashes. An
  /// error when it has ".." in it or ends in a slash.
  static absl::StatusOr<std::string> NameOf(const std::string& request_path);

  const fs::RootedDir& root() const { return root_; }
  bool verifies() const { return digests_.has_value(); }
  /// kDataLoss unless `name` is listed with this digest. REQUIRES: verifies().
  absl::Status CheckDigest(const std::string& name, const std::string& digest) const;

 private:
  DownloadFolder(fs::RootedDir root, std::optional<Digests> digests)
      : root_(std::move(root)), digests_(std::move(digests)) {}

  fs::RootedDir root_;
  std::optional<Digests> digests_;
};

/// One file on its way: written without a name, verified, then put in place. If it is destroyed
/// before Finish(), nothing remains.
class Download {
 public:
  static absl::StatusOr<std::unique_ptr<Download>> Create(const DownloadFolder* folder,
                                                          const std::string& request_path);

  absl::Status Write(std::string_view bytes);
  absl::Status Finish();

 private:
  Download(const DownloadFolder* folder, std::string name, UniqueFd parent, fs::AtomicFile file);

  const DownloadFolder* const folder_;
  const std::string name_;
  const UniqueFd parent_;  ///< the folder of the file; must outlive file_
  fs::AtomicFile file_;
  std::optional<Sha256> digest_;
};

}  // namespace ds::getfile
