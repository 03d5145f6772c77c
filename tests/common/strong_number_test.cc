#include "common/base/strong_number.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <type_traits>
#include <unordered_set>

namespace ds {
namespace {

using Apples = StrongNumber<struct ApplesTag>;
using Pears = StrongNumber<struct PearsTag>;

static_assert(!std::is_convertible_v<std::uint64_t, Apples>);
static_assert(!std::is_convertible_v<Apples, std::uint64_t>);
static_assert(!std::is_convertible_v<Apples, Pears>);
static_assert(!std::is_constructible_v<Apples, Pears>);
static_assert(std::is_trivially_copyable_v<Apples> && sizeof(Apples) == sizeof(std::uint64_t));

TEST(StrongNumber, BeginsAtZero) { EXPECT_EQ(Apples().value(), 0U); }

TEST(StrongNumber, IsOrderedAsItsValue) {
  EXPECT_LT(Apples(1), Apples(2));
  EXPECT_GT(Apples(std::numeric_limits<std::uint64_t>::max()), Apples(2));
  EXPECT_EQ(Apples(7), Apples(7));
  EXPECT_NE(Apples(7), Apples(8));
}

TEST(StrongNumber, StepsAndDistancesAreCounted) {
  Apples number(5);
  EXPECT_EQ(++number, Apples(6));
  EXPECT_EQ(number + 4, Apples(10));
  EXPECT_EQ(number - 6, Apples(0));
  EXPECT_EQ(Apples(10) - Apples(4), 6U);
}

TEST(StrongNumberDeathTest, ThereIsNothingBelowZero) {
  EXPECT_DEATH(Apples(3) - 4, "n <= number");
  EXPECT_DEATH(Apples(3) - Apples(4), "b <= a");
}

TEST(StrongNumber, IsAKeyAndCanBePrinted) {
  const std::map<Apples, int> ordered = {{Apples(2), 2}, {Apples(1), 1}};
  EXPECT_EQ(ordered.begin()->second, 1);
  const std::unordered_set<Apples> unordered = {Apples(2), Apples(2), Apples(3)};
  EXPECT_EQ(unordered.size(), 2U);
  EXPECT_EQ(fmt::format("{} {:04}", Apples(12), Apples(7)), "12 0007");
}

}  // namespace
}  // namespace ds
