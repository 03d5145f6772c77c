#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate, RFC 9110 section 5.6.7) of seconds since 1970.
std::string FormatHttpDate(std::int64_t unix_seconds);

/// Any of the three forms of that section; nothing when `text` is none of them.
std::optional<std::int64_t> ParseHttpDate(std::string_view text);

}  // namespace ds
