#include "compute/core/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/base/check.h"

namespace ds::compute {
namespace {

/// Bytes of the code point at the front of `text`, by table 3-7 of the Unicode standard; 0: it is
/// none. REQUIRES: text is not empty.
std::size_t CodePointBytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  std::size_t size = 0;
  std::uint8_t second_min = 0x80;
  std::uint8_t second_max = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    if (lead == 0xe0) second_min = 0xa0;  // else it would have fitted into two
    if (lead == 0xed) second_max = 0x9f;  // else a surrogate
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    if (lead == 0xf0) second_min = 0x90;
    if (lead == 0xf4) second_max = 0x8f;  // else above U+10FFFF
  }
  if (size == 0 || text.size() < size) return 0;
  if (byte(1) < second_min || byte(1) > second_max) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
  }
  return size;
}

/// Where `delimiter` is first found in `text` from `at` on, or npos. In a time linear in the bytes,
/// whatever they are (the two-way algorithm), which string_view::find() does not promise.
/// REQUIRES: the delimiter is not empty; at <= text.size().
std::size_t FindDelimiter(std::string_view text, std::string_view delimiter, std::size_t at) {
  if (delimiter.size() == 1) return text.find(delimiter[0], at);
  const void* const found =
      ::memmem(text.data() + at, text.size() - at, delimiter.data(), delimiter.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

absl::Status NotUtf8(std::string_view what, std::size_t at) {
  return InvalidArgument(fmt::format("{}: not UTF-8 at byte {}", what, at));
}

}  // namespace

absl::Status CheckUtf8(std::string_view what, std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = CodePointBytes(text.substr(at));
    if (bytes == 0) return NotUtf8(what, at);
    at += bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Reverse(std::string_view text) {
  std::string reversed(text.size(), '\0');
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = CodePointBytes(text.substr(at));
    if (bytes == 0) return NotUtf8("text", at);
    std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), bytes,
                reversed.end() - static_cast<std::ptrdiff_t>(at + bytes));
    at += bytes;
  }
  return reversed;
}

absl::StatusOr<std::vector<std::string>> Split(std::string_view text, std::string_view delimiter) {
  if (delimiter.empty()) return InvalidArgument("delimiter: must not be empty");
  RETURN_IF_ERROR(CheckUtf8("text", text));
  RETURN_IF_ERROR(CheckUtf8("delimiter", delimiter));
  std::vector<std::string> parts;
  for (std::size_t at = 0;;) {
    const std::size_t end = FindDelimiter(text, delimiter, at);
    parts.emplace_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    if (end == std::string_view::npos) return parts;
    at = end + delimiter.size();
  }
}

std::size_t CountParts(std::string_view text, std::string_view delimiter) {
  CHECK(!delimiter.empty());
  std::size_t parts = 1;
  for (std::size_t at = 0; (at = FindDelimiter(text, delimiter, at)) != std::string_view::npos;
       ++parts) {
    at += delimiter.size();
  }
  return parts;
}

}  // namespace ds::compute
