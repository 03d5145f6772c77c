#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace ds::ipc_proxy_cache {

/// delta-seconds of RFC 9111 section 1.2.2: decimal digits; what is 2^31 or more is 2^31, about 68
/// years. Nothing when `text` is anything else.
std::optional<std::chrono::seconds> ParseDeltaSeconds(std::string_view text);

/// The directives of a response's Cache-Control (RFC 9111 section 5.2.2, RFC 5861) that matter to a
/// shared cache. In doubt the stricter reading counts: of a directive that is there twice the
/// smaller number; a number that cannot be read is 0; no-cache and private with a list of fields as
/// without one. Names are compared without regard to case, numbers may be quoted, unknown
/// directives are ignored (section 5.2.3). A value.
struct CacheControl {
  bool malformed = false;  ///< an element without a name, or a quote that never ends
  bool no_store = false;
  bool no_cache = false;
  bool is_private = false;
  bool is_public = false;
  bool must_revalidate = false;
  bool proxy_revalidate = false;
  bool must_understand = false;
  std::optional<std::chrono::seconds> max_age;
  std::optional<std::chrono::seconds> s_maxage;
  std::optional<std::chrono::seconds> stale_while_revalidate;
  std::optional<std::chrono::seconds> stale_if_error;

  /// Reads one field line; several lines are one list.
  void Add(std::string_view value);

  friend bool operator==(const CacheControl&, const CacheControl&) = default;
};

}  // namespace ds::ipc_proxy_cache
