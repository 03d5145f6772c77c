#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/parse.h"

namespace ds::udp_transfer {

inline std::vector<std::byte> FromHex(std::string_view digits) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(
        static_cast<std::byte>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

inline std::string Hex(std::span<const std::byte> bytes) {
  return ToHex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace ds::udp_transfer
