#include "ipc_proxy_cache/control/doctor.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "common/base/status.h"
#include "ipc_proxy_cache/link/socket_path.h"

namespace ds::ipc_proxy_cache {

std::vector<std::string> FindLeftovers(std::span<const std::string> socket_paths,
                                       std::span<const uid_t> trusted_uids) {
  std::vector<std::string> found;
  for (const std::string& path : socket_paths) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) continue;
    if (!ConnectToCache({&path, 1}, trusted_uids).ok()) {
      found.push_back(
          "socket " + path +
          ": nobody listens that we may speak to (the next cache takes a dead one over)");
    }
  }
  for (const char* const folder : {"/dev/shm", "/dev/mqueue"}) {
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
         it.increment(error)) {
      if (it->path().filename().string().find("getfile") != std::string::npos) {
        found.push_back("name " + it->path().string());
      }
    }
  }
  return found;
}

}  // namespace ds::ipc_proxy_cache
