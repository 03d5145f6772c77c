#include "ipc_proxy_cache/core/cache_control.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/base/parse.h"
#include "getfile/core/http_text.h"

namespace ds::ipc_proxy_cache {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kDeltaSecondsMax = std::uint64_t{1} << 31U;

/// Takes the list's next element off its front, without the comma; commas inside quotes belong to
/// the element. False when a quote never ends: then the element is all the rest.
bool TakeElement(std::string_view* list, std::string_view* element) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < list->size() && (quoted || (*list)[end] != ','); ++end) {
    if ((*list)[end] == '"') {
      quoted = !quoted;
    } else if (quoted && (*list)[end] == '\\' && end + 1 < list->size()) {
      ++end;
    }
  }
  *element = getfile::TrimOws(list->substr(0, end));
  list->remove_prefix(std::min(end + 1, list->size()));
  return !quoted;
}

/// The text of a quoted string (RFC 9110 section 5.6.4), or the text as it is.
std::string Unquoted(std::string_view text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::string(text);
  std::string out;
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '\\' && i + 2 < text.size()) ++i;
    out.push_back(text[i]);
  }
  return out;
}

}  // namespace

std::optional<seconds> ParseDeltaSeconds(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::uint64_t number = ParseDecimal(text).value_or(kDeltaSecondsMax);  // beyond 2^64
  return seconds(std::min(number, kDeltaSecondsMax));
}

void CacheControl::Add(std::string_view value) {
  while (!value.empty()) {
    std::string_view element;
    if (!TakeElement(&value, &element)) malformed = true;
    if (element.empty()) continue;  // RFC 9110 section 5.6.1.2
    const std::size_t equals = element.find('=');
    const std::string_view name = element.substr(0, equals);
    if (!getfile::IsToken(name)) malformed = true;

    const auto is = [&](std::string_view other) {
      return getfile::EqualsIgnoringCase(name, other);
    };
    const auto lower = [&](std::optional<seconds>* number) {
      const std::string_view text =
          equals == std::string_view::npos ? std::string_view() : element.substr(equals + 1);
      const seconds read = ParseDeltaSeconds(Unquoted(text)).value_or(seconds(0));
      *number = std::min(number->value_or(read), read);
    };
    if (is("max-age")) lower(&max_age);
    if (is("s-maxage")) lower(&s_maxage);
    if (is("stale-while-revalidate")) lower(&stale_while_revalidate);
    if (is("stale-if-error")) lower(&stale_if_error);
    no_store |= is("no-store");
    no_cache |= is("no-cache");
    is_private |= is("private");
    is_public |= is("public");
    must_revalidate |= is("must-revalidate");
    proxy_revalidate |= is("proxy-revalidate");
    must_understand |= is("must-understand");
  }
}

}  // namespace ds::ipc_proxy_cache
