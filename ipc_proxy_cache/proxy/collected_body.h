#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "getfile/front/content_source.h"

namespace ds::ipc_proxy_cache {

/// Of one answer of unknown length.
struct CollectionLimits {
  std::uint64_t memory_max = 64U << 20U;              ///< bytes kept in memory
  std::uint64_t bytes_max = std::uint64_t{1} << 30U;  ///< in all; more is an error
  std::string folder = "/tmp";  ///< of the file for what does not stay in memory
};

/// A body that is put together before anybody gets it, since its length is not known: in memory up
/// to a limit, then in a temporary file that never has a name. Not thread-safe.
class CollectedBody final : public getfile::Body {
 public:
  explicit CollectedBody(CollectionLimits limits) : limits_(std::move(limits)) {}

  /// kResourceExhausted: `bytes` would be too many, and are left out. Else the status of the disk,
  /// if it is needed; then nothing may be appended any more.
  absl::Status Append(std::string_view bytes);
  std::uint64_t size() const { return size_; }
  /// Bytes from `offset` on, at most `bytes_max`; fewer only at the end or when the disk fails.
  std::string Read(std::uint64_t offset, std::size_t bytes_max) const;

  /// REQUIRES: nothing is appended any more.
  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override;

 private:
  absl::Status Spill(std::string_view bytes);

  const CollectionLimits limits_;
  std::string memory_;  ///< all of it, or nothing once there is a file
  UniqueFd file_;
  std::uint64_t size_ = 0;
};

}  // namespace ds::ipc_proxy_cache
