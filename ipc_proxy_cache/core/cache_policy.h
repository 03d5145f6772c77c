#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "ipc_proxy_cache/core/stored_fields.h"

// What RFC 9111 lets a shared cache do with an origin's answers, as functions of them. The cache's
// clients only read (GET, HEAD), and everything is fetched by GET with the same few request fields,
// none of them a client's: no Cookie, no Accept-Language, and no directives of a client's
// Cache-Control, which RFC 9111 section 5.2.1 calls advisory.
//
// Not used: heuristic freshness (section 4.2.2). Where the origin says nothing the operator's `ttl`
// counts.

namespace ds::ipc_proxy_cache {

struct CachePolicyOptions {
  std::chrono::seconds ttl{60};            ///< freshness where the origin says nothing
  std::chrono::seconds negative_ttl{5};    ///< at most, for 404, 410, and 403 if it has a lifetime
  std::chrono::seconds stale_if_error{0};  ///< where the origin says nothing
};

/// One answer to a GET. Times are seconds since 1970 on the clock of this machine.
struct OriginAnswer {
  int status = 0;
  std::span<const HttpField> fields;
  std::int64_t requested_unix_s = 0;  ///< when the request left
  std::int64_t received_unix_s = 0;   ///< when the head was there
  bool authorized = false;            ///< the request had Authorization (section 3.5)
};

enum class Storing {
  kPass,   ///< nobody but the client it was fetched for
  kShare,  ///< also those that wait for it now; not kept, since it could never be used again
  kStore,
};

/// What becomes of an answer. It is fresh while its age is below `lifetime`, and its age was `age`
/// when it was received.
struct CacheDecision {
  Storing storing = Storing::kPass;
  const char* reason = "";       ///< why it is not stored, for a log; else empty
  bool negative = false;         ///< 404, 403, 410: no body is kept, and it is not revalidated
  bool must_revalidate = false;  ///< never stale (section 4.2.4), whatever fails
  std::chrono::seconds age{0};
  std::chrono::seconds lifetime{0};
  std::chrono::seconds stale_while_revalidate{0};  ///< behind the lifetime (RFC 5861 section 3)
  std::chrono::seconds stale_if_error{0};          ///< behind the lifetime (RFC 5861 section 4)

  friend bool operator==(const CacheDecision&, const CacheDecision&) = default;
};

/// Decides on a final answer: 200, 404, 403, 410; all others pass. Also on one of the redirects
/// that were followed to it (301, 302, 303, 307, 308), which has a lifetime of its own; see
/// Restrict().
CacheDecision DecideCaching(const OriginAnswer& answer, const CachePolicyOptions& options);

/// What holds for an answer that was reached through a redirect: what both allow.
CacheDecision Restrict(const CacheDecision& answer, const CacheDecision& redirect);

/// Whether a stored answer whose lifetime was over `stale_for` ago may still be served because the
/// origin fails (RFC 5861 section 4). `must_revalidate`: as decided when it was stored.
bool MayServeOnError(const StoredFieldsView& stored, bool must_revalidate,
                     std::chrono::nanoseconds stale_for, const CachePolicyOptions& options);

// ---- Validation.

/// The fields of a request that asks whether what is stored is still right (section 4.3.1); none if
/// there is no validator.
std::vector<OwnedHttpField> ConditionalFields(const StoredFieldsView& stored);

/// What If-Range may say (RFC 9110 section 13.1.5): a strong ETag, else a Last-Modified that is
/// strong because Date is later (section 8.8.2.2), else nothing.
std::optional<std::string> RangeValidator(const StoredFieldsView& stored);

/// What is stored, with the fields that a 304 brings (sections 3.2 and 4.3.4), and what holds now.
struct Refreshed {
  StoredFields fields;
  CacheDecision decision;
};
/// Nothing if the 304 is about another version (section 4.3.4), or the new fields do not fit: what
/// is stored is not to be used, and the origin to be asked without conditions. REQUIRES: status
/// 304.
std::optional<Refreshed> Refresh(const StoredFieldsView& stored, const OriginAnswer& not_modified,
                                 const CachePolicyOptions& options);

}  // namespace ds::ipc_proxy_cache
