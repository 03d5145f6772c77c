#include "common/net/event_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"

namespace ds::net {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class CallingTimer final : public EventLoop::Timer {
 public:
  explicit CallingTimer(std::function<void()> call = [] {}) : call_(std::move(call)) {}
  void OnTimer() override { call_(); }

 private:
  std::function<void()> call_;
};

class CallingWatcher final : public EventLoop::Watcher {
 public:
  explicit CallingWatcher(std::function<void(std::uint32_t)> call) : call_(std::move(call)) {}
  void OnEvents(std::uint32_t events) override { call_(events); }

 private:
  std::function<void(std::uint32_t)> call_;
};

UniqueFd ReadableFd() { return UniqueFd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }

/// Takes what makes an eventfd readable.
void Drain(const UniqueFd& fd) {
  std::uint64_t count = 0;
  EXPECT_EQ(::read(fd.get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
}

/// The tests end by Stop(): one in which something is never called hangs, and ctest ends it.
class EventLoopTest : public ::testing::Test {
 protected:
  EventLoopTest() {
    auto loop = EventLoop::Create();
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    start_ = loop_->now();
  }

  std::unique_ptr<EventLoop> loop_;
  TimePoint start_;
  std::vector<std::string> calls_;
};

TEST_F(EventLoopTest, TimersFireInTheOrderOfTheirDeadlines) {
  CallingTimer first([&] { calls_.emplace_back("first"); });
  CallingTimer second([&] { calls_.emplace_back("second"); });
  CallingTimer third([&] {
    calls_.emplace_back("third");
    loop_->Stop();
  });
  loop_->Arm(&third, start_ + milliseconds(3));
  loop_->Arm(&first, start_ + milliseconds(1));
  loop_->Arm(&second, start_ + milliseconds(2));
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("first", "second", "third"));
}

TEST_F(EventLoopTest, TimerNeverFiresEarlyAndIsNotArmedThen) {
  CallingTimer timer([&] {
    EXPECT_GE(loop_->now(), start_ + milliseconds(2));
    EXPECT_FALSE(timer.armed());
    loop_->Stop();
  });
  EXPECT_FALSE(timer.armed());
  loop_->Arm(&timer, start_ + milliseconds(2));
  EXPECT_TRUE(timer.armed());
  loop_->Run();
}

TEST_F(EventLoopTest, DeadlineThatHasPassedFiresInTheNextTurn) {
  CallingTimer timer([&] { loop_->Stop(); });
  loop_->Arm(&timer, start_ - hours(1));
  loop_->Run();
  EXPECT_FALSE(timer.armed());
}

TEST_F(EventLoopTest, TimerMovedLaterFiresOnceAtTheLaterTime) {
  CallingTimer timer([&] {
    calls_.emplace_back("moved");
    EXPECT_GE(loop_->now(), start_ + milliseconds(4));
  });
  CallingTimer end([&] { loop_->Stop(); });
  loop_->Arm(&timer, start_ + milliseconds(1));
  loop_->Arm(&timer, start_ + milliseconds(2));
  loop_->Arm(&timer, start_ + milliseconds(4));
  loop_->Arm(&end, start_ + milliseconds(8));
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("moved"));
}

TEST_F(EventLoopTest, TimerMovedEarlierFiresAtTheEarlierTime) {
  CallingTimer timer([&] { loop_->Stop(); });
  loop_->Arm(&timer, start_ + hours(1));
  loop_->Arm(&timer, start_ + milliseconds(1));
  loop_->Run();
}

TEST_F(EventLoopTest, TimerMovedLaterAndThenEarlierFiresOnce) {
  CallingTimer timer([&] { calls_.emplace_back("fired"); });
  CallingTimer end([&] { loop_->Stop(); });
  loop_->Arm(&timer, start_ + milliseconds(3));
  loop_->Arm(&timer, start_ + hours(1));
  loop_->Arm(&timer, start_ + milliseconds(1));
  loop_->Arm(&end, start_ + milliseconds(5));
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("fired"));
}

TEST_F(EventLoopTest, CancelledTimerDoesNotFire) {
  CallingTimer plain([&] { calls_.emplace_back("plain"); });
  CallingTimer moved([&] { calls_.emplace_back("moved"); });
  CallingTimer never_armed;
  CallingTimer end([&] { loop_->Stop(); });
  loop_->Arm(&plain, start_ + milliseconds(1));
  loop_->Arm(&moved, start_ + milliseconds(1));
  loop_->Arm(&moved, start_ + milliseconds(2));
  loop_->Arm(&end, start_ + milliseconds(3));
  loop_->Cancel(&plain);
  loop_->Cancel(&moved);
  loop_->Cancel(&never_armed);
  EXPECT_FALSE(plain.armed());
  loop_->Run();
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(EventLoopTest, TimerCancelsAnotherThatIsDueInTheSameTurn) {
  CallingTimer other([&] { calls_.emplace_back("other"); });
  CallingTimer canceller([&] { loop_->Cancel(&other); });
  CallingTimer end([&] { loop_->Stop(); });
  loop_->Arm(&canceller, start_ - milliseconds(3));
  loop_->Arm(&other, start_ - milliseconds(2));
  loop_->Arm(&end, start_ - milliseconds(1));
  loop_->Run();
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(EventLoopTest, TimerMayArmItselfAgain) {
  int fired = 0;
  CallingTimer timer([&] {
    if (++fired < 3) {
      loop_->Arm(&timer, loop_->now() + milliseconds(1));
    } else {
      loop_->Stop();
    }
  });
  loop_->Arm(&timer, start_);
  loop_->Run();
  EXPECT_EQ(fired, 3);
}

TEST_F(EventLoopTest, WatcherIsToldItsEvents) {
  const UniqueFd fd = ReadableFd();
  CallingWatcher watcher([&](std::uint32_t events) {
    EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLIN));
    loop_->Remove(fd.get(), &watcher);
    loop_->Stop();
  });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN, &watcher).ok());
  loop_->Run();
}

TEST_F(EventLoopTest, RearmReportsAnewWhatHoldsNow) {
  const UniqueFd fd = ReadableFd();  // and it stays so: no edge comes by itself
  CallingWatcher watcher([&](std::uint32_t events) {
    EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLIN));
    calls_.emplace_back("told");
  });
  CallingTimer again([&] {
    EXPECT_THAT(calls_, ElementsAre("told"));
    loop_->Rearm(fd.get(), EPOLLIN | EPOLLET, &watcher);
  });
  CallingTimer end([&] { loop_->Stop(); });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN | EPOLLET, &watcher).ok());
  loop_->Arm(&again, start_ + milliseconds(2));
  loop_->Arm(&end, start_ + milliseconds(4));
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("told", "told"));
}

TEST_F(EventLoopTest, RearmReportsNothingThatDoesNotHold) {
  const UniqueFd fd = ReadableFd();
  CallingWatcher watcher([&](std::uint32_t) {
    calls_.emplace_back("told");
    Drain(fd);
    loop_->Rearm(fd.get(), EPOLLIN | EPOLLET, &watcher);
  });
  CallingTimer end([&] { loop_->Stop(); });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN | EPOLLET, &watcher).ok());
  loop_->Arm(&end, start_ + milliseconds(4));
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("told"));
}

TEST_F(EventLoopTest, RearmChangesWhatIsReportedAndToWhom) {
  const UniqueFd fd = ReadableFd();
  CallingWatcher before([&](std::uint32_t) { calls_.emplace_back("before"); });
  CallingWatcher after([&](std::uint32_t events) {
    EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLOUT));
    calls_.emplace_back("after");
    loop_->Stop();
  });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN, &before).ok());
  loop_->Rearm(fd.get(), EPOLLOUT | EPOLLET, &after);
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("after"));
}

TEST_F(EventLoopTest, BadDescriptorIsAnError) {
  CallingWatcher watcher([](std::uint32_t) {});
  EXPECT_FALSE(loop_->Add(-1, EPOLLIN, &watcher).ok());
}

/// Two readable descriptors, so that one turn fetches events of both; the watcher that is called
/// first takes the other one out with `take_out`.
void ExpectOneOfTwoCalled(EventLoop& loop,
                          const std::function<void(UniqueFd&, EventLoop::Watcher*)>& take_out) {
  UniqueFd fds[2] = {ReadableFd(), ReadableFd()};
  std::vector<std::unique_ptr<CallingWatcher>> watchers;
  std::vector<std::size_t> called;
  for (std::size_t i = 0; i < 2; ++i) {
    watchers.push_back(std::make_unique<CallingWatcher>([&, i](std::uint32_t) {
      called.push_back(i);
      if (called.size() > 1) return;
      take_out(fds[1 - i], watchers[1 - i].get());
      watchers[1 - i].reset();  // a call to it from here on is a use after free
      Drain(fds[i]);
      loop.Stop();
    }));
    ASSERT_TRUE(loop.Add(fds[i].get(), EPOLLIN, watchers[i].get()).ok());
  }
  loop.Run();
  ASSERT_EQ(called.size(), 1U);
  loop.Remove(fds[called[0]].get(), watchers[called[0]].get());
}

TEST_F(EventLoopTest, RemoveInsideOnEventsDropsEventsFetchedAlready) {
  ExpectOneOfTwoCalled(
      *loop_, [&](UniqueFd& fd, EventLoop::Watcher* other) { loop_->Remove(fd.get(), other); });
}

TEST_F(EventLoopTest, ForgetInsideOnEventsDropsEventsFetchedAlready) {
  ExpectOneOfTwoCalled(*loop_, [&](UniqueFd& fd, EventLoop::Watcher* other) {
    loop_->Forget(other);
    fd.Reset();
  });
}

TEST_F(EventLoopTest, WatcherMayRemoveAndDestroyItself) {
  const UniqueFd fd = ReadableFd();
  std::unique_ptr<CallingWatcher> watcher;
  watcher = std::make_unique<CallingWatcher>([&](std::uint32_t) {
    EventLoop* loop = loop_.get();
    loop->Remove(fd.get(), watcher.get());
    // Destroyed after this call: the function object that runs now belongs to it.
    loop->Post([&, loop] {
      watcher.reset();
      loop->Stop();
    });
  });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN, watcher.get()).ok());
  loop_->Run();
  EXPECT_EQ(watcher, nullptr);
}

TEST_F(EventLoopTest, LateTurnKeepsTheOrderOfMovedTimers) {
  std::string order;
  CallingTimer moved([&] { order += 'm'; });
  CallingTimer other([&] {
    order += 'o';
    loop_->Stop();
  });
  const TimePoint start = loop_->now();
  loop_->Arm(&moved, start - std::chrono::seconds(3));
  loop_->Arm(&moved, start - std::chrono::seconds(1));
  loop_->Arm(&other, start - std::chrono::seconds(2));
  loop_->Run();
  EXPECT_EQ(order, "om");
}

TEST_F(EventLoopTest, TimerThatArmsItselfForNowDoesNotStarveTheLoop) {
  int calls = 0;
  std::function<void()> again;
  CallingTimer timer([&] { again(); });
  again = [&] {
    if (++calls < 1000) loop_->Arm(&timer, loop_->now());
  };
  loop_->Stop();  // seen at the end of the first turn
  loop_->Arm(&timer, loop_->now());
  loop_->Run();
  EXPECT_LE(calls, 1);
  loop_->Cancel(&timer);
}

TEST_F(EventLoopTest, DeferGivesWayToOtherDescriptors) {
  const UniqueFd busy_fd = ReadableFd();
  const UniqueFd other_fd = ReadableFd();
  CallingWatcher busy([&](std::uint32_t events) {
    if (events != 0) {
      calls_.emplace_back("busy");
      Drain(busy_fd);
      loop_->Defer(&busy);
    } else {
      calls_.emplace_back("deferred");
      loop_->Stop();
    }
  });
  CallingWatcher other([&](std::uint32_t) {
    calls_.emplace_back("other");
    Drain(other_fd);
  });
  ASSERT_TRUE(loop_->Add(busy_fd.get(), EPOLLIN, &busy).ok());
  ASSERT_TRUE(loop_->Add(other_fd.get(), EPOLLIN, &other).ok());
  loop_->Run();
  EXPECT_THAT(calls_, UnorderedElementsAre("busy", "other", "deferred"));
  EXPECT_EQ(calls_.back(), "deferred");
}

TEST_F(EventLoopTest, WatcherThatDefersItselfAgainIsCalledOncePerTurn) {
  int deferred = 0;
  int turns = 0;
  const UniqueFd always_readable = ReadableFd();
  CallingWatcher turn([&](std::uint32_t) { ++turns; });
  CallingWatcher busy([&](std::uint32_t) {
    EXPECT_EQ(turns, ++deferred);
    if (deferred < 3) {
      loop_->Defer(&busy);
    } else {
      loop_->Stop();
    }
  });
  ASSERT_TRUE(loop_->Add(always_readable.get(), EPOLLIN, &turn).ok());
  loop_->Defer(&busy);
  loop_->Run();
  loop_->Remove(always_readable.get(), &turn);
}

TEST_F(EventLoopTest, CancelDeferTakesTheCallBack) {
  CallingWatcher cancelled([&](std::uint32_t) { calls_.emplace_back("cancelled"); });
  CallingWatcher cancelled_in_the_turn([&](std::uint32_t) { calls_.emplace_back("in the turn"); });
  CallingWatcher canceller([&](std::uint32_t) {
    loop_->CancelDefer(&cancelled_in_the_turn);
    loop_->Stop();
  });
  loop_->Defer(&cancelled);
  loop_->CancelDefer(&cancelled);
  loop_->Defer(&canceller);
  loop_->Defer(&cancelled_in_the_turn);
  loop_->Run();
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(EventLoopTest, RemoveTakesADeferredCallBack) {
  const UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
  CallingWatcher watcher([&](std::uint32_t) { calls_.emplace_back("called"); });
  CallingWatcher last([&](std::uint32_t) { loop_->Stop(); });
  ASSERT_TRUE(loop_->Add(fd.get(), EPOLLIN, &watcher).ok());
  loop_->Defer(&watcher);
  loop_->Defer(&last);
  loop_->Remove(fd.get(), &watcher);
  loop_->Run();
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(EventLoopTest, PostedTasksRunOnTheLoopsThreadInOrder) {
  const std::thread::id here = std::this_thread::get_id();
  const std::jthread poster([&] {
    for (int i = 0; i < 100; ++i) {
      loop_->Post([&, i] {
        EXPECT_EQ(std::this_thread::get_id(), here);
        calls_.push_back(std::to_string(i));
      });
    }
    loop_->Post([&] { loop_->Stop(); });
  });
  loop_->Run();
  ASSERT_EQ(calls_.size(), 100U);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(calls_[i], std::to_string(i));
}

TEST_F(EventLoopTest, TaskMayPostAnother) {
  loop_->Post([&] { loop_->Post([&] { loop_->Stop(); }); });
  loop_->Run();
}

TEST_F(EventLoopTest, StopFromAnotherThreadEndsRun) {
  const std::jthread stopper([&] { loop_->Stop(); });
  loop_->Run();
}

TEST_F(EventLoopTest, StopBeforeRunIsNotLost) {
  loop_->Stop();
  loop_->Run();
}

TEST_F(EventLoopTest, TurnThatStopsIsFinished) {
  CallingTimer due([&] { calls_.emplace_back("due"); });
  loop_->Arm(&due, start_ - milliseconds(1));
  loop_->Stop();
  loop_->Run();
  EXPECT_THAT(calls_, ElementsAre("due"));
}

}  // namespace
}  // namespace ds::net
