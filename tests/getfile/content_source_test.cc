#include "getfile/front/content_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace ds::getfile {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Notes its number in a list when it is woken, and does what the test wants done then.
class NotingWaiter final : public BodyWaiter {
 public:
  NotingWaiter(int number, std::vector<int>* woken) : number_(number), woken_(woken) {}
  void OnBodyGrown() override { woken_->push_back(number_); }

 private:
  const int number_;
  std::vector<int>* const woken_;
};

class BodyWaitersTest : public ::testing::Test {
 protected:
  std::vector<int> woken_;
  BodyWaiters waiters_;
  NotingWaiter first_{1, &woken_};
  NotingWaiter second_{2, &woken_};
  NotingWaiter third_{3, &woken_};
};

TEST_F(BodyWaitersTest, OnlyThoseWhoseByteIsThereAreWokenInTheirOrder) {
  waiters_.Add(&first_, 10);
  waiters_.Add(&second_, 20);
  waiters_.Add(&third_, 9);
  waiters_.Wake(9);
  EXPECT_THAT(woken_, IsEmpty()) << "bytes 0 to 8 are there";
  waiters_.Wake(11);
  EXPECT_THAT(woken_, ElementsAre(1, 3));
  EXPECT_FALSE(first_.waiting());
  waiters_.Wake(11);
  EXPECT_THAT(woken_, ElementsAre(1, 3)) << "once";
  waiters_.Wake(UINT64_MAX);
  EXPECT_THAT(woken_, ElementsAre(1, 3, 2));
  EXPECT_TRUE(waiters_.empty());
}

TEST_F(BodyWaitersTest, WhoWasWokenMayWaitAgain) {
  waiters_.Add(&first_, 0);
  waiters_.Wake(1);
  waiters_.Add(&first_, 1);
  waiters_.Wake(2);
  EXPECT_THAT(woken_, ElementsAre(1, 1));
}

TEST_F(BodyWaitersTest, WhoStopsOrEndsIsNotWoken) {
  waiters_.Add(&first_, 0);
  {
    NotingWaiter gone(4, &woken_);
    waiters_.Add(&gone, 0);
    waiters_.Add(&second_, 0);
  }
  first_.StopWaiting();
  first_.StopWaiting();
  waiters_.Wake(UINT64_MAX);
  EXPECT_THAT(woken_, ElementsAre(2));
}

TEST_F(BodyWaitersTest, ListMayEndBeforeItsWaiters) {
  auto short_lived = std::make_unique<BodyWaiters>();
  short_lived->Add(&first_, 0);
  short_lived->Add(&second_, 0);
  short_lived.reset();
  EXPECT_FALSE(first_.waiting());
  EXPECT_FALSE(second_.waiting());
  EXPECT_THAT(woken_, IsEmpty());
}

}  // namespace
}  // namespace ds::getfile
