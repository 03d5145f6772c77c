#include "getfile/front/send_budget.h"

#include <gtest/gtest.h>

namespace ds::getfile {
namespace {

constexpr std::uint64_t kTotal = 256U << 20U;

TEST(SendBudgetTest, TheFirstConnectionsMayFillMuch) {
  const SendBudget budget(kTotal, 65536);
  EXPECT_EQ(budget.InitialAllowance(), 2U << 20U);
  EXPECT_FALSE(budget.tight());
}

TEST(SendBudgetTest, PeersThatNeverReadTakeHalfOfTheBudgetAndAFloorEach) {
  SendBudget budget(kTotal, 65536);
  constexpr std::uint64_t kPeers = 10000;
  for (std::uint64_t i = 0; i < kPeers; ++i) budget.Recharge(0, budget.InitialAllowance());
  EXPECT_LE(budget.bytes_used(), kTotal / 2 + kPeers * budget.floor());
  EXPECT_EQ(budget.InitialAllowance(), budget.floor());
}

TEST(SendBudgetTest, PeersThatReadStillGrowBesidePeersThatDoNot) {
  SendBudget budget(kTotal, 65536);
  for (int i = 0; i < 2000; ++i) budget.Recharge(0, budget.InitialAllowance());
  std::uint64_t allowance = budget.InitialAllowance();
  for (int i = 0; i < 8; ++i) allowance = budget.GrownAllowance(allowance);
  EXPECT_EQ(allowance, SendBudget::kAllowanceMax);
}

TEST(SendBudgetTest, NobodyGrowsBeyondTheTotal) {
  SendBudget budget(kTotal, 65536);
  budget.Recharge(0, kTotal);
  EXPECT_TRUE(budget.tight());
  EXPECT_EQ(budget.GrownAllowance(65536), 65536U);
}

TEST(SendBudgetTest, WhatIsGivenBackCanBeUsedAgain) {
  SendBudget budget(kTotal, 65536);
  budget.Recharge(0, kTotal);
  budget.Recharge(kTotal, 100);
  EXPECT_EQ(budget.bytes_used(), 100U);
  budget.Recharge(100, 0);
  EXPECT_EQ(budget.InitialAllowance(), SendBudget(kTotal, 65536).InitialAllowance());
}

}  // namespace
}  // namespace ds::getfile
