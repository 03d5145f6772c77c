#include "ipc_proxy_cache/core/continuation.h"

#include <fmt/format.h>

#include "common/base/parse.h"
#include "ipc_proxy_cache/core/cache_policy.h"

namespace ds::ipc_proxy_cache {
namespace {

/// Where the bytes of a 206 stand in the whole (RFC 9110 section 14.4), if it says both.
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t length = 0;  ///< of the whole
};

std::optional<ContentRange> RangeOf(std::span<const HttpField> fields) {
  const auto field = FindField(fields, "content-range");
  constexpr std::string_view kUnit = "bytes ";
  if (!field || !field->starts_with(kUnit)) return std::nullopt;
  const std::string_view range = field->substr(kUnit.size());
  const std::size_t dash = range.find('-');
  const std::size_t slash = range.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos) return std::nullopt;
  const auto first = ParseDecimal(range.substr(0, dash));
  const auto length = ParseDecimal(range.substr(slash + 1));
  if (!first || !length) return std::nullopt;
  return ContentRange{*first, *length};
}

}  // namespace

std::optional<Continuation> Continuation::Of(std::string_view stored_fields, std::uint64_t first,
                                             std::uint64_t length) {
  const auto stored = DecodeForeignFields(stored_fields);
  auto validator = stored ? RangeValidator(*stored) : std::nullopt;
  if (!validator) return std::nullopt;
  return Continuation(*std::move(validator), first, length);
}

std::vector<std::string> Continuation::RequestFields() const {
  return {fmt::format("Range: bytes={}-", first_), "If-Range: " + validator_};
}

bool Continuation::IsAnsweredBy(int status, std::span<const HttpField> fields) const {
  if (status != 206) return false;
  const bool is_etag = validator_.starts_with('"');
  const auto version = FindField(fields, is_etag ? "etag" : "last-modified");
  const auto range = RangeOf(fields);
  return version && *version == validator_ && range && range->first == first_ &&
         range->length == length_;
}

}  // namespace ds::ipc_proxy_cache
