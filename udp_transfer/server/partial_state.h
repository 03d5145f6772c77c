#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace ds::udp_transfer {

/// What stands beside a partial file: whose it is, and how much of it is known to be on the disk.
/// Format (numbers big-endian): "dsudpart", version 1 (1 byte), size 8, identity 16, durable bytes
/// 8, their XXH3-128 16, name length 2, name, XXH3-128 of all before 16.
struct PartialState {
  std::string name;
  std::uint64_t size = 0;
  std::array<std::byte, 16> identity{};
  std::uint64_t durable_bytes = 0;
  std::string digest;  ///< XXH3-128 of the first durable_bytes, 16 bytes

  friend bool operator==(const PartialState&, const PartialState&) = default;

  /// REQUIRES: a digest of 16 bytes, a name of at most 4096.
  std::string Encode() const;
  /// kDataLoss: not one of ours, or damaged. kFailedPrecondition: of a newer version.
  static absl::StatusOr<PartialState> Parse(std::string_view bytes);

  /// The longest encoding.
  static constexpr std::size_t kBytesMax = 8 + 1 + 8 + 16 + 8 + 16 + 2 + 4096 + 16;

  /// What the files of this transfer are called: 32 hexadecimal digits of name, size and identity.
  std::string Key() const;
};

}  // namespace ds::udp_transfer
