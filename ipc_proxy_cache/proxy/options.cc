#include "ipc_proxy_cache/proxy/options.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

namespace ds::ipc_proxy_cache {

absl::Status ProxyOptions::Validate() const {
  RETURN_IF_ERROR(front.Validate());
  RETURN_IF_ERROR(OriginUrl::Parse(origin).status());
  RETURN_IF_ERROR(geometry().Validate());
  if (connect_timeout_s <= 0 || first_byte_timeout_s <= 0 || stall_timeout_s <= 0) {
    return InvalidArgument("--connect-timeout, --first-byte-timeout, --stall-timeout: not above 0");
  }
  struct stat info {};
  if (::stat(collection.folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return InvalidArgument(fmt::format("--temp-dir \"{}\": no such folder", collection.folder));
  }
  if (!ca_file.empty() && ::access(ca_file.c_str(), R_OK) != 0) {
    return InvalidArgument(fmt::format("--origin-ca \"{}\": cannot be read", ca_file));
  }
  if (cache_socket.size() >= sizeof sockaddr_un{}.sun_path) {
    return InvalidArgument(
        fmt::format("--cache-socket: longer than {} bytes", sizeof sockaddr_un{}.sun_path - 1));
  }
  return absl::OkStatus();
}

}  // namespace ds::ipc_proxy_cache
