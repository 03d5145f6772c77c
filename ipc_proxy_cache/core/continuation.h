#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ipc_proxy_cache/core/stored_fields.h"

namespace ds::ipc_proxy_cache {

/// The rest of an object of which clients have the beginning, as the origin is asked for it and
/// when its answer is that: what was promised first, and nothing of another version (RFC 9110
/// sections 13.1.5 and 15.3.7). A value.
class Continuation {
 public:
  /// Byte `first` and what follows, of an object of `length` bytes with these fields, encoded as in
  /// its record. Nothing if they have no validator for If-Range.
  static std::optional<Continuation> Of(std::string_view stored_fields, std::uint64_t first,
                                        std::uint64_t length);

  /// Lines of the request's head, without CR LF.
  std::vector<std::string> RequestFields() const;
  /// Whether what follows a head with this status and these fields is the rest: a 206 that begins
  /// at `first`, of a whole of `length` bytes, and names the version itself, since an origin may
  /// not know If-Range. That the rest is all there the head does not promise.
  bool IsAnsweredBy(int status, std::span<const HttpField> fields) const;

 private:
  Continuation(std::string validator, std::uint64_t first, std::uint64_t length)
      : validator_(std::move(validator)), first_(first), length_(length) {}

  std::string validator_;
  std::uint64_t first_;
  std::uint64_t length_;
};

}  // namespace ds::ipc_proxy_cache
