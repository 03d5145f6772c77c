#include "udp_transfer/core/hello.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "common/base/parse.h"

namespace ds::udp_transfer {
namespace {

template <std::size_t kBytes>
std::array<std::byte, kBytes> Counting(unsigned first) {
  std::array<std::byte, kBytes> bytes{};
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(first++);
  return bytes;
}

template <typename Bytes>
std::string_view Text(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Hello SomeHello() {
  return {.first_version = 1,
          .last_version = 2,
          .connection_id = 0x0102030405060708,
          .client_random = Counting<16>(0xA0),
          .tag = Counting<16>(0xF0)};
}

std::string EncodedHello() {
  std::array<std::byte, kHelloBytes> bytes{};
  EncodeHello(SomeHello(), bytes);
  return std::string(Text(bytes));
}

TEST(HelloTest, IsTextOfTwelveHundredBytes) {
  const std::string hello = EncodedHello();
  ASSERT_EQ(hello.size(), 1200U);
  EXPECT_EQ(hello.substr(0, 92),
            "f | 0 | 01020102030405060708a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  EXPECT_EQ(hello.substr(92), std::string(1200 - 92, ' '));
}

TEST(HelloTest, IsReadBack) {
  EXPECT_EQ(DecodeHello(Bytes(EncodedHello())), SomeHello());
  EXPECT_EQ(ToHex(Text(TaggedHelloBytes(SomeHello()))), EncodedHello().substr(8, 52));
}

TEST(HelloTest, MalformedHellosAreRefused) {
  const auto with = [](std::size_t at, std::string_view text) {
    return EncodedHello().replace(at, text.size(), text);
  };
  const struct {
    const char* what;
    std::string datagram;
  } cases[] = {
      {"empty", ""},
      {"one byte short", EncodedHello().substr(0, 1199)},
      {"one byte long", EncodedHello() + " "},
      {"another letter", with(0, "g")},
      {"another number", with(4, "1")},
      {"another separator", with(1, "||")},
      {"capital digits", with(20, "A")},
      {"no digit", with(91, "x")},
      {"a zero byte for a digit", with(50, std::string_view("\0", 1))},
      {"something behind", with(1199, ".")},
      {"digits that go on", with(92, "0")},
      {"versions in the wrong order", with(8, "0302")},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(DecodeHello(Bytes(each.datagram)), std::nullopt) << each.what;
  }
}

TEST(HelloTest, WhatBeginsLikeAHelloIsToldFromClassicMessages) {
  EXPECT_TRUE(LooksLikeHello(Bytes("f | 0 | ")));
  EXPECT_TRUE(LooksLikeHello(Bytes("f | 0 | zz")));
  for (const char* text : {"", "f | 0 |", "f | 1 | ", "s | 0 | f | 0 | ", "d | 0 | x"}) {
    EXPECT_FALSE(LooksLikeHello(Bytes(text))) << text;
  }
}

TEST(CookieMessageTest, IsReadBackFromItsSeventyEightBytes) {
  const CookieMessage message{.version = 1,
                              .connection_id = 0x1112131415161718,
                              .client_random_begin = Counting<8>(0x20),
                              .server_random = Counting<16>(0x30),
                              .cookie = Counting<24>(0x40),
                              .receive_window = 0x01020304,
                              .tag = Counting<16>(0x60)};
  std::array<std::byte, kCookieDatagramBytes> bytes{};
  EncodeCookie(message, bytes);
  EXPECT_EQ(ToHex(Text(bytes)),
            "8001"
            "1112131415161718"
            "2021222324252627"
            "303132333435363738393a3b3c3d3e3f"
            "404142434445464748494a4b4c4d4e4f5051525354555657"
            "01020304"
            "606162636465666768696a6b6c6d6e6f");
  EXPECT_EQ(DecodeCookie(bytes), message);

  EXPECT_EQ(DecodeCookie(std::span(bytes).first(77)), std::nullopt);
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.push_back({});
  EXPECT_EQ(DecodeCookie(longer), std::nullopt);
  bytes[0] = std::byte{0x81};
  EXPECT_EQ(DecodeCookie(bytes), std::nullopt);
  EXPECT_EQ(DecodeCookie({}), std::nullopt);
}

TEST(ResetTest, IsReadBackFromItsTwentyFiveBytes) {
  const Reset reset{.connection_id = 0x1112131415161718, .tag = Counting<16>(0x60)};
  std::array<std::byte, kResetBytes> bytes{};
  EncodeReset(reset, bytes);
  EXPECT_EQ(ToHex(Text(bytes)), "b01112131415161718606162636465666768696a6b6c6d6e6f");
  EXPECT_EQ(DecodeReset(bytes), reset);
  EXPECT_EQ(DecodeReset(std::span(bytes).first(24)), std::nullopt);
  bytes[0] = std::byte{0xA0};
  EXPECT_EQ(DecodeReset(bytes), std::nullopt);
  EXPECT_EQ(DecodeReset({}), std::nullopt);
}

TEST(RefusalTest, IsReadBackFromItsTwentySixBytes) {
  const Refusal refusal{.connection_id = 0x1112131415161718,
                        .reason = RefusalReason::kShutdown,
                        .tag = Counting<16>(0x60)};
  std::array<std::byte, kRefusalBytes> bytes{};
  EncodeRefusal(refusal, bytes);
  EXPECT_EQ(ToHex(Text(bytes)), "c0111213141516171802606162636465666768696a6b6c6d6e6f");
  EXPECT_EQ(DecodeRefusal(bytes), refusal);
  EXPECT_EQ(DecodeRefusal(std::span(bytes).first(25)), std::nullopt);
  for (const int reason : {0, 3, 255}) {
    bytes[9] = static_cast<std::byte>(reason);
    EXPECT_EQ(DecodeRefusal(bytes), std::nullopt) << reason;
  }
  bytes[9] = std::byte{1};
  EXPECT_TRUE(DecodeRefusal(bytes).has_value());
  bytes[0] = std::byte{0xB0};
  EXPECT_EQ(DecodeRefusal(bytes), std::nullopt);
  EXPECT_EQ(DecodeRefusal({}), std::nullopt);
}

}  // namespace
}  // namespace ds::udp_transfer
