#pragma once

#include <cstdint>
#include <string_view>

namespace ds::fs {

/// CRC-32C (Castagnoli) as RFC 3720 §12.1 and B.4 have it, by the processor's own instructions
/// where it has them. `before` is the checksum of what stands before `bytes`, so that
/// Crc32c("ab") == Crc32c("b", Crc32c("a")). Finds every burst of up to 32 bits; not a signature.
std::uint32_t Crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace ds::fs
