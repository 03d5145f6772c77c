#include "udp_transfer/seal/sealer.h"

#include <gtest/gtest.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "tests/udp_transfer/hex.h"

namespace ds::udp_transfer {
namespace {

/// Allocations of OpenSSL, counted from the start of the program.
int openssl_allocations = 0;
const bool kCounting = [] {
  const int set = CRYPTO_set_mem_functions(
      [](std::size_t size, const char*, int) {
        ++openssl_allocations;
        return std::malloc(size);
      },
      [](void* old, std::size_t size, const char*, int) {
        ++openssl_allocations;
        return std::realloc(old, size);
      },
      [](void* old, const char*, int) { std::free(old); });
  CHECK(set == 1, "OpenSSL has allocated already");
  return true;
}();

constexpr std::size_t kHeader = 13;

class SealerTest : public ::testing::TestWithParam<bool> {
 protected:
  static KeySchedule Schedule() {
    return KeySchedule(GetParam() ? std::optional(std::string(32, 'k')) : std::nullopt);
  }
  static ConnectionKeys Keys(unsigned char random = 1) {
    Random client{};
    client[0] = std::byte{random};
    return Schedule().Derive(client, Random{});
  }

  /// A datagram with room for its tag.
  static std::vector<std::byte> Datagram(std::size_t frames, const Sealer& sealer) {
    std::vector<std::byte> bytes(kHeader + frames + sealer.tag_bytes());
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
    return bytes;
  }

  ConnectionKeys keys_ = Keys();
  Sealer out_{keys_.client_to_server};
  Sealer in_{keys_.client_to_server};
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutKey, SealerTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Key" : "NoKey"; });

TEST_P(SealerTest, OpensWhatWasSealed) {
  EXPECT_EQ(out_.tag_bytes(), GetParam() ? 16U : 8U);
  EXPECT_EQ(Sealer::TagBytes(GetParam()), out_.tag_bytes());
  std::uint64_t number = 0;
  for (const std::size_t frames : {0U, 1U, 15U, 16U, 17U, 1187U, 65'000U}) {
    const auto plain = Datagram(frames, out_);
    auto bytes = plain;
    out_.Seal(++number << 30U, kHeader, bytes);
    EXPECT_TRUE(std::equal(plain.begin(), plain.begin() + kHeader, bytes.begin()));
    if (frames > 15) {
      EXPECT_EQ(std::equal(plain.begin(), plain.end() - 16, bytes.begin()), !GetParam());
    }
    const auto opened = in_.Open(number << 30U, kHeader, bytes);
    ASSERT_TRUE(opened);
    ASSERT_EQ(opened->size(), kHeader + frames);
    EXPECT_EQ(opened->data(), bytes.data()) << "in place";
    EXPECT_TRUE(std::equal(opened->begin(), opened->end(), plain.begin()));
  }
}

TEST_P(SealerTest, AFlippedBitAnywhereIsFound) {
  auto sealed = Datagram(100, out_);
  out_.Seal(5, kHeader, sealed);
  for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    auto bytes = sealed;
    bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_FALSE(in_.Open(5, kHeader, bytes)) << bit;
  }
  EXPECT_TRUE(in_.Open(5, kHeader, sealed)) << "a failure does not spoil the next";
}

TEST_P(SealerTest, ACutOrLengthenedDatagramIsFound) {
  auto sealed = Datagram(100, out_);
  out_.Seal(5, kHeader, sealed);
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    std::vector<std::byte> bytes(sealed.begin(),
                                 sealed.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(in_.Open(5, kHeader, bytes)) << size;
  }
  sealed.push_back(std::byte{0});
  EXPECT_FALSE(in_.Open(5, kHeader, sealed));
}

TEST_P(SealerTest, AnotherNumberDirectionConnectionOrKeyIsFound) {
  auto sealed = Datagram(100, out_);
  out_.Seal(5, kHeader, sealed);
  const auto opens = [&](Sealer sealer, std::uint64_t number) {
    auto bytes = sealed;
    return sealer.Open(number, kHeader, bytes).has_value();
  };
  EXPECT_TRUE(opens(Sealer(keys_.client_to_server), 5));
  EXPECT_FALSE(opens(Sealer(keys_.client_to_server), 5 + (std::uint64_t{1} << 32U)));
  EXPECT_FALSE(opens(Sealer(keys_.client_to_server), 5 + (std::uint64_t{1} << 63U)));
  EXPECT_FALSE(opens(Sealer(keys_.server_to_client), 5));
  EXPECT_FALSE(opens(Sealer(Keys(2).client_to_server), 5));
  EXPECT_FALSE(opens(
      Sealer(KeySchedule(std::string(32, 'x')).Derive(Random{}, Random{}).client_to_server), 5));
}

TEST_P(SealerTest, ARepeatedDatagramOpensToTheSameBytes) {
  auto first = Datagram(100, out_);
  out_.Seal(5, kHeader, first);
  auto second = first;
  ASSERT_TRUE(in_.Open(5, kHeader, first));
  ASSERT_TRUE(in_.Open(5, kHeader, second));
  EXPECT_EQ(first, second);
}

TEST_P(SealerTest, EqualFramesUnderOtherNumbersLookEqualOnlyWithoutKey) {
  auto first = Datagram(100, out_);
  auto second = first;
  out_.Seal(5, kHeader, first);
  out_.Seal(6, kHeader, second);
  std::size_t equal = 0;
  for (std::size_t i = kHeader; i < kHeader + 100; ++i) equal += first[i] == second[i] ? 1U : 0U;
  if (GetParam()) {
    EXPECT_LT(equal, 10U);
  } else {
    EXPECT_EQ(equal, 100U);
  }
}

TEST_P(SealerTest, ADatagramCostsNoAllocation) {
  ASSERT_TRUE(kCounting);
  auto bytes = Datagram(1187, out_);
  out_.Seal(0, kHeader, bytes);
  ASSERT_TRUE(in_.Open(0, kHeader, bytes));
  const int before = openssl_allocations;
  for (std::uint64_t number = 1; number < 100; ++number) {
    out_.Seal(number, kHeader, bytes);
    ASSERT_TRUE(in_.Open(number, kHeader, bytes));
  }
  EXPECT_EQ(openssl_allocations, before);
}

/// Made by another implementation (Python's cryptography 48), so that the wire format stays.
TEST(SealerVectorTest, IsAesGcmWithTheNumberInTheNonce) {
  DirectionKey key;
  key.encrypted = true;
  for (std::size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<std::byte>(i);
  Sealer sealer(key);
  auto bytes = FromHex(
      "a00001020304050607000000090102030405"
      "00000000000000000000000000000000");
  sealer.Seal(0x100000009, kHeader, bytes);
  EXPECT_EQ(Hex(bytes), "a0000102030405060700000009ad23ba9a1506b7bbe9429e42feb8f29bbb64fcc16f");
}

}  // namespace
}  // namespace ds::udp_transfer
