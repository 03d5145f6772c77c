#include "udp_transfer/seal/cookie_jar.h"

#include <gtest/gtest.h>

#include "tests/udp_transfer/hex.h"

namespace ds::udp_transfer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const TimePoint kStart = TimePoint(seconds(1'000'000));

CookieSubject Subject() {
  CookieSubject subject;
  subject.connection_id = 0x0123456789abcdef;
  for (std::size_t i = 0; i < 16; ++i) subject.client_random[i] = static_cast<std::byte>(i);
  for (std::size_t i = 0; i < 16; ++i) subject.server_random[i] = static_cast<std::byte>(32 + i);
  for (std::size_t i = 0; i < 18; ++i) subject.address[i] = static_cast<std::byte>(64 + i);
  return subject;
}

TEST(CookieJarTest, ACookieIsGoodForSixtySeconds) {
  CookieJar jar;
  const auto cookie = jar.Make(Subject(), kStart);
  EXPECT_TRUE(jar.Check(cookie, Subject(), kStart));
  EXPECT_TRUE(jar.Check(cookie, Subject(), kStart + milliseconds(60'999)));
  EXPECT_FALSE(jar.Check(cookie, Subject(), kStart + seconds(61)));
  EXPECT_FALSE(jar.Check(cookie, Subject(), kStart + std::chrono::hours(24 * 365)));
  EXPECT_FALSE(jar.Check(cookie, Subject(), kStart - seconds(1))) << "from the future";
}

TEST(CookieJarTest, ACookieIsBoundToAddressConnectionAndBothRandoms) {
  CookieJar jar;
  const auto cookie = jar.Make(Subject(), kStart);
  for (std::size_t i = 0; i < 18; ++i) {
    CookieSubject other = Subject();
    other.address[i] ^= std::byte{1};
    EXPECT_FALSE(jar.Check(cookie, other, kStart)) << i;
  }
  for (std::size_t i = 0; i < 16; ++i) {
    CookieSubject other = Subject();
    other.client_random[i] ^= std::byte{1};
    EXPECT_FALSE(jar.Check(cookie, other, kStart)) << i;
    other = Subject();
    other.server_random[i] ^= std::byte{1};
    EXPECT_FALSE(jar.Check(cookie, other, kStart)) << i;
  }
  for (std::size_t i = 0; i < 64; ++i) {
    CookieSubject other = Subject();
    other.connection_id ^= std::uint64_t{1} << i;
    EXPECT_FALSE(jar.Check(cookie, other, kStart)) << i;
  }
}

TEST(CookieJarTest, EveryBitOfACookieCounts) {
  CookieJar jar;
  auto cookie = jar.Make(Subject(), kStart);
  for (std::size_t bit = 0; bit < 8 * cookie.size(); ++bit) {
    const auto mask = static_cast<std::byte>(1U << bit % 8);
    cookie[bit / 8] ^= mask;
    // Later too: a time that was moved forward must not make an old one young.
    EXPECT_FALSE(jar.Check(cookie, Subject(), kStart)) << bit;
    EXPECT_FALSE(jar.Check(cookie, Subject(), kStart + seconds(30))) << bit;
    cookie[bit / 8] ^= mask;
  }
  EXPECT_TRUE(jar.Check(cookie, Subject(), kStart));
}

TEST(CookieJarTest, AnotherProcessTakesNone) {
  CookieJar jar;
  CookieJar other;
  EXPECT_FALSE(other.Check(jar.Make(Subject(), kStart), Subject(), kStart));
  // The secret decides, not the object.
  const auto secret = FromHex("00112233");
  EXPECT_TRUE(
      CookieJar(secret).Check(CookieJar(secret).Make(Subject(), kStart), Subject(), kStart));
}

TEST(CookieJarTest, ACookieBeginsOneConnectionInItsLifetime) {
  CookieJar jar;
  const auto first = jar.Make(Subject(), kStart);
  CookieSubject next = Subject();
  next.server_random[0] ^= std::byte{1};
  const auto second = jar.Make(next, kStart);
  EXPECT_TRUE(jar.Redeem(first, kStart));
  EXPECT_FALSE(jar.Redeem(first, kStart));
  EXPECT_TRUE(jar.Redeem(second, kStart + seconds(1)));
  // As long as Check() takes it, Redeem() remembers it.
  for (auto now = kStart; jar.Check(first, Subject(), now); now += milliseconds(500)) {
    EXPECT_FALSE(jar.Redeem(first, now)) << ToSeconds(now - kStart);
  }
}

TEST(CookieJarTest, WhatItRemembersIsBoundedAndForgotten) {
  CookieJar jar;
  Cookie cookie{};
  const auto redeem = [&](std::size_t number, TimePoint now) {
    for (std::size_t i = 0; i < 4; ++i) cookie[i] = static_cast<std::byte>(number >> 8 * i);
    return jar.Redeem(cookie, now);
  };
  for (std::size_t i = 0; i < CookieJar::kRedeemedMax; ++i) ASSERT_TRUE(redeem(i, kStart));
  EXPECT_FALSE(redeem(CookieJar::kRedeemedMax, kStart + seconds(60)));
  EXPECT_TRUE(redeem(CookieJar::kRedeemedMax, kStart + seconds(62)));
}

}  // namespace
}  // namespace ds::udp_transfer
