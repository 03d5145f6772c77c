#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"

namespace ds::ipc_proxy_cache {

/// What getfile-cached can be told. A value.
struct CacheOptions {
  /// Where to listen: the first that can be. See DefaultSocketPaths().
  std::vector<std::string> sockets{};
  std::vector<uid_t> allowed_uids{};         ///< besides our own
  std::uint64_t memory_bytes = 256U << 20U;  ///< index, chunks and objects
  double object_fraction = 0.125;            ///< of the memory; what is larger passes through
  std::chrono::seconds ttl{60};              ///< freshness where the origin says nothing
  std::chrono::seconds negative_ttl{5};      ///< at most, for 404, 410, 403
  std::chrono::microseconds delay{0};        ///< of each answer to a miss, to play a slow cache
  std::string content_file{};                ///< of pinned objects; empty: none

  std::uint64_t ObjectMax() const {
    return static_cast<std::uint64_t>(static_cast<double>(memory_bytes) * object_fraction);
  }
  /// kInvalidArgument, naming the option.
  absl::Status Validate() const;
};

}  // namespace ds::ipc_proxy_cache
