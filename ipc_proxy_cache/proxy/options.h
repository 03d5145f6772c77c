#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "getfile/front/options.h"
#include "ipc_proxy_cache/proxy/collected_body.h"
#include "ipc_proxy_cache/proxy/origin_url.h"
#include "ipc_proxy_cache/shm/segment_memory.h"

namespace ds::ipc_proxy_cache {

/// What a proxy does when the cache does not have it.
enum class OnMiss {
  kOrigin,
  kNotFound,  ///< the classic answer; the origin is never asked
};
inline constexpr std::pair<const char*, OnMiss> kOnMissNames[] = {{"origin", OnMiss::kOrigin},
                                                                  {"not-found", OnMiss::kNotFound}};

/// What getfile-proxy can be told, beside what every daemon can.
struct ProxyOptions {
  getfile::FrontOptions front;
  std::string origin;                          ///< URL
  std::string cache_socket;                    ///< empty: the default places
  std::vector<uid_t> cache_uids;               ///< whose cache is trusted, besides ours and root's
  std::string runtime_dir;                     ///< $XDG_RUNTIME_DIR, for those
  std::optional<std::uint64_t> segments;       ///< given: content travels through segments
  std::optional<std::uint64_t> segment_bytes;  ///< of each, header included; the same
  OnMiss on_miss = OnMiss::kOrigin;
  CollectionLimits collection;  ///< of answers without a length
  bool sendfile = false;        ///< large hits go out by sendfile, not by copy
  double connect_timeout_s = 5;
  double first_byte_timeout_s = 30;
  double stall_timeout_s = 20;
  std::string ca_file;  ///< certificates for https in place of the system's

  absl::Status Validate() const;
  bool segment_channel() const { return segments || segment_bytes; }
  SegmentGeometry geometry() const {
    return {.count = segments.value_or(64), .segment_bytes = segment_bytes.value_or(64U << 10U)};
  }
};

}  // namespace ds::ipc_proxy_cache
