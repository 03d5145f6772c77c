#include "udp_transfer/seal/key_schedule.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/udp_transfer/hex.h"
#include "udp_transfer/seal/hmac.h"

namespace ds::udp_transfer {
namespace {

std::string Text(std::string_view digits) {
  const auto bytes = FromHex(digits);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(HkdfTest, GivesTheVectorsOfRfc5869) {
  const struct {
    std::string_view input, salt, info, output;
  } kCases[] = {
      {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
       "f0f1f2f3f4f5f6f7f8f9",
       "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
      {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2"
       "d"
       "2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
       "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8"
       "d"
       "8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
       "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcd"
       "d"
       "dedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
       "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e5"
       "9"
       "0e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
      {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
       "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
  };
  for (const auto& c : kCases) {
    std::vector<std::byte> out(c.output.size() / 2);
    HkdfSha256(FromHex(c.input), FromHex(c.salt), Text(c.info), out);
    EXPECT_EQ(Hex(out), c.output);
  }
}

/// All that a connection derives, each once.
std::set<std::string> KeysOf(const ConnectionKeys& keys) {
  std::set<std::string> all{Hex(keys.client_to_server.bytes), Hex(keys.server_to_client.bytes)};
  if (keys.digest) all.insert(Hex(*keys.digest));
  return all;
}

TEST(KeyScheduleTest, EveryDirectionAndEveryConnectionHasKeysOfItsOwn) {
  const Random zero{};
  Random one{};
  one[15] = std::byte{1};
  std::set<std::string> all;
  std::size_t keys = 0;
  for (const auto& key :
       {std::optional<std::string>("0123456789abcdef"),
        std::optional<std::string>("0123456789abcdeg"), std::optional<std::string>()}) {
    const KeySchedule schedule(key);
    EXPECT_EQ(schedule.has_key(), key.has_value());
    all.insert(Hex(schedule.hello_key()));
    ++keys;
    for (const auto& [client, server] :
         {std::pair(zero, zero), std::pair(zero, one), std::pair(one, zero), std::pair(one, one)}) {
      const auto derived = schedule.Derive(client, server);
      EXPECT_EQ(derived.client_to_server.encrypted, key.has_value());
      EXPECT_EQ(derived.server_to_client.encrypted, key.has_value());
      EXPECT_EQ(derived.digest.has_value(), key.has_value());
      const auto some = KeysOf(derived);
      keys += key ? 3U : 2U;
      all.insert(some.begin(), some.end());
      EXPECT_EQ(KeysOf(schedule.Derive(client, server)), some) << "both ends derive the same";
    }
  }
  EXPECT_EQ(all.size(), keys);
}

TEST(HmacTest, GivesTheVectorsOfRfc4231) {
  Hmac hmac(FromHex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"));
  const std::string expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
  hmac.Update(AsBytes("Hi There"));
  EXPECT_EQ(Hex(hmac.Finish()), expected);
  // A context is used again, and copied in the middle.
  hmac.Update(AsBytes("Hi "));
  Hmac copy(hmac);
  hmac.Update(AsBytes("There"));
  EXPECT_EQ(Hex(hmac.Finish()), expected);
  copy.Update(AsBytes("There"));
  EXPECT_EQ(Hex(copy.Finish()), expected);
  Hmac jefe(AsBytes("Jefe"));
  jefe.Update(AsBytes("what do ya want for nothing?"));
  EXPECT_EQ(Hex(jefe.Finish()), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(HelloTagTest, MatchesTheMessageItWasMadeOfAndNoOther) {
  const KeySchedule schedule(std::string(16, 'k'));
  HelloSeal tags(schedule.hello_key());
  std::vector<std::byte> message(100, std::byte{7});
  std::array<std::byte, kHelloTagBytes> tag;
  tags.Write(message, tag);
  EXPECT_TRUE(tags.Matches(message, tag));
  EXPECT_TRUE(HelloSeal(schedule.hello_key()).Matches(message, tag));
  EXPECT_FALSE(HelloSeal(KeySchedule(std::nullopt).hello_key()).Matches(message, tag));
  EXPECT_FALSE(tags.Matches(std::span(message).first(99), tag));
  for (std::byte& byte : message) {
    byte ^= std::byte{0x10};
    EXPECT_FALSE(tags.Matches(message, tag));
    byte ^= std::byte{0x10};
  }
  for (std::byte& byte : tag) {
    byte ^= std::byte{0x10};
    EXPECT_FALSE(tags.Matches(message, tag));
    byte ^= std::byte{0x10};
  }
}

}  // namespace
}  // namespace ds::udp_transfer
