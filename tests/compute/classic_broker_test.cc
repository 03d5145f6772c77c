#include "compute/core/classic_broker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace ds::compute {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kNoWorkerFor7 = "error: isprime 7: there is no worker for isprime";
const std::string kTooLateFor7 = "error: isprime 7: no worker has answered within 1 s";

class ClassicBrokerTest : public ::testing::Test {
 protected:
  void Subscribe(const std::string& prefix) { broker_.HandleSubscription('\1' + prefix, now_); }
  void Unsubscribe(const std::string& prefix) {
    broker_.HandleSubscription(std::string(1, '\0') + prefix, now_);
  }
  void Wait(Duration time) {
    now_ += time;
    if (const auto deadline = broker_.NextDeadline(); deadline && *deadline <= now_) {
      broker_.HandleTimeout(now_);
    }
  }
  std::vector<std::string> ToClients() { return broker_.TakeOutput().to_clients; }
  std::vector<std::string> ToWorkers() { return broker_.TakeOutput().to_workers; }

  TimePoint now_{1000s};
  ClassicBroker broker_{ClassicBroker::Options{}};
};

TEST_F(ClassicBrokerTest, ACommandGoesToWorkersAndItsAnswerToClients) {
  Subscribe("isprime");
  EXPECT_EQ(broker_.HandleLine("isprime 007", now_), "ok");
  const auto output = broker_.TakeOutput();
  EXPECT_THAT(output.to_workers, ElementsAre("isprime 7"));
  EXPECT_THAT(output.to_clients, IsEmpty());
  broker_.HandleAnswer("7 is prime", now_);
  EXPECT_THAT(ToClients(), ElementsAre("7 is prime"));
  EXPECT_EQ(broker_.open(), 0U);
  EXPECT_EQ(broker_.NextDeadline(), std::nullopt);
}

TEST_F(ClassicBrokerTest, ALineThatIsNoCommandIsEchoed) {
  for (const char* line : {"hello world", " two  blanks ", "", "zażółć"}) {
    EXPECT_EQ(broker_.HandleLine(line, now_), "ok");
    EXPECT_THAT(ToClients(), ElementsAre(line));
  }
}

TEST_F(ClassicBrokerTest, CommandLinesAreEchoedOnDemand) {
  ClassicBroker::Options options;
  options.echo_commands = true;
  ClassicBroker broker(options);
  broker.HandleLine("isprime x", now_);
  EXPECT_THAT(broker.TakeOutput().to_clients,
              ElementsAre("isprime x", "error: isprime x: \"x\" is not a number"));
}

TEST_F(ClassicBrokerTest, WrongOperandsArePublishedAsAnError) {
  broker_.HandleLine("gcd 1", now_);
  EXPECT_THAT(ToClients(), ElementsAre("error: gcd 1: two numbers are needed"));
  EXPECT_EQ(broker_.open(), 0U);
}

TEST_F(ClassicBrokerTest, HostileLinesAreRefusedInTheReply) {
  EXPECT_EQ(broker_.HandleLine("a\xff", now_), "error: a\\xff: line: not UTF-8 at byte 1");
  EXPECT_TRUE(broker_.HandleLine(std::string(5000, 'x'), now_).starts_with("error: xxx"));
  EXPECT_TRUE(broker_.TakeOutput().empty());
  EXPECT_EQ(broker_.stats().refused, 2U);
}

TEST_F(ClassicBrokerTest, AMissingWorkerIsAnErrorAfterASecond) {
  broker_.HandleLine("isprime 7", now_);
  EXPECT_TRUE(broker_.TakeOutput().empty());
  Wait(999ms);
  EXPECT_TRUE(broker_.TakeOutput().empty());
  Wait(1ms);
  EXPECT_THAT(ToClients(), ElementsAre(kNoWorkerFor7));
}

TEST_F(ClassicBrokerTest, AHeldRequestIsPublishedWhenAWorkerSubscribes) {
  broker_.HandleLine("isprime 7", now_);
  broker_.HandleLine("gcd 12 18", now_);
  Wait(900ms);
  Subscribe("isprime");
  EXPECT_THAT(ToWorkers(), ElementsAre("isprime 7"));
  Subscribe("is");  // it is published once
  EXPECT_THAT(ToWorkers(), IsEmpty());
  Wait(100ms);
  EXPECT_THAT(ToClients(),
              ElementsAre(kTooLateFor7, "error: gcd 12 18: there is no worker for gcd"));
}

TEST_F(ClassicBrokerTest, AWorkerThatIsGoneGetsNothing) {
  Subscribe("isprime");
  Unsubscribe("isprime");
  Unsubscribe("never there");
  broker_.HandleLine("isprime 7", now_);
  EXPECT_THAT(ToWorkers(), IsEmpty());
}

TEST_F(ClassicBrokerTest, AWorkerMaySubscribeToAnyPrefix) {
  for (const char* prefix : {"", "i", "isprime", "isprime ", "isprime 7"}) {
    Subscribe(prefix);
    broker_.HandleLine("isprime 7", now_);
    EXPECT_THAT(ToWorkers(), ElementsAre("isprime 7")) << prefix;
    Unsubscribe(prefix);
  }
}

TEST_F(ClassicBrokerTest, MalformedSubscriptionsAreIgnored) {
  broker_.HandleSubscription("", now_);
  broker_.HandleSubscription("\2isprime", now_);
  broker_.HandleSubscription('\1' + std::string(300, 'x'), now_);
  broker_.HandleLine("isprime 7", now_);
  EXPECT_THAT(ToWorkers(), IsEmpty());
}

TEST_F(ClassicBrokerTest, BogusPrefixesDoNotHideAWorker) {
  ClassicBroker::Options options;
  options.subscriptions_max = 2;
  ClassicBroker broker(options);
  for (const char* prefix : {"\1a", "\1b", "\1isprimes", "\1gcd x"}) {
    broker.HandleSubscription(prefix, now_);  // no command line begins so
  }
  EXPECT_EQ(broker.stats().unremembered, 0U);
  broker.HandleSubscription("\1isprime 1", now_);
  broker.HandleSubscription("\1isprime 2", now_);
  broker.HandleLine("isprime 7", now_);
  EXPECT_THAT(broker.TakeOutput().to_workers, IsEmpty());
  broker.HandleSubscription("\1isprime", now_);
  EXPECT_EQ(broker.stats().unremembered, 1U);
  EXPECT_THAT(broker.TakeOutput().to_workers, ElementsAre("isprime 7"));
  broker.HandleLine("gcd 4 6", now_);
  EXPECT_THAT(broker.TakeOutput().to_workers, ElementsAre("gcd 4 6"));

  broker.HandleSubscription(std::string("\0isprime", 8), now_);
  broker.HandleLine("isprime 9", now_);
  EXPECT_THAT(broker.TakeOutput().to_workers, IsEmpty());
}

TEST_F(ClassicBrokerTest, ALateAnswerIsDroppedAndNotTakenForTheNextOne) {
  Subscribe("isprime");
  broker_.HandleLine("isprime 7", now_);
  broker_.TakeOutput();
  Wait(1s);
  EXPECT_THAT(ToClients(), ElementsAre(kTooLateFor7));
  broker_.HandleLine("isprime 9", now_);
  broker_.TakeOutput();
  broker_.HandleAnswer("7 is prime", now_);
  EXPECT_TRUE(broker_.TakeOutput().empty());
  EXPECT_EQ(broker_.open(), 1U);
  broker_.HandleAnswer("9 is not prime", now_);
  EXPECT_THAT(ToClients(), ElementsAre("9 is not prime"));
}

TEST_F(ClassicBrokerTest, AnAnswerThatWaitedBeyondTheDeadlineIsLate) {
  Subscribe("isprime");
  broker_.HandleLine("isprime 7", now_);
  broker_.TakeOutput();
  broker_.HandleAnswer("7 is prime", now_ + 1s);
  EXPECT_THAT(ToClients(), ElementsAre(kTooLateFor7));
}

TEST_F(ClassicBrokerTest, TheFirstOfTwoEqualWorkersWins) {
  Subscribe("isprime");
  broker_.HandleLine("isprime 7", now_);
  broker_.TakeOutput();
  broker_.HandleAnswer("7 is prime", now_);
  broker_.HandleAnswer("7 is prime", now_);
  EXPECT_THAT(ToClients(), ElementsAre("7 is prime"));
  EXPECT_EQ(broker_.stats().dropped, 1U);
}

TEST_F(ClassicBrokerTest, EqualRequestsAtTheSameTimeHaveAnAnswerEach) {
  Subscribe("isprime");
  broker_.HandleLine("isprime 7", now_);
  Wait(500ms);
  broker_.HandleLine("isprime 7", now_);
  EXPECT_THAT(ToWorkers(), ElementsAre("isprime 7", "isprime 7"));
  for (int i = 0; i < 4; ++i) broker_.HandleAnswer("7 is prime", now_);  // of two workers
  EXPECT_THAT(ToClients(), ElementsAre("7 is prime", "7 is prime"));

  broker_.HandleLine("isprime 7", now_);
  Wait(500ms);
  broker_.HandleLine("isprime 7", now_);
  broker_.HandleAnswer("7 is prime", now_);
  broker_.TakeOutput();
  Wait(500ms);  // the older one was answered
  EXPECT_TRUE(broker_.TakeOutput().empty());
  Wait(500ms);
  EXPECT_THAT(ToClients(), ElementsAre(kTooLateFor7));
}

TEST_F(ClassicBrokerTest, AnswersToNothingArePassedOnOnce) {
  broker_.HandleAnswer("11 is prime", now_);
  broker_.HandleAnswer("11 is prime", now_);
  broker_.HandleAnswer("of another kind", now_);
  broker_.HandleAnswer("of another kind", now_);
  EXPECT_THAT(ToClients(), ElementsAre("11 is prime", "of another kind"));
  Wait(2s);
  broker_.HandleAnswer("of another kind", now_);
  EXPECT_THAT(ToClients(), ElementsAre("of another kind"));
}

TEST_F(ClassicBrokerTest, HostileAnswersAreDropped) {
  broker_.HandleAnswer("7 is prime\xff", now_);
  broker_.HandleAnswer(std::string(5000, 'x'), now_);
  EXPECT_TRUE(broker_.TakeOutput().empty());
  EXPECT_EQ(broker_.stats().dropped, 2U);
}

TEST_F(ClassicBrokerTest, OneRequestTooManyIsAnErrorAtOnce) {
  ClassicBroker::Options options;
  options.open_max = 2;
  ClassicBroker broker(options);
  for (const char* line : {"isprime 1", "isprime 2", "isprime 3"}) broker.HandleLine(line, now_);
  EXPECT_THAT(broker.TakeOutput().to_clients,
              ElementsAre("error: isprime 3: too many requests are open (2)"));
  EXPECT_EQ(broker.open(), 2U);
}

TEST(RecentMemoryTest, WhatIsOldestGoesFirst) {
  TimePoint now{1000s};
  RecentMemory<int> memory({.time = 10s, .entries = 2, .bytes = 100});
  memory.Add("a", 1, 1, now);
  memory.Add("b", 2, 1, now);
  memory.Add("a", 9, 1, now);  // keeps its value, and is the younger one now
  memory.Add("c", 3, 1, now);
  EXPECT_EQ(memory.Find("b", now), nullptr);
  EXPECT_EQ(*memory.Find("a", now), 1);
  memory.Add("d", 4, 99, now);
  EXPECT_EQ(memory.size(), 2U);
  EXPECT_EQ(memory.bytes(), 100U);
  memory.Add("e", 5, 100, now);
  EXPECT_EQ(memory.size(), 1U);
  EXPECT_EQ(memory.Find("e", now + 10s), nullptr);
  EXPECT_EQ(memory.bytes(), 0U);
}

}  // namespace
}  // namespace ds::compute
