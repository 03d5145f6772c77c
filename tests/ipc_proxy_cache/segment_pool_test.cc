#include "ipc_proxy_cache/core/segment_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Grant = SegmentPool::Grant;
using Lease = SegmentPool::Lease;
using Return = SegmentPool::Return;

constexpr std::uint64_t kLink = 5;

TEST(SegmentPoolTest, ThoseWhoWaitAreServedInTheirOrder) {
  SegmentPool pool(1);
  const auto first = pool.Acquire(1);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(pool.Acquire(2).has_value());
  EXPECT_FALSE(pool.Acquire(3).has_value());
  EXPECT_FALSE(pool.Acquire(4).has_value());
  EXPECT_TRUE(pool.CancelWait(3));
  EXPECT_FALSE(pool.CancelWait(3));
  const auto second = pool.Release(*first);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->waiter, 2U);
  const auto third = pool.Release(second->lease);
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->waiter, 4U);
  EXPECT_EQ(pool.Release(third->lease), std::nullopt);
  EXPECT_EQ(pool.free(), 1U);
}

TEST(SegmentPoolTest, TokenOfALeaseIsNeverUsedAgain) {
  SegmentPool pool(2);
  std::set<std::uint64_t> tokens;
  for (int i = 0; i < 100; ++i) {
    const Lease lease = *pool.Acquire(1);
    EXPECT_NE(lease.token, 0U);
    EXPECT_TRUE(tokens.insert(lease.token).second);
    pool.Release(lease);
  }
}

TEST(SegmentPoolTest, HandedOverSegmentComesBackToItsHolder) {
  SegmentPool pool(1);
  const Lease lease = *pool.Acquire(1);
  pool.HandOver(lease, kLink);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kHolder);
  pool.HandOver(lease, kLink);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kHolder);
  pool.Release(lease);
  EXPECT_EQ(pool.free(), 1U);
}

TEST(SegmentPoolTest, SegmentThatIsSetAsideServesNobodyUntilItComesBack) {
  SegmentPool pool(1);
  const Lease lease = *pool.Acquire(1);
  pool.HandOver(lease, kLink);
  pool.SetAside(lease);
  EXPECT_EQ(pool.set_aside(), 1U);
  EXPECT_FALSE(pool.Acquire(2).has_value());
  const SegmentPool::TakenBack back = pool.TakeBack(lease, kLink);
  EXPECT_EQ(back.to, Return::kPool);
  ASSERT_TRUE(back.grant.has_value());
  EXPECT_EQ(back.grant->waiter, 2U);
  EXPECT_NE(back.grant->lease.token, lease.token);
  EXPECT_EQ(pool.set_aside(), 0U);
}

TEST(SegmentPoolTest, EndOfTheLinkGivesBackWhatWasHandedOverOnItAndNoOther) {
  SegmentPool pool(4);
  std::vector<Lease> leases;
  for (std::uint64_t i = 0; i < 4; ++i) leases.push_back(*pool.Acquire(i));
  pool.HandOver(leases[0], kLink);
  pool.HandOver(leases[1], kLink);
  pool.HandOver(leases[2], kLink + 1);
  pool.SetAside(leases[1]);
  pool.SetAside(leases[2]);
  EXPECT_FALSE(pool.Acquire(9).has_value());
  const SegmentPool::LinkEnd end = pool.EndLink(kLink);
  EXPECT_THAT(end.returned, ElementsAre(leases[0]));
  ASSERT_EQ(end.grants.size(), 1U);
  EXPECT_EQ(end.grants[0].waiter, 9U);
  EXPECT_EQ(end.grants[0].lease.segment, leases[1].segment);
  EXPECT_THAT(pool.EndLink(kLink).returned, IsEmpty());
  EXPECT_EQ(pool.set_aside(), 1U) << "the other link's";
}

TEST(SegmentPoolTest, AnswerForALeaseThatIsNotOutIsNotBelieved) {
  SegmentPool pool(2);
  const Lease lease = *pool.Acquire(1);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kNone) << "not handed over";
  pool.HandOver(lease, kLink);
  EXPECT_EQ(pool.TakeBack(lease, kLink + 1).to, Return::kNone) << "another link's";
  EXPECT_EQ(pool.TakeBack({lease.segment, lease.token + 1}, kLink).to, Return::kNone);
  EXPECT_EQ(pool.TakeBack({lease.segment + 1, lease.token}, kLink).to, Return::kNone);
  EXPECT_EQ(pool.TakeBack({77, lease.token}, kLink).to, Return::kNone);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kHolder);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kNone) << "twice";
  pool.Release(lease);
  EXPECT_EQ(pool.TakeBack(lease, kLink).to, Return::kNone) << "of an earlier lease";
}

TEST(SegmentPoolTest, PromisesOfTheHolderAreChecked) {
  SegmentPool pool(1);
  const Lease lease = *pool.Acquire(1);
  EXPECT_DEATH(pool.SetAside(lease), "HandedOver");
  pool.HandOver(lease, kLink);
  EXPECT_DEATH(pool.Release(lease), "kHeld");
  EXPECT_DEATH(pool.HandOver(lease, kLink), "kHeld");
  pool.Acquire(2);
  EXPECT_DEATH(pool.Acquire(2), "waiter");
}

/// Any order of events: a segment has one owner, the first who waits is next, none is lost.
std::string RunAtRandom(unsigned seed, std::uint32_t count) {
  std::mt19937_64 random(seed);
  SegmentPool pool(count);
  enum class Where { kHeld, kCache, kAside };
  struct Out {
    Lease lease;
    Where where;
    std::uint64_t link;
  };
  std::map<std::uint32_t, Out> out;
  std::vector<std::uint64_t> queue;
  std::uint64_t waiter = 0;
  std::string trace;
  const auto lease_out = [&](const Lease& lease) {
    EXPECT_TRUE(out.emplace(lease.segment, Out{lease, Where::kHeld, 0}).second) << seed;
    trace += std::to_string(lease.segment) + ":" + std::to_string(lease.token) + " ";
  };
  const auto granted = [&](const Grant& grant) {
    ASSERT_FALSE(queue.empty()) << seed;
    EXPECT_EQ(grant.waiter, queue.front()) << seed;
    queue.erase(queue.begin());
    lease_out(grant.lease);
  };
  for (int step = 0; step < 3'000; ++step) {
    const std::uint64_t choice = random() % 8;
    if (choice < 3 || out.empty()) {
      if (queue.size() > 20) continue;
      if (const auto lease = pool.Acquire(++waiter)) {
        EXPECT_TRUE(queue.empty()) << seed;
        lease_out(*lease);
      } else {
        queue.push_back(waiter);
      }
    } else if (choice == 3 && !queue.empty()) {
      const auto who = queue.begin() + static_cast<std::ptrdiff_t>(random() % queue.size());
      EXPECT_TRUE(pool.CancelWait(*who));
      queue.erase(who);
    } else if (choice == 4 && random() % 8 == 0) {
      const std::uint64_t link = random() % 3;
      std::vector<Lease> returned;
      for (auto o = out.begin(); o != out.end();) {
        const bool ended = o->second.where != Where::kHeld && o->second.link == link;
        if (ended && o->second.where == Where::kCache) {
          returned.push_back(o->second.lease);
          o->second.where = Where::kHeld;
        }
        o = ended && o->second.where == Where::kAside ? out.erase(o) : std::next(o);
      }
      const SegmentPool::LinkEnd end = pool.EndLink(link);
      EXPECT_EQ(end.returned, returned) << seed;
      for (const Grant& grant : end.grants) granted(grant);
    } else {
      auto o = out.begin();
      std::advance(o, static_cast<std::ptrdiff_t>(random() % out.size()));
      Out& one = o->second;
      if (one.where == Where::kHeld && random() % 2 == 0) {
        one.link = random() % 3;
        pool.HandOver(one.lease, one.link);
        one.where = Where::kCache;
      } else if (one.where == Where::kHeld) {
        const Lease lease = one.lease;
        out.erase(o);
        if (const auto grant = pool.Release(lease)) granted(*grant);
      } else if (one.where == Where::kCache && random() % 3 == 0) {
        pool.SetAside(one.lease);
        one.where = Where::kAside;
      } else {
        const SegmentPool::TakenBack back = pool.TakeBack(one.lease, one.link);
        EXPECT_EQ(back.to, one.where == Where::kAside ? Return::kPool : Return::kHolder) << seed;
        if (one.where == Where::kAside) {
          out.erase(o);
        } else {
          one.where = Where::kHeld;
        }
        if (back.grant) granted(*back.grant);
      }
    }
    EXPECT_EQ(pool.free() + out.size(), count) << seed;
    EXPECT_EQ(pool.waiting(), queue.size()) << seed;
    EXPECT_TRUE(pool.waiting() == 0 || pool.free() == 0) << seed;
    if (::testing::Test::HasFailure()) break;
  }
  return trace;
}

TEST(SegmentPoolTest, NoOrderOfEventsLosesASegmentOrGivesItToTwo) {
  for (unsigned seed = 1; seed <= 20; ++seed) RunAtRandom(seed, 1 + seed % 7);
}

TEST(SegmentPoolTest, OneSeedTwiceGivesTheSameLeases) {
  EXPECT_EQ(RunAtRandom(3, 4), RunAtRandom(3, 4));
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
