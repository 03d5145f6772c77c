#include "common/base/check.h"

#include <gtest/gtest.h>

#include <string>

namespace ds {
namespace {

TEST(CheckTest, ConditionIsEvaluatedOnce) {
  int evaluated = 0;
  CHECK(++evaluated == 1);
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckTest, DetailOfACheckThatHoldsIsNotMade) {
  bool made = false;
  const auto detail = [&] {
    made = true;
    return std::string("detail");
  };
  CHECK(::testing::UnitTest::GetInstance() != nullptr, detail());
  EXPECT_FALSE(made);
}

TEST(CheckDeathTest, FailureNamesPlaceConditionAndDetail) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(CHECK(1 > 2, "the world is upside down"),
               "check_test.cc:[0-9]+: CHECK failed: 1 > 2: the world is upside down");
  EXPECT_DEATH(CHECK(1 > 2), "CHECK failed: 1 > 2\n");
}

}  // namespace
}  // namespace ds
