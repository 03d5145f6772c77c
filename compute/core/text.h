#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace ds::compute {

/// kInvalidArgument: `text` is not UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above
/// U+10FFFF); the message begins with `what`, and says at which byte.
absl::Status CheckUtf8(std::string_view what, std::string_view text);

/// The code points of UTF-8 `text` in reverse order (code points, not grapheme clusters: a
/// combining accent comes to stand before its letter). kInvalidArgument: not UTF-8 (RFC 3629: no
/// overlong forms, no surrogates, nothing above U+10FFFF); the message says at which byte.
absl::StatusOr<std::string> Reverse(std::string_view text);

/// The parts of `text` between delimiters, empty ones kept: there is always one more part than
/// delimiters. In a time linear in the bytes of text, delimiter and parts, as that of all functions
/// here. kInvalidArgument: the delimiter is empty, or text or delimiter is not UTF-8.
absl::StatusOr<std::vector<std::string>> Split(std::string_view text, std::string_view delimiter);

/// How many parts Split() would make, without making them. REQUIRES: the delimiter is not empty.
std::size_t CountParts(std::string_view text, std::string_view delimiter);

}  // namespace ds::compute
