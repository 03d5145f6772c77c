#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <span>
#include <utility>

#include "common/base/time.h"
#include "udp_transfer/core/hello.h"
#include "udp_transfer/seal/hmac.h"
#include "udp_transfer/seal/key_schedule.h"

namespace ds::udp_transfer {

/// What a cookie is bound to. `address` is opaque: 16 bytes of an IPv6(-mapped) address and 2 of
/// the port.
struct CookieSubject {
  std::array<std::byte, 18> address{};
  std::uint64_t connection_id = 0;
  Random client_random{};
  Random server_random{};
};

/// A server's address validation: cookies that cost it no memory until somebody comes back with
/// one. The secret is drawn when the jar is made, so that cookies end with the process. Owned by
/// the server's driver thread; not thread-safe.
///
///   on a hello:     FillRandom(subject.server_random); cookie = jar.Make(subject, now);
///   on an initial:  jar.Check(cookie, subject, now), then derive keys and open the datagram, then,
///                   if it would begin a new connection, jar.Redeem(cookie, now).
class CookieJar {
 public:
  static constexpr Duration kLifetime = std::chrono::seconds(60);
  /// Cookies redeemed within one lifetime: as many connections can begin in a minute.
  static constexpr std::size_t kRedeemedMax = 65'536;

  CookieJar();
  /// With a secret from elsewhere, for tests. REQUIRES: not empty.
  explicit CookieJar(std::span<const std::byte> secret) : hmac_(secret) {}

  Cookie Make(const CookieSubject& subject, TimePoint now);
  /// Made by this jar, for this subject, at most 60 s ago.
  bool Check(const Cookie& cookie, const CookieSubject& subject, TimePoint now);
  /// False if the cookie has begun a connection before: a repeated initial packet begins none when
  /// the first one is over, which would use the same keys again. False, too, when kRedeemedMax are
  /// remembered. REQUIRES: Check() of this cookie at this time.
  bool Redeem(const Cookie& cookie, TimePoint now);

 private:
  HelloSeal hmac_;
  std::set<Cookie> redeemed_;
  std::deque<std::pair<TimePoint, Cookie>> redeemed_in_order_;
};

}  // namespace ds::udp_transfer
