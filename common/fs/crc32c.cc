#include "common/fs/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace ds::fs {

std::uint32_t Crc32c(std::string_view bytes, std::uint32_t before) {
  // The library leaves the inversions of the RFC to its caller, takes an int for the length, and
  // only reads the buffer that it does not declare const.
  constexpr std::size_t kStepBytes = std::size_t{1} << 30U;
  std::uint32_t crc = ~before;
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), kStepBytes);
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(size), crc);
    bytes.remove_prefix(size);
  }
  return ~crc;
}

}  // namespace ds::fs
