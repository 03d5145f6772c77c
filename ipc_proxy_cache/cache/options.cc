#include "ipc_proxy_cache/cache/options.h"

#include <fmt/format.h>
#include <unistd.h>

#include "ipc_proxy_cache/core/store_layout.h"

namespace ds::ipc_proxy_cache {

absl::Status CacheOptions::Validate() const {
  if (memory_bytes < StoreGeometry::kMemoryMin || memory_bytes > StoreGeometry::kMemoryMax) {
    return InvalidArgument("--memory must be between 4 MiB and 64 TiB");
  }
  const auto machine_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                             static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (memory_bytes > machine_bytes) {
    return InvalidArgument(
        fmt::format("--memory: this machine has {} MiB", machine_bytes / (1U << 20U)));
  }
  if (!(object_fraction > 0 && object_fraction <= 0.5)) {
    return InvalidArgument("--max-object must be above 0 and at most 0.5");
  }
  constexpr std::chrono::seconds kMax{std::int64_t{1} << 31U};
  if (ttl.count() < 0 || ttl > kMax) return InvalidArgument("--ttl must be 0 to 2^31 seconds");
  if (negative_ttl.count() < 0 || negative_ttl > kMax) {
    return InvalidArgument("--negative-ttl must be 0 to 2^31 seconds");
  }
  if (delay.count() < 0 || delay > std::chrono::seconds(60)) {
    return InvalidArgument("--delay must be 0 to 60000000 microseconds");
  }
  return absl::OkStatus();
}

}  // namespace ds::ipc_proxy_cache
