#include "getfile/core/checksum_list.h"

#include <algorithm>
#include <optional>

namespace ds::getfile {
namespace {

constexpr std::size_t kDigestDigits = 64;

std::optional<std::string> Unescape(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '\\') {
      out += name[i];
      continue;
    }
    if (++i == name.size()) return std::nullopt;
    switch (name[i]) {
      case '\\':
        out += '\\';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      default:
        return std::nullopt;
    }
  }
  return out;
}

}  // namespace

ChecksumList ParseChecksumList(std::string_view text) {
  ChecksumList list;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const auto bad = [&](const char* why) {
      list.errors.push_back("line " + std::to_string(number) + ": " + why);
    };
    const bool escaped = line.front() == '\\';
    if (escaped) line.remove_prefix(1);
    const bool shaped = line.size() > kDigestDigits + 2 && line[kDigestDigits] == ' ' &&
                        (line[kDigestDigits + 1] == ' ' || line[kDigestDigits + 1] == '*') &&
                        line.find_first_not_of("0123456789abcdefABCDEF") == kDigestDigits;
    if (!shaped) {
      bad("expected 64 hexadecimal digits, two blanks and a name");
      continue;
    }
    std::string digest(line.substr(0, kDigestDigits));
    std::transform(digest.begin(), digest.end(), digest.begin(),
                   [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
    line.remove_prefix(kDigestDigits + 2);
    auto name = escaped ? Unescape(line) : std::string(line);
    if (!name) {
      bad("unknown escape in the name");
      continue;
    }
    while (name->starts_with("./")) name->erase(0, 2);
    const auto [entry, fresh] = list.digest_of.emplace(*name, digest);
    if (!fresh && entry->second != digest) bad("the name is listed with two digests");
  }
  return list;
}

}  // namespace ds::getfile
