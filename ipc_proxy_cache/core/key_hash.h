#pragma once

#include <compare>
#include <cstdint>

namespace ds::ipc_proxy_cache {

/// XXH3, 128 bit, seeded at each start of the cache, of a key. Evenly distributed and not to be
/// foreseen by clients, so its bits are used as table positions without hashing again.
struct KeyHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend auto operator<=>(const KeyHash&, const KeyHash&) = default;
};

}  // namespace ds::ipc_proxy_cache
