#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::ipc_proxy_cache {

/// A file that a content file puts under a path.
struct PinnedFile {
  std::string path;  ///< of requests
  std::string file;
};

/// The list (getfile/core/content_list), with the names of files resolved. kInvalidArgument with
/// all that is wrong: lines, files that are not there, are no regular files, or are larger than
/// `bytes_max`.
absl::StatusOr<std::vector<PinnedFile>> ReadContentFile(const std::string& name,
                                                        std::uint64_t bytes_max);

/// A file's bytes, and the fields for its record.
struct PinnedContent {
  std::string fields;
  std::string body;
};
absl::StatusOr<PinnedContent> ReadPinned(const PinnedFile& file, std::uint64_t bytes_max);

}  // namespace ds::ipc_proxy_cache
