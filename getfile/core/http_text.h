#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/parse.h"

namespace ds::getfile {

// What requests and answers of HTTP share: the lexical rules (RFC 9110 section 5.6), and the fields
// that say where a message ends (RFC 9112 section 6).

inline bool IsTokenChar(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kMarks.find(c) != std::string_view::npos;
}

inline bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

inline char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

inline bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

/// Without blanks and tabs at both ends.
inline std::string_view TrimOws(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Whether `value` may stand in a field: no control byte but the tab.
inline bool IsFieldValue(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

/// Calls `visit` with each element of a comma-separated list; quoted strings keep their commas.
template <typename Visit>
void ForEachElement(std::string_view list, Visit visit) {
  while (!list.empty()) {
    bool quoted = false;
    std::size_t end = 0;
    while (end < list.size() && (quoted || list[end] != ',')) quoted ^= list[end++] == '"';
    if (const auto element = TrimOws(list.substr(0, end)); !element.empty()) visit(element);
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

struct FieldLine {
  std::string_view name;
  std::string_view value;

  bool Is(std::string_view other) const { return EqualsIgnoringCase(name, other); }
};

/// Null, or what is wrong. `line` comes without its end.
inline const char* SplitField(std::string_view line, FieldLine* field) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
    return "a line is not a field";
  }
  field->name = line.substr(0, colon);
  field->value = TrimOws(line.substr(colon + 1));
  return IsFieldValue(field->value) ? nullptr : "a control byte in a field";
}

/// What the fields say about the end of the message and of the connection.
struct Framing {
  std::optional<std::uint64_t> content_length;
  bool encoded = false;  ///< there is a Transfer-Encoding
  bool close = false;
  bool keep_alive = false;
};

/// Takes note of a field that belongs there. Null, or what is wrong; a second Content-Length is,
/// even of the same value.
inline const char* TakeFraming(const FieldLine& field, Framing* framing) {
  if (field.Is("content-length")) {
    if (framing->content_length) return "more than one Content-Length";
    framing->content_length = ParseDecimal(field.value);
    if (!framing->content_length) return "the Content-Length is not a decimal number below 2^64";
  } else if (field.Is("transfer-encoding")) {
    framing->encoded = true;
  } else if (field.Is("connection")) {
    ForEachElement(field.value, [&](std::string_view option) {
      framing->close |= EqualsIgnoringCase(option, "close");
      framing->keep_alive |= EqualsIgnoringCase(option, "keep-alive");
    });
  }
  return nullptr;
}

}  // namespace ds::getfile
