#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace ds::ipc_proxy_cache {

/// The origin that a proxy stands in front of, and the URLs of its objects. A value.
class OriginUrl {
 public:
  /// `text`: http or https, without a scheme http; a path in front of all paths is allowed, a user,
  /// a query or a fragment is not (kInvalidArgument).
  static absl::StatusOr<OriginUrl> Parse(const std::string& text);

  /// "http://host:8080/base": scheme and host in lower case, no default port, no slash at the end.
  const std::string& text() const { return text_; }
  /// The URL of `path`, which begins with '/' and is bytes: what is not unreserved is encoded, and
  /// dot segments are resolved (RFC 3986 section 5.2.4), so that no path leads out of the origin's.
  /// `query` has its question mark, or is empty. The cache's key, too.
  std::string Of(std::string_view path, std::string_view query) const;

 private:
  explicit OriginUrl(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace ds::ipc_proxy_cache
