#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// Decimal digits only (no sign, no blank, at least one digit), below 2^64; else nothing.
std::optional<std::uint64_t> ParseDecimal(std::string_view text);

/// Bytes made safe for one log line: printable ASCII as it is, the rest and `"` `\` as \xNN.
std::string EscapeBytes(std::string_view bytes);

/// A path as it stands in a URL: unreserved characters and `/` as they are, the rest as %XX.
std::string PercentEncodePath(std::string_view path);

/// Lower-case hexadecimal of `bytes`.
std::string ToHex(std::string_view bytes);

/// `bytes` without leading and trailing blanks (space, tab, CR, LF, VT, FF).
std::string_view TrimBlanks(std::string_view text);

}  // namespace ds
