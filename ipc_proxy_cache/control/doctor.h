#pragma once

#include <span>
#include <string>
#include <vector>

namespace ds::ipc_proxy_cache {

/// What dead processes of ours have left on this machine, a line each: sockets at which nobody
/// listens, names in /dev/shm and /dev/mqueue. Nothing but the first should ever be there.
std::vector<std::string> FindLeftovers(std::span<const std::string> socket_paths);

}  // namespace ds::ipc_proxy_cache
