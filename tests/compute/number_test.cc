#include "compute/core/number.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <vector>

#include "tests/compute/vectors.h"

namespace ds::compute {
namespace {

TEST(IsPrimeTest, AgreesWithTheSieve) {
  constexpr std::uint64_t kLimit = 200'000;
  std::vector<bool> composite(kLimit);
  for (std::uint64_t n = 2; n < kLimit; ++n) {
    EXPECT_EQ(IsPrime(n), !composite[n]) << n;
    for (std::uint64_t multiple = n * n; multiple < kLimit; multiple += n) {
      composite[multiple] = true;
    }
  }
  EXPECT_FALSE(IsPrime(std::uint64_t{0}));
  EXPECT_FALSE(IsPrime(std::uint64_t{1}));
}

TEST(IsPrimeTest, TheLargestPrimesBelow2To64AreFound) {
  // The distances of the ten largest primes below 2^64 (Caldwell, Primes just less than a power of
  // two).
  const std::vector<std::uint64_t> distances = {59, 83, 95, 179, 189, 257, 279, 323, 353, 363};
  std::size_t found = 0;
  for (std::uint64_t distance = 1; distance <= 363; ++distance) {
    const bool prime = IsPrime(-distance);
    EXPECT_EQ(prime, found < distances.size() && distances[found] == distance) << distance;
    found += prime ? 1 : 0;
  }
}

TEST(IsPrimeTest, ProductsOfLargePrimesAreComposite) {
  EXPECT_TRUE(IsPrime(std::uint64_t{4294967291}));
  EXPECT_FALSE(IsPrime(std::uint64_t{4294967291} * 4294967291));
  EXPECT_FALSE(IsPrime(std::uint64_t{4294967291} * 4294967279));
}

TEST(IsPrimeTest, AgreesWithMillerRabinByPlainDivisionAroundTheChangeOfBases) {
  // Written once more, slowly: with all twelve bases and the processor's own remainder.
  __extension__ using Wide = unsigned __int128;
  const auto slow = [](std::uint64_t n) {
    for (const std::uint64_t base :
         {2ULL, 3ULL, 5ULL, 7ULL, 11ULL, 13ULL, 17ULL, 19ULL, 23ULL, 29ULL, 31ULL, 37ULL}) {
      std::uint64_t power = 1;
      std::uint64_t square = base;
      for (std::uint64_t d = (n - 1) >> std::countr_zero(n - 1); d > 0; d >>= 1U) {
        if ((d & 1U) != 0) power = static_cast<std::uint64_t>(Wide{power} * square % n);
        square = static_cast<std::uint64_t>(Wide{square} * square % n);
      }
      bool passes = power == 1 || power == n - 1;
      for (int i = 1; i < std::countr_zero(n - 1) && !passes; ++i) {
        power = static_cast<std::uint64_t>(Wide{power} * power % n);
        passes = power == n - 1;
      }
      if (!passes) return false;
    }
    return true;
  };
  for (const std::uint64_t middle :
       {std::uint64_t{1} << 24U, std::uint64_t{1} << 32U, std::uint64_t{4'759'123'141},
        std::uint64_t{1} << 63U, std::uint64_t{3'825'123'056'546'413'051},
        ~std::uint64_t{0} - 1000}) {
    for (std::uint64_t n = (middle - 1000) | 1U; n < middle + 1000; n += 2) {
      EXPECT_EQ(IsPrime(n), slow(n)) << n;
    }
  }
}

TEST(IsPrimeTest, StrongPseudoprimesToSomeBasesAreComposite) {
  // To base 2; to 2 and 3; to 2, 3, 5; … to the first nine primes (Jaeschke 1993, and Jiang, Deng
  // 2014); and to 2, 7 and 61, where those alone do not suffice any more.
  for (const std::uint64_t n : {2047ULL, 1'373'653ULL, 25'326'001ULL, 3'215'031'751ULL,
                                2'152'302'898'747ULL, 3'474'749'660'383ULL, 341'550'071'728'321ULL,
                                3'825'123'056'546'413'051ULL, 4'759'123'141ULL}) {
    EXPECT_FALSE(IsPrime(std::uint64_t{n})) << n;
  }
}

TEST(NumberTest, TheVectorsHold) {
  const auto vectors = ReadVectors();
  ASSERT_GE(vectors["isprime"].size(), 50U);
  for (const auto& vector : vectors["isprime"]) {
    const auto number = ParseNumber(vector["text"].get<std::string>());
    EXPECT_EQ(number.ok(), !vector.contains("error")) << vector;
    if (!number.ok() || vector.contains("error")) continue;
    EXPECT_EQ(number->ToString(), vector["number"]) << vector;
    EXPECT_EQ(IsPrime(*number), vector["prime"]) << vector;
  }
  ASSERT_GE(vectors["gcd"].size(), 10U);
  for (const auto& vector : vectors["gcd"]) {
    const auto a = ParseNumber(vector["a"].get<std::string>());
    const auto b = ParseNumber(vector["b"].get<std::string>());
    EXPECT_EQ(a.ok() && b.ok(), !vector.contains("error")) << vector;
    if (!a.ok() || !b.ok()) continue;
    EXPECT_EQ(std::to_string(Gcd(a->magnitude, b->magnitude)), vector["gcd"]) << vector;
  }
}

TEST(NumberTest, BlanksAroundAreIgnored) {
  EXPECT_EQ(*ParseNumber(" \t42\r\n"), (Number{false, 42}));
  EXPECT_FALSE(ParseNumber("4 2").ok());
  EXPECT_FALSE(ParseNumber("- 42").ok());
}

TEST(NumberTest, TheMessageShowsTheTextEscapedAndCut) {
  EXPECT_EQ(Message(ParseNumber("a\x01").status()), "\"a\\x01\" is not a number");
  EXPECT_EQ(Message(ParseNumber("18446744073709551616").status()),
            "\"18446744073709551616\" is too large (numbers have 64 bits)");
  EXPECT_LT(Message(ParseNumber(std::string(100'000, 'x')).status()).size(), 100U);
}

}  // namespace
}  // namespace ds::compute
