#include "common/net/work_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace ds::net {
namespace {

class CallingTask final : public WorkPool::Task {
 public:
  CallingTask(std::function<void()> work, std::function<void()> done)
      : work_(std::move(work)), done_(std::move(done)) {}
  void Work() override { work_(); }
  void OnDone() override { done_(); }

 private:
  std::function<void()> work_;
  std::function<void()> done_;
};

class WorkPoolTest : public ::testing::Test {
 protected:
  WorkPoolTest() {
    auto loop = EventLoop::Create();
    EXPECT_TRUE(loop.ok());
    loop_ = *std::move(loop);
  }
  std::unique_ptr<WorkPool> Pool(std::size_t threads) {
    auto pool = WorkPool::Create(loop_.get(), threads, "test");
    EXPECT_TRUE(pool.ok());
    return *std::move(pool);
  }

  std::unique_ptr<EventLoop> loop_;
};

TEST_F(WorkPoolTest, WorkIsDoneElsewhereAndReportedOnTheLoopsThread) {
  const auto pool = Pool(1);
  const auto here = std::this_thread::get_id();
  std::thread::id worked;
  CallingTask task([&] { worked = std::this_thread::get_id(); },
                   [&] {
                     EXPECT_EQ(std::this_thread::get_id(), here);
                     EXPECT_NE(worked, std::thread::id());
                     EXPECT_NE(worked, here);
                     EXPECT_FALSE(task.under_way());
                     loop_->Stop();
                   });
  EXPECT_FALSE(task.under_way());
  pool->Submit(&task);
  EXPECT_TRUE(task.under_way());
  loop_->Run();
}

TEST_F(WorkPoolTest, ATaskCanBeSubmittedAgainWhenItIsDone) {
  const auto pool = Pool(3);
  int worked = 0;
  int done = 0;
  CallingTask task([&] { ++worked; },
                   [&] {
                     ++done;
                     if (done == 1000) {
                       loop_->Stop();
                     } else {
                       pool->Submit(&task);
                     }
                   });
  pool->Submit(&task);
  loop_->Run();
  EXPECT_EQ(worked, 1000);
}

TEST_F(WorkPoolTest, ABlockedTaskHoldsUpNoOther) {
  const auto pool = Pool(2);
  std::latch other_done(1);
  int done = 0;
  const auto count = [&] {
    if (++done == 2) loop_->Stop();
  };
  CallingTask blocked([&] { other_done.wait(); }, count);
  CallingTask other([] {},
                    [&] {
                      other_done.count_down();
                      count();
                    });
  pool->Submit(&blocked);
  pool->Submit(&other);
  loop_->Run();
}

TEST_F(WorkPoolTest, ManyTasksAreAllDone) {
  const auto pool = Pool(4);
  std::atomic<int> worked{0};
  int done = 0;
  std::vector<std::unique_ptr<CallingTask>> tasks;
  for (int i = 0; i < 500; ++i) {
    tasks.push_back(std::make_unique<CallingTask>([&] { ++worked; },
                                                  [&] {
                                                    if (++done == 500) loop_->Stop();
                                                  }));
  }
  for (const auto& task : tasks) pool->Submit(task.get());
  loop_->Run();
  EXPECT_EQ(worked, 500);
}

TEST_F(WorkPoolTest, TheEndWaitsForWorkThatHasBegunAndLeavesTheRest) {
  std::latch begun(1);
  bool first_worked = false;
  bool second_worked = false;
  CallingTask first(
      [&] {
        begun.count_down();
        std::this_thread::yield();
        first_worked = true;
      },
      [] { FAIL() << "nobody runs the loop"; });
  CallingTask second([&] { second_worked = true; }, [] {});
  auto pool = Pool(1);
  auto nobody = Pool(0);
  pool->Submit(&first);
  nobody->Submit(&second);
  begun.wait();
  pool.reset();
  nobody.reset();
  EXPECT_TRUE(first_worked);
  EXPECT_FALSE(second_worked);
}

}  // namespace
}  // namespace ds::net
