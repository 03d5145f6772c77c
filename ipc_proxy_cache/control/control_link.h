#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "ipc_proxy_cache/core/messages.h"

namespace ds::ipc_proxy_cache {

/// A link of getfile-cachectl: asks and waits for the answer. Not thread-safe. Movable.
class ControlLink {
 public:
  /// kUnavailable if no cache listens at any of `paths`, or it does not answer. `cancel_fd`: gives
  /// up with kCancelled, in every call, once it is readable.
  static absl::StatusOr<ControlLink> Connect(std::span<const std::string> paths,
                                             std::span<const uid_t> trusted_uids, int cancel_fd);

  /// Counters, and all links of proxies.
  absl::StatusOr<Report> AskStatus();
  /// How many objects were purged. `key`: a path, which counts for every origin, or a whole URL.
  absl::StatusOr<std::uint64_t> RequestPurge(const std::string& key, bool prefix, bool soft);

  const std::string& path() const { return path_; }

 private:
  ControlLink(UniqueFd socket, std::string path, int cancel_fd)
      : socket_(std::move(socket)), path_(std::move(path)), cancel_fd_(cancel_fd) {}
  template <typename Answer>
  absl::StatusOr<Answer> Ask(const Message& question);

  UniqueFd socket_;
  std::string path_;
  int cancel_fd_;
  std::uint64_t last_request_ = 0;
};

}  // namespace ds::ipc_proxy_cache
