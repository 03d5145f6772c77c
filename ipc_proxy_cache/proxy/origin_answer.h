#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "getfile/core/http.h"
#include "ipc_proxy_cache/core/stored_fields.h"
#include "ipc_proxy_cache/proxy/origin.h"

// What a proxy reads from the heads of an origin's answers. Functions without state.

namespace ds::ipc_proxy_cache {

/// The well-formed field lines of `lines`; views into it.
std::vector<HttpField> FieldsOf(std::string_view lines);

/// The length of the body, if the head says it.
std::optional<std::uint64_t> LengthOf(std::span<const HttpField> fields);

/// Where the bytes of a 206 stand in the whole (RFC 9110 section 14.4), if it says both.
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t length = 0;  ///< of the whole
};
std::optional<ContentRange> RangeOf(std::span<const HttpField> fields);

/// Whether the 206 with `fields` is of the version that `validator` names: it says the same itself.
/// If-Range alone is not enough, an origin may not know it.
bool IsOfVersion(std::span<const HttpField> fields, std::string_view validator);

/// What is stored, as the front gives it to clients.
getfile::ContentFields ContentFieldsOf(const StoredFieldsView& stored);

}  // namespace ds::ipc_proxy_cache
