#include "ipc_proxy_cache/shm/index_layout.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <xxhash.h>

#include <bit>
#include <cerrno>

namespace ds::ipc_proxy_cache {
namespace {

static_assert(sizeof(HashSecret) >= 136, "the least that XXH3 takes");

bool IsCount(std::uint64_t count) {
  return std::has_single_bit(count) && count >= kIndexSetSlots && count <= IndexGeometry::kMax;
}

}  // namespace

absl::StatusOr<HashSecret> RandomHashSecret() {
  HashSecret secret;
  // Up to 256 bytes come whole, or not at all (getrandom(2)).
  while (::getrandom(secret.data(), secret.size(), 0) < 0) {
    if (errno != EINTR) return ErrnoError("draw a hash secret", errno);
  }
  return secret;
}

KeyHash HashKey(const HashSecret& secret, std::string_view key) {
  const XXH128_hash_t hash =
      XXH3_128bits_withSecret(key.data(), key.size(), secret.data(), secret.size());
  if (hash.low64 == 0 && hash.high64 == 0) return {.low = 0, .high = 1};
  return {.low = hash.low64, .high = hash.high64};
}

absl::Status IndexGeometry::Validate() const {
  if (!IsCount(slot_count) || !IsCount(live_table_length)) {
    return InvalidArgument(
        fmt::format("lay out an index of {} slots for {} memfds: not powers of "
                    "two from 8 to 2^32",
                    slot_count, live_table_length));
  }
  return absl::OkStatus();
}

}  // namespace ds::ipc_proxy_cache
