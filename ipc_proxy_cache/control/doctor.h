#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

namespace ds::ipc_proxy_cache {

/// What dead processes of ours have left on this machine, a line each: sockets at which nobody
/// listens, names in /dev/shm and /dev/mqueue. Nothing but the first should ever be there.
std::vector<std::string> FindLeftovers(std::span<const std::string> socket_paths,
                                       std::span<const uid_t> trusted_uids);

}  // namespace ds::ipc_proxy_cache
