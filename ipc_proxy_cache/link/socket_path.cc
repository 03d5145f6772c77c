#include "ipc_proxy_cache/link/socket_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"
#include "common/shm/seqpacket.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::string_view kSocketName = "getfile-cached.sock";
constexpr std::string_view kSystemFolder = "/run/getfile-cached";
constexpr std::string_view kTemporaryFolder = "/tmp/getfile-cached-";
constexpr int kBacklog = 128;

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return InvalidArgument(fmt::format("socket \"{}\": the path must have 1 to {} bytes", path,
                                       sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> MakeSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError("make a socket", errno);
  return fd;
}

/// 0 or an errno. EAGAIN: somebody listens, whose queue is full.
int Connect(int fd, const sockaddr_un& address) {
  while (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

bool IsTrusted(uid_t owner, std::span<const uid_t> also_trusted = {}) {
  return owner == ::geteuid() || owner == 0 ||
         std::find(also_trusted.begin(), also_trusted.end(), owner) != also_trusted.end();
}

absl::Status Foreign(const std::string& what, uid_t owner) {
  return Error(absl::StatusCode::kPermissionDenied,
               fmt::format("{}: refused: it belongs to uid {}, not to us or root", what, owner));
}

/// Makes the folder if it is one of the default ones, and opens it.
absl::StatusOr<UniqueFd> OpenFolder(const std::string& folder) {
  if (folder == kSystemFolder) ::mkdir(folder.c_str(), 0755);
  if (folder.rfind(kTemporaryFolder, 0) == 0) ::mkdir(folder.c_str(), 0700);
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return ErrnoError("folder " + folder, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return ErrnoError("folder " + folder, errno);
  if (!IsTrusted(status.st_uid)) return Foreign("folder " + folder, status.st_uid);
  if (::faccessat(fd.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return ErrnoError("folder " + folder, errno);
  }
  return fd;
}

/// Two caches that start at once must not both take over the file of a dead one. The lock is the
/// folder's: a file for it would be left behind. Somebody who may open the folder could hold it
/// for ever, so we do not wait for ever.
absl::Status LockFolder(int fd, const std::string& folder) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoError("lock " + folder, errno);
    ::poll(nullptr, 0, 10);
  }
  return Unavailable("lock " + folder + ": somebody else has held it for a second");
}

/// Removes the file of a socket at which nobody listens.
absl::Status RemoveDead(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError("socket " + path, errno);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "socket " + path + ": there is a file that is no socket");
  }
  if (!IsTrusted(status.st_uid)) return Foreign("socket " + path, status.st_uid);
  ASSIGN_OR_RETURN(const UniqueFd probe, MakeSocket());
  if (Connect(probe.get(), address) != ECONNREFUSED) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "listen on " + path + ": in use (is another cache running? see --socket)");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError("remove the socket of a dead cache, " + path, errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ConnectAt(const std::string& path, std::span<const uid_t> also_trusted) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  const std::string folder = FolderOf(path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return ErrnoError(path, errno);
  if (!IsTrusted(status.st_uid, also_trusted)) return Foreign(path, status.st_uid);
  if (::stat(folder.c_str(), &status) != 0) return ErrnoError(folder, errno);
  if (!IsTrusted(status.st_uid, also_trusted)) return Foreign(folder, status.st_uid);
  ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket());
  if (const int error = Connect(fd.get(), address); error != 0) return ErrnoError(path, error);
  // What stat() saw may have been replaced since: this is who really listens.
  ASSIGN_OR_RETURN(const shm::PeerCredentials peer, shm::CredentialsOfPeer(fd.get()));
  if (!IsTrusted(peer.uid, also_trusted)) return Foreign(path, peer.uid);
  return fd;
}

}  // namespace

std::vector<std::string> DefaultSocketPaths(std::string_view runtime_dir, uid_t uid) {
  std::vector<std::string> paths{fmt::format("{}/{}", kSystemFolder, kSocketName)};
  if (!runtime_dir.empty()) paths.push_back(fmt::format("{}/{}", runtime_dir, kSocketName));
  paths.push_back(fmt::format("{}{}/{}", kTemporaryFolder, uid, kSocketName));
  return paths;
}

absl::StatusOr<LinkListener> LinkListener::ListenAt(const std::string& path, bool open_to_others) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  const std::string folder = FolderOf(path);
  ASSIGN_OR_RETURN(const UniqueFd folder_fd, OpenFolder(folder));
  RETURN_IF_ERROR(LockFolder(folder_fd.get(), folder));
  RETURN_IF_ERROR(RemoveDead(path, address));
  ASSIGN_OR_RETURN(UniqueFd socket, MakeSocket());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError("bind " + path, errno);
  }
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 ||
      ::chmod(path.c_str(), open_to_others ? 0666 : 0600) != 0) {
    return ErrnoError("socket " + path, errno);
  }
  LinkListener listener(std::move(socket), path, status.st_dev, status.st_ino);
  if (::listen(listener.fd(), kBacklog) != 0) return ErrnoError("listen on " + path, errno);
  return listener;
}

absl::StatusOr<LinkListener> LinkListener::Listen(std::span<const std::string> paths,
                                                  bool open_to_others) {
  CHECK(!paths.empty());
  std::string why;
  for (const std::string& path : paths) {
    auto listener = ListenAt(path, open_to_others);
    const absl::StatusCode code = listener.status().code();
    if (listener.ok() || paths.size() == 1 || code == absl::StatusCode::kFailedPrecondition) {
      return listener;
    }
    why += (why.empty() ? "" : "; ") + Message(listener.status());
  }
  return Unavailable("no place for the socket: " + why);
}

LinkListener::~LinkListener() {
  if (!socket_) return;
  // While we listen nobody takes it over, so between these two it stays what it is.
  struct stat status {};
  if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

absl::StatusOr<ConnectedLink> ConnectToCache(std::span<const std::string> paths,
                                             std::span<const uid_t> also_trusted) {
  std::string why;
  for (const std::string& path : paths) {
    auto socket = ConnectAt(path, also_trusted);
    if (socket.ok()) return ConnectedLink{std::move(socket).value(), path};
    why += (why.empty() ? "" : "; ") + Message(socket.status());
  }
  return Unavailable("no cache: " + why);
}

}  // namespace ds::ipc_proxy_cache
