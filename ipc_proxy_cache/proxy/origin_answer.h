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

/// What is stored, as the front gives it to clients.
getfile::ContentFields ContentFieldsOf(const StoredFieldsView& stored);

}  // namespace ds::ipc_proxy_cache
