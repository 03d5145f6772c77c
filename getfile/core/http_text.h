#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace ds::getfile {

// The lexical rules that requests and answers of HTTP share (RFC 9110 section 5.6).

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

}  // namespace ds::getfile
