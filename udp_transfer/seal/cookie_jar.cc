#include "udp_transfer/seal/cookie_jar.h"

#include <algorithm>

#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kTimeBytes = 8;

std::uint64_t SecondsIn(Duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

/// All fields have fixed lengths: no two subjects give the same bytes.
std::array<std::byte, 8 + 8 + 16 + 16 + 18> Message(const CookieSubject& subject,
                                                    std::span<const std::byte> time) {
  std::array<std::byte, 66> message;
  std::copy(time.begin(), time.end(), message.begin());
  WireWriter(std::span(message).subspan<8, 8>()).Number(subject.connection_id, 8);
  std::copy(subject.client_random.begin(), subject.client_random.end(), message.begin() + 16);
  std::copy(subject.server_random.begin(), subject.server_random.end(), message.begin() + 32);
  std::copy(subject.address.begin(), subject.address.end(), message.begin() + 48);
  return message;
}

HelloSeal FreshTag() {
  std::array<std::byte, 32> secret;
  FillRandom(secret);
  return HelloSeal(secret);
}

}  // namespace

CookieJar::CookieJar() : hmac_(FreshTag()) {}

Cookie CookieJar::Make(const CookieSubject& subject, TimePoint now) {
  Cookie cookie;
  const std::span out(cookie);
  WireWriter(out).Number(SecondsIn(now.time_since_epoch()), kTimeBytes);
  hmac_.Write(Message(subject, out.first<kTimeBytes>()), out.last<kHelloTagBytes>());
  return cookie;
}

bool CookieJar::Check(const Cookie& cookie, const CookieSubject& subject, TimePoint now) {
  const std::span in(cookie);
  const std::uint64_t made = WireReader(in).Number(kTimeBytes);
  // One from the future wraps around to a great age.
  const std::uint64_t age = SecondsIn(now.time_since_epoch()) - made;
  if (age > SecondsIn(kLifetime)) return false;
  return hmac_.Matches(Message(subject, in.first<kTimeBytes>()), in.last<kHelloTagBytes>());
}

bool CookieJar::Redeem(const Cookie& cookie, TimePoint now) {
  // A second more than the lifetime: ages are counted in whole seconds.
  while (!redeemed_in_order_.empty() &&
         now - redeemed_in_order_.front().first > kLifetime + std::chrono::seconds(1)) {
    redeemed_.erase(redeemed_in_order_.front().second);
    redeemed_in_order_.pop_front();
  }
  if (redeemed_.size() >= kRedeemedMax || !redeemed_.insert(cookie).second) return false;
  redeemed_in_order_.emplace_back(now, cookie);
  return true;
}

}  // namespace ds::udp_transfer
