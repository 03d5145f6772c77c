#pragma once

#include <string>
#include <string_view>

namespace ds::testing {

/// SHA-256 of `bytes` in lower-case hexadecimal, as sha256sum(1) prints it.
std::string Sha256Hex(std::string_view bytes);

}  // namespace ds::testing
