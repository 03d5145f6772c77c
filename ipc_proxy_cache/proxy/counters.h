#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "common/base/counter.h"

namespace ds::ipc_proxy_cache {

/// Where an answer came from, as X-Cache says it.
enum class Served {
  kHit,
  kMiss,       ///< this request had it fetched
  kStale,      ///< past its time, while the origin is asked or fails
  kCoalesced,  ///< somebody else had it fetched at the same time
  kPass,       ///< from the origin, nothing shared
};
inline constexpr std::size_t kServedCount = 5;
inline constexpr const char* kServedNames[kServedCount] = {"HIT", "MISS", "STALE", "COALESCED",
                                                           "PASS"};

/// What one worker counts. Written by the worker, read by the scrape.
struct alignas(64) ProxyCounters {
  std::array<Counter, kServedCount> served;
  Counter origin_fetches;
  Counter origin_failures;          ///< no answer, or one that broke off
  Counter origin_bytes;             ///< of bodies
  Counter unknown_length_failures;  ///< too long, or no room for it
  Counter links_broken;             ///< by packets that nobody would send
  std::atomic<bool> linked{false};
};

}  // namespace ds::ipc_proxy_cache
