#include "ipc_proxy_cache/core/cache_policy.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "getfile/core/http_text.h"
#include "ipc_proxy_cache/core/cache_control.h"

namespace ds::ipc_proxy_cache {
namespace {

using getfile::EqualsIgnoringCase;
using std::chrono::seconds;

constexpr seconds kNone{0};
constexpr seconds kSecondsMax{std::int64_t{1} << 31U};
/// Request fields that are not the same in each request to an origin.
constexpr std::string_view kChangingRequestFields[] = {"if-modified-since", "if-none-match",
                                                       "if-range", "range"};

template <typename Visit>
void ForEachValue(std::span<const HttpField> fields, std::string_view name, Visit visit) {
  for (const HttpField& field : fields) {
    if (EqualsIgnoringCase(field.name, name)) visit(getfile::TrimOws(field.value));
  }
}

/// Kept within what the sums below can bear.
std::int64_t ClampedTime(std::int64_t unix_s) {
  return std::clamp<std::int64_t>(unix_s, 0, std::int64_t{1} << 48U);
}

/// Section 5.2.2. Pragma is none of HTTP's response fields (section 5.4); servers that send it for
/// no-cache mean what they say, and it counts where Cache-Control is missing.
CacheControl ReadCacheControl(std::span<const HttpField> fields) {
  CacheControl control;
  bool present = false;
  ForEachValue(fields, "cache-control", [&](std::string_view value) {
    control.Add(value);
    present = true;
  });
  if (!present) {
    ForEachValue(fields, "pragma", [&](std::string_view value) {
      getfile::ForEachElement(value, [&](std::string_view element) {
        control.no_cache |= EqualsIgnoringCase(element, "no-cache");
      });
    });
  }
  return control;
}

/// Section 4.1. All requests to an origin are alike but for the fields above, so what an answer was
/// chosen by is the same in the next request, unless it is one of those, or anything at all ("*").
bool VaryIsSatisfied(const OriginAnswer& answer) {
  bool satisfied = true;
  ForEachValue(answer.fields, "vary", [&](std::string_view value) {
    getfile::ForEachElement(value, [&](std::string_view name) {
      satisfied &= getfile::IsToken(name) && name != "*";
      for (const std::string_view changing : kChangingRequestFields) {
        satisfied &= !EqualsIgnoringCase(name, changing);
      }
      // Proxies with different credentials share one cache.
      satisfied &= !(answer.authorized && EqualsIgnoringCase(name, "authorization"));
    });
  });
  return satisfied;
}

/// When the origin made the answer, else when it was received (RFC 9110 section 6.6.1).
std::int64_t DateOf(const OriginAnswer& answer) {
  const auto field = FindField(answer.fields, "date");
  const auto date = field ? ParseFieldDate(*field) : std::nullopt;
  return date.value_or(ClampedTime(answer.received_unix_s));
}

/// Sections 4.2.3 and 5.1. An Age that cannot be read is ignored; of several the largest counts.
seconds AgeOf(const OriginAnswer& answer) {
  const std::int64_t received = ClampedTime(answer.received_unix_s);
  const std::int64_t delay =
      std::max(received - ClampedTime(answer.requested_unix_s), std::int64_t{0});
  seconds age_value = kNone;
  ForEachValue(answer.fields, "age", [&](std::string_view value) {
    age_value = std::max(age_value, ParseDeltaSeconds(value).value_or(kNone));
  });
  const seconds apparent_age{std::max(received - DateOf(answer), std::int64_t{0})};
  return std::min(std::max(apparent_age, age_value + seconds(delay)), kSecondsMax);
}

/// Section 4.2.1: what the origin says. Nothing when it says nothing. Of several Expires the
/// earliest counts, and one that cannot be read is in the past (section 5.3).
std::optional<seconds> ExplicitLifetime(const OriginAnswer& answer, const CacheControl& control) {
  if (control.s_maxage) return control.s_maxage;
  if (control.max_age) return control.max_age;
  std::optional<seconds> lifetime;
  ForEachValue(answer.fields, "expires", [&](std::string_view value) {
    const auto expires = ParseFieldDate(value);
    const seconds read =
        expires ? std::clamp(seconds(*expires - DateOf(answer)), kNone, kSecondsMax) : kNone;
    lifetime = std::min(lifetime.value_or(read), read);
  });
  return lifetime;
}

bool IsNegative(int status) { return status == 403 || status == 404 || status == 410; }

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// Whether an answer may be kept that says nothing about it (RFC 9110 section 15.1).
bool IsHeuristicallyCacheable(int status) {
  return status == 200 || status == 301 || status == 308 || status == 404 || status == 410;
}

/// Section 3: why it may not be stored, else null.
const char* WhyNotStorable(const OriginAnswer& answer, const CacheControl& control) {
  if (answer.status != 200 && !IsNegative(answer.status) && !IsRedirect(answer.status)) {
    return "a status that is not stored";
  }
  if (control.malformed) return "a Cache-Control that is malformed";
  // Section 5.2.2.3: must-understand is for those that know the status, as we do here.
  if (control.no_store && !control.must_understand) return "no-store";
  if (control.is_private) return "private";
  if (answer.authorized && !control.is_public && !control.must_revalidate && !control.s_maxage) {
    return "an authorized request";
  }
  if (!VaryIsSatisfied(answer)) return "Vary";
  return nullptr;
}

seconds StaleIfError(const CacheControl& control, const CachePolicyOptions& options) {
  return control.stale_if_error.value_or(options.stale_if_error);
}

std::string_view WithoutWeakPrefix(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  return etag;
}

/// Section 4.3.4: whether a 304 is about the stored version. One without validators is, since there
/// is one stored version only.
bool IsAboutStored(const StoredFieldsView& stored, const StoredFieldsView& update) {
  if (!update.etag.empty()) {
    if (update.etag.starts_with("W/")) {
      return WithoutWeakPrefix(update.etag) == WithoutWeakPrefix(stored.etag);
    }
    return update.etag == stored.etag;
  }
  return update.last_modified.empty() || update.last_modified == stored.last_modified;
}

/// Section 3.2: not changed by a 304, since the stored body depends on them.
bool IsOfBody(std::string_view name) {
  return EqualsIgnoringCase(name, "content-encoding") || EqualsIgnoringCase(name, "content-type");
}

}  // namespace

CacheDecision DecideCaching(const OriginAnswer& answer, const CachePolicyOptions& options) {
  const CacheControl control = ReadCacheControl(answer.fields);
  CacheDecision decision;
  decision.negative = IsNegative(answer.status);
  if (const char* const why = WhyNotStorable(answer, control)) {
    decision.reason = why;
    return decision;
  }
  const StoredFields kept = KeepFields(answer.status, answer.received_unix_s, answer.fields);
  if (!EncodeStoredFields(View(kept))) {
    decision.reason = "a head that is too large";
    return decision;
  }
  decision.storing = Storing::kShare;
  decision.age = AgeOf(answer);
  const auto explicit_lifetime = ExplicitLifetime(answer, control);
  if (!explicit_lifetime && !control.is_public && !IsHeuristicallyCacheable(answer.status)) {
    decision.reason = "a status that is stored only with a lifetime";
    return decision;
  }
  if (decision.negative) {
    // Who says that everything may be kept for a year seldom means what is not there.
    decision.lifetime =
        std::min(explicit_lifetime.value_or(options.negative_ttl), options.negative_ttl);
    decision.must_revalidate = true;
  } else {
    decision.lifetime = explicit_lifetime.value_or(options.ttl);
    // Section 5.2.2.10: s-maxage is proxy-revalidate too.
    decision.must_revalidate = control.no_cache || control.must_revalidate ||
                               control.proxy_revalidate || control.s_maxage.has_value();
  }
  if (control.no_cache) decision.lifetime = kNone;
  if (!decision.must_revalidate) {
    decision.stale_while_revalidate = control.stale_while_revalidate.value_or(kNone);
    decision.stale_if_error = StaleIfError(control, options);
  }
  const bool has_validator =
      !decision.negative && !(kept.etag.empty() && kept.last_modified.empty());
  const seconds usable =
      decision.lifetime + std::max(decision.stale_while_revalidate, decision.stale_if_error);
  if (usable <= decision.age && !has_validator && !IsRedirect(answer.status)) {
    decision.reason = "stale from the beginning, without a validator";
    return decision;
  }
  decision.storing = Storing::kStore;
  return decision;
}

CacheDecision Restrict(const CacheDecision& answer, const CacheDecision& redirect) {
  CacheDecision both = answer;
  if (redirect.storing < both.storing) {
    both.storing = redirect.storing;
    both.reason = redirect.reason;
  }
  both.must_revalidate |= redirect.must_revalidate;
  // What is left of each lifetime counts, not its length: the redirect may be older.
  both.lifetime =
      std::min(answer.lifetime, answer.age + std::max(kNone, redirect.lifetime - redirect.age));
  both.stale_while_revalidate =
      std::min(answer.stale_while_revalidate, redirect.stale_while_revalidate);
  both.stale_if_error = std::min(answer.stale_if_error, redirect.stale_if_error);
  return both;
}

bool MayServeOnError(const StoredFieldsView& stored, bool must_revalidate,
                     std::chrono::nanoseconds stale_for, const CachePolicyOptions& options) {
  if (must_revalidate) return false;
  const std::vector<HttpField> fields = ListFields(stored);
  return stale_for < StaleIfError(ReadCacheControl(fields), options);
}

std::vector<OwnedHttpField> ConditionalFields(const StoredFieldsView& stored) {
  std::vector<OwnedHttpField> fields;
  if (!stored.etag.empty()) fields.push_back({"If-None-Match", std::string(stored.etag)});
  if (!stored.last_modified.empty()) {
    fields.push_back({"If-Modified-Since", std::string(stored.last_modified)});
  }
  return fields;
}

std::optional<std::string> RangeValidator(const StoredFieldsView& stored) {
  if (!stored.etag.empty() && !stored.etag.starts_with("W/")) return std::string(stored.etag);
  const auto modified = ParseFieldDate(stored.last_modified);
  if (modified && *modified < stored.date_unix_s) return std::string(stored.last_modified);
  return std::nullopt;
}

std::optional<Refreshed> Refresh(const StoredFieldsView& stored, const OriginAnswer& not_modified,
                                 const CachePolicyOptions& options) {
  CHECK(not_modified.status == 304);
  const StoredFields update = KeepFields(304, not_modified.received_unix_s, not_modified.fields);
  if (!EncodeStoredFields(View(update))) return std::nullopt;  // too much to go through
  if (!IsAboutStored(stored, View(update))) return std::nullopt;
  const std::vector<HttpField> brought = ListFields(View(update));

  // Stored fields whose name the 304 has go, the 304's come.
  std::vector<HttpField> merged;
  for (const HttpField& field : ListFields(stored)) {
    if (IsOfBody(field.name) || !FindField(brought, field.name)) merged.push_back(field);
  }
  for (const HttpField& field : brought) {
    if (!IsOfBody(field.name)) merged.push_back(field);
  }
  Refreshed refreshed;
  refreshed.fields = KeepFields(stored.status, not_modified.received_unix_s, merged);
  refreshed.fields.date_unix_s = update.date_unix_s;
  if (!EncodeStoredFields(View(refreshed.fields))) return std::nullopt;

  // Age and Date are the 304's own, and are not among what is kept.
  for (const HttpField& field : not_modified.fields) {
    if (EqualsIgnoringCase(field.name, "age") || EqualsIgnoringCase(field.name, "date")) {
      merged.push_back(field);
    }
  }
  OriginAnswer combined = not_modified;
  combined.status = stored.status;
  combined.fields = merged;
  refreshed.decision = DecideCaching(combined, options);
  return refreshed;
}

}  // namespace ds::ipc_proxy_cache
