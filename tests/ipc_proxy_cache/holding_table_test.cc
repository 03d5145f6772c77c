#include "ipc_proxy_cache/core/holding_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(HoldingTableTest, RetiredMemfdCountsOnceUntilItsLastHolderLetsGo) {
  HoldingTable table;
  table.Hold(2, 10);
  table.Hold(1, 10);
  table.Hold(1, 10);
  table.Hold(1, 11);
  EXPECT_EQ(table.retired_bytes(), 0U);
  EXPECT_THAT(table.Retire(10, 4096), ElementsAre(1, 2));
  EXPECT_EQ(table.retired_bytes(), 4096U);
  EXPECT_TRUE(table.Release(1, 10));
  EXPECT_EQ(table.retired_bytes(), 4096U);
  EXPECT_FALSE(table.Release(1, 10)) << "it has said so before";
  EXPECT_TRUE(table.Release(2, 10));
  EXPECT_EQ(table.retired_bytes(), 0U);
}

TEST(HoldingTableTest, EndOfALinkReleasesAllItHeld) {
  HoldingTable table;
  table.Hold(1, 10);
  table.Hold(1, 11);
  table.Hold(2, 11);
  table.Retire(10, 100);
  table.Retire(11, 1000);
  table.EndLink(1);
  EXPECT_EQ(table.retired_bytes(), 1000U);
  table.EndLink(2);
  table.EndLink(3);
  EXPECT_EQ(table.retired_bytes(), 0U);
  EXPECT_FALSE(table.Holds(1, 10));
}

TEST(HoldingTableTest, WhatNobodyHoldsIsGoneAtOnce) {
  HoldingTable table;
  EXPECT_THAT(table.Retire(10, 100), IsEmpty());
  table.Hold(1, 11);
  table.Release(1, 11);
  EXPECT_THAT(table.Retire(11, 100), IsEmpty());
  EXPECT_EQ(table.retired_bytes(), 0U);
}

TEST(HoldingTableTest, RetiredMemfdIsNotHandedOut) {
  HoldingTable table;
  table.Hold(1, 10);
  table.Retire(10, 100);
  EXPECT_DEATH(table.Hold(2, 10), "retired");
  EXPECT_DEATH(table.Retire(10, 100), "retired");
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
