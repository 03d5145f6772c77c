#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "udp_transfer/seal/hmac.h"
#include "udp_transfer/seal/key_schedule.h"

typedef struct XXH3_state_s XXH3_state_t;

namespace ds::udp_transfer {

/// The digest of a file's content, built up from its bytes in order: XXH3-128 (16 bytes, canonical
/// form), or HMAC-SHA-256 (32 bytes) with a key. Not thread-safe.
class FileDigest {
 public:
  explicit FileDigest(const DigestKey& key);
  FileDigest(FileDigest&&) noexcept = default;
  FileDigest& operator=(FileDigest&&) noexcept = default;
  ~FileDigest();

  void Update(std::span<const std::byte> bytes);
  /// Of all bytes so far: 16 or 32 bytes. More may follow.
  std::string Value() const;

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const;
  };
  std::unique_ptr<XXH3_state_t, Free> plain_;
  std::optional<Hmac> keyed_;
};

/// Which source a transfer is of, as the client knows it without reading: a changed file is another
/// one. 16 bytes, XXH3-128 of all of it.
struct SourceIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::string_view machine;  ///< host name or machine id
};
std::array<std::byte, 16> Digest(const SourceIdentity& source);

}  // namespace ds::udp_transfer
