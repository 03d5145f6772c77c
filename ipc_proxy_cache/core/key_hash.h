#pragma once

#include <cstdint>

namespace ds::ipc_proxy_cache {

/// XXH3-128 of a key with a secret of each cache; never 0, 0. Evenly distributed and not to be
/// foreseen by clients, so its bits serve as table positions without hashing again. A value.
struct KeyHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend bool operator==(const KeyHash&, const KeyHash&) = default;
};

}  // namespace ds::ipc_proxy_cache
