#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"

// Where the cache's socket is, for the three programs. Both ends refuse what belongs to anybody but
// their own user or root: else another user could make the folder first and be the cache, or the
// proxy. All functions may be called from any thread.

namespace ds::ipc_proxy_cache {

/// `getfile-cached.sock` in /run/getfile-cached/, in `runtime_dir` ($XDG_RUNTIME_DIR; none if
/// empty), in /tmp/getfile-cached-<uid>/: the order in which the cache and its clients try them.
std::vector<std::string> DefaultSocketPaths(std::string_view runtime_dir, uid_t uid);

/// The cache's end. Removes the socket's file when it is destroyed, unless that is another's by
/// now. Movable.
class LinkListener {
 public:
  /// Listens at the first of `paths` whose folder can be written; the folders of the default paths
  /// are made if need be. The file of a dead cache is taken over; a live one is
  /// kFailedPrecondition at once, without a look at further paths. `open_to_others`: other users
  /// may connect, for --allow-uid; whoever accepts has to ask who it is in any case.
  /// kInvalidArgument: a path is too long for a socket. REQUIRES: `paths` is not empty.
  static absl::StatusOr<LinkListener> Listen(std::span<const std::string> paths,
                                             bool open_to_others);
  LinkListener(LinkListener&& other) noexcept = default;
  LinkListener& operator=(LinkListener&& other) = delete;
  ~LinkListener();

  /// Non-blocking.
  int fd() const { return socket_.get(); }
  const std::string& path() const { return path_; }

 private:
  LinkListener(UniqueFd socket, std::string path, dev_t device, ino_t inode)
      : socket_(std::move(socket)), path_(std::move(path)), device_(device), inode_(inode) {}
  static absl::StatusOr<LinkListener> ListenAt(const std::string& path, bool open_to_others);

  UniqueFd socket_;
  std::string path_;
  dev_t device_;
  ino_t inode_;
};

struct ConnectedLink {
  UniqueFd socket;  ///< non-blocking, SEQPACKET
  std::string path;
};
/// Connects to the first of `paths` at which a cache listens that runs as this user, as root, or as
/// one of `also_trusted`. Does not block. kUnavailable if there is none; the message says of each
/// path why.
absl::StatusOr<ConnectedLink> ConnectToCache(std::span<const std::string> paths,
                                             std::span<const uid_t> also_trusted = {});

}  // namespace ds::ipc_proxy_cache
