#include "compute/core/reliable_broker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "compute/core/reliable_client.h"
#include "compute/core/reliable_worker.h"

namespace ds::compute {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Sent = std::pair<std::string, ReliableMessage>;

class ReliableBrokerTest : public ::testing::Test {
 protected:
  static std::string Id(int number) { return "client....." + std::to_string(10000 + number); }
  void Says(const std::string& peer, const ReliableMessage& message) {
    broker_.HandleFrames(peer, EncodeReliable(message), now_);
  }
  void Asks(const std::string& client, int number) {
    Says(client, RequestMessage{Id(number), "gcd", std::to_string(number)});
  }
  void Wait(Duration time) {
    const TimePoint end = now_ + time;
    while (broker_.NextDeadline() && *broker_.NextDeadline() <= end) {
      now_ = *broker_.NextDeadline();
      broker_.HandleTimeout(now_);
    }
    now_ = end;
  }
  /// What was sent since the last call, without heartbeats.
  std::vector<Sent> TakeSent() {
    std::vector<Sent> sent;
    for (Envelope& envelope : broker_.TakeOutput()) {
      if (std::holds_alternative<HeartbeatMessage>(envelope.message)) continue;
      sent.emplace_back(std::move(envelope.peer), std::move(envelope.message));
    }
    return sent;
  }
  static Sent Work(const std::string& worker, std::uint64_t tag, int number) {
    return {worker, WorkMessage{tag, std::to_string(number)}};
  }
  static Sent Answer(const std::string& client, int number, AnswerStatus status,
                     const std::string& body) {
    return {client, AnswerMessage{Id(number), status, body}};
  }

  TimePoint now_{1000s};
  ReliableBroker broker_{ReliableBroker::Options{}};
};

TEST_F(ReliableBrokerTest, ARequestGoesToAWorkerOfItsServiceAndTheAnswerBack) {
  Says("p", ReadyMessage{"isprime", 1});
  Says("w", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1)));
  Says("w", ResultMessage{1, AnswerStatus::kDone, "x"});
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 1, AnswerStatus::kDone, "x")));
  EXPECT_EQ(broker_.open(), 0U);
}

TEST_F(ReliableBrokerTest, READYIsAnsweredByAHeartbeat) {
  Says("w", ReadyMessage{"gcd", 1});
  const auto output = broker_.TakeOutput();
  ASSERT_EQ(output.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<HeartbeatMessage>(output[0].message));
}

TEST_F(ReliableBrokerTest, RequestsWaitForAWorkerAndGoToItInOrder) {
  Asks("c", 1);
  Asks("c", 2);
  Asks("c", 3);
  EXPECT_THAT(TakeSent(), IsEmpty());
  Says("w", ReadyMessage{"gcd", 2});
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1), Work("w", 2, 2)));
  Says("w", ResultMessage{2, AnswerStatus::kDone, "x"});
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 2, AnswerStatus::kDone, "x"), Work("w", 3, 3)));
}

TEST_F(ReliableBrokerTest, WorkersTakeTurns) {
  Says("v", ReadyMessage{"gcd", 8});
  Says("w", ReadyMessage{"gcd", 8});
  for (int i = 1; i <= 3; ++i) Asks("c", i);
  EXPECT_THAT(TakeSent(), ElementsAre(Work("v", 1, 1), Work("w", 2, 2), Work("v", 3, 3)));
}

TEST_F(ReliableBrokerTest, ASilentWorkerIsDeadAfterThreeHeartbeatsAndItsWorkGoesOn) {
  Says("v", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  Says("w", ReadyMessage{"gcd", 1});
  TakeSent();
  Wait(1400ms);
  Says("w", HeartbeatMessage{});
  EXPECT_THAT(TakeSent(), IsEmpty());
  Wait(200ms);
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1)));
  EXPECT_EQ(broker_.stats().workers_lost, 1U);

  Says("v", ResultMessage{1, AnswerStatus::kDone, "late"});  // it was only asleep
  EXPECT_THAT(TakeSent(), ElementsAre(Sent{"v", DisconnectMessage{}}));
  Says("w", ResultMessage{1, AnswerStatus::kDone, "x"});
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 1, AnswerStatus::kDone, "x")));
}

TEST_F(ReliableBrokerTest, AWorkerWhoseConnectionIsGoneIsDeadAtOnce) {
  Says("v", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  Says("w", ReadyMessage{"gcd", 1});
  TakeSent();
  broker_.HandlePeerGone("v", now_);
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1)));
  broker_.HandlePeerGone("c", now_);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_F(ReliableBrokerTest, GoodbyeGivesTheWorkBack) {
  Says("v", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  Says("w", ReadyMessage{"gcd", 1});
  TakeSent();
  Says("v", DisconnectMessage{});
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1)));
  EXPECT_EQ(broker_.stats().workers_lost, 0U);
}

TEST_F(ReliableBrokerTest, ARequestThatWorkersDieOfIsGivenUp) {
  Asks("c", 1);
  for (const char* worker : {"u", "v", "w"}) {
    Says(worker, ReadyMessage{"gcd", 1});
    EXPECT_THAT(TakeSent(), ElementsAre(Work(worker, 1, 1)));
    broker_.HandlePeerGone(worker, now_);
  }
  EXPECT_THAT(TakeSent(),
              ElementsAre(Answer("c", 1, AnswerStatus::kWorkersDied, "3 workers have died of it")));
}

TEST_F(ReliableBrokerTest, WithoutAWorkerTimeRunsOut) {
  Asks("c", 1);
  Wait(5s);
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 1, AnswerStatus::kNoWorker,
                                             "there was no worker for it for 5 s")));
  EXPECT_EQ(broker_.NextDeadline(), std::nullopt);
}

TEST_F(ReliableBrokerTest, AWorkerThatSitsOnARequestHasToRegisterAgain) {
  Says("w", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  TakeSent();
  for (int i = 0; i < 12; ++i) {
    Wait(400ms);
    Says("w", HeartbeatMessage{});
  }
  EXPECT_THAT(TakeSent(), IsEmpty());
  Wait(1s);
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 1, AnswerStatus::kTimedOut,
                                             "no worker has answered within 5 s"),
                                      Sent{"w", DisconnectMessage{}}));
  EXPECT_EQ(broker_.workers(), 0U);
}

TEST_F(ReliableBrokerTest, ARepeatedIdIsNotComputedTwice) {
  Says("w", ReadyMessage{"gcd", 8});
  Asks("c", 1);
  TakeSent();
  Asks("c2", 1);  // the same client on a new connection
  EXPECT_THAT(TakeSent(), IsEmpty());
  Says("w", ResultMessage{1, AnswerStatus::kDone, "x"});
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c2", 1, AnswerStatus::kDone, "x")));
  Asks("c3", 1);
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c3", 1, AnswerStatus::kDone, "x")));
  EXPECT_EQ(broker_.stats().requests, 1U);
}

TEST_F(ReliableBrokerTest, ResultsOfNobodyWhoWasAskedAreDropped) {
  Says("w", ReadyMessage{"gcd", 1});
  Says("v", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  TakeSent();
  Says("v", ResultMessage{1, AnswerStatus::kDone, "forged"});
  Says("w", ResultMessage{2, AnswerStatus::kDone, "of no request"});
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(broker_.stats().results_dropped, 2U);
}

TEST_F(ReliableBrokerTest, READYAgainGivesTheWorkBack) {
  Says("w", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  TakeSent();
  Says("w", ReadyMessage{"gcd", 1});
  EXPECT_THAT(TakeSent(), ElementsAre(Work("w", 1, 1)));
  EXPECT_EQ(broker_.workers(), 1U);
}

TEST_F(ReliableBrokerTest, EverythingIsBounded) {
  ReliableBroker::Options options;
  options.open_max = 1;
  options.workers_max = 1;
  ReliableBroker broker(options);
  const auto last = [&] { return broker.TakeOutput().back().message; };
  for (int i = 1; i <= 2; ++i) {
    broker.HandleFrames("c", EncodeReliable(RequestMessage{Id(i), "gcd", ""}), now_);
  }
  EXPECT_EQ(last(), ReliableMessage(AnswerMessage{Id(2), AnswerStatus::kBusy,
                                                  "the broker is busy: 1 requests are open"}));
  for (const char* worker : {"v", "w"}) {
    broker.HandleFrames(worker, EncodeReliable(ReadyMessage{"isprime", 1}), now_);
  }
  EXPECT_EQ(last(), ReliableMessage(DisconnectMessage{}));
  EXPECT_EQ(broker.workers(), 1U);
}

TEST_F(ReliableBrokerTest, OtherVersionsAreToldAndNonsenseIsCounted) {
  broker_.HandleFrames("x", {"DSCQ\2", "?"}, now_);
  EXPECT_THAT(TakeSent(), ElementsAre(Sent{"x", VersionMessage{}}));
  broker_.HandleFrames("x", {"hello"}, now_);
  Says("x", WorkMessage{1, ""});
  Says("x", VersionMessage{});
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(broker_.stats().malformed, 3U);
}

TEST_F(ReliableBrokerTest, AStoppingBrokerFinishesWhatItHas) {
  Says("w", ReadyMessage{"gcd", 1});
  Asks("c", 1);
  broker_.StopAccepting();
  Asks("c", 2);
  TakeSent();
  Says("w", ResultMessage{1, AnswerStatus::kDone, "x"});
  EXPECT_THAT(TakeSent(), ElementsAre(Answer("c", 1, AnswerStatus::kDone, "x")));
}

// ---- The worker's and the client's side.

class ReliableWorkerTest : public ::testing::Test {
 protected:
  void Hears(const ReliableMessage& message) {
    worker_.HandleFrames(EncodeReliable(message), now_);
  }
  TimePoint now_{1000s};
  ReliableWorker worker_{{.service = "gcd", .capacity = 2}, now_};
};

TEST_F(ReliableWorkerTest, RegistersAndWorks) {
  auto output = worker_.TakeOutput();
  EXPECT_TRUE(output.reconnect);
  EXPECT_THAT(output.to_broker, ElementsAre(ReadyMessage{"gcd", 2}));
  EXPECT_FALSE(worker_.registered());
  Hears(HeartbeatMessage{});
  EXPECT_TRUE(worker_.registered());
  for (const std::uint64_t tag : std::vector<std::uint64_t>{1, 1, 2, 3})
    Hears(WorkMessage{tag, "b"});
  EXPECT_THAT(worker_.TakeOutput().work, ElementsAre(WorkMessage{1, "b"}, WorkMessage{2, "b"}));
  worker_.Finish({1, AnswerStatus::kDone, "x"});
  worker_.Finish({1, AnswerStatus::kDone, "x"});
  EXPECT_THAT(worker_.TakeOutput().to_broker,
              ElementsAre(ResultMessage{1, AnswerStatus::kDone, "x"}));
}

TEST_F(ReliableWorkerTest, AForgottenWorkerRegistersAgainAndDropsItsWork) {
  Hears(HeartbeatMessage{});
  Hears(WorkMessage{1, "b"});
  worker_.TakeOutput();
  Hears(DisconnectMessage{});
  const auto output = worker_.TakeOutput();
  EXPECT_FALSE(output.reconnect);
  EXPECT_THAT(output.to_broker, ElementsAre(ReadyMessage{"gcd", 2}));
  worker_.Finish({1, AnswerStatus::kDone, "x"});
  EXPECT_TRUE(worker_.TakeOutput().empty());
}

TEST_F(ReliableWorkerTest, ARefusedWorkerDoesNotInsist) {
  worker_.TakeOutput();
  Hears(DisconnectMessage{});
  EXPECT_TRUE(worker_.TakeOutput().empty());
  now_ += 500ms;
  worker_.HandleTimeout(now_);
  EXPECT_THAT(worker_.TakeOutput().to_broker, ElementsAre(ReadyMessage{"gcd", 2}));
}

TEST_F(ReliableWorkerTest, ASilentBrokerIsLeftForANewConnection) {
  Hears(HeartbeatMessage{});
  worker_.TakeOutput();
  now_ = *worker_.NextDeadline();
  worker_.HandleTimeout(now_);
  EXPECT_THAT(worker_.TakeOutput().to_broker, ElementsAre(HeartbeatMessage{}));
  now_ += 1s;
  worker_.HandleTimeout(now_);
  const auto output = worker_.TakeOutput();
  EXPECT_TRUE(output.reconnect);
  EXPECT_THAT(output.to_broker, ElementsAre(ReadyMessage{"gcd", 2}));
}

class ReliableClientTest : public ::testing::Test {
 protected:
  void Hears(const ReliableMessage& message) {
    client_.HandleFrames(EncodeReliable(message), now_);
  }
  void WaitUntilDue() {
    now_ = *client_.NextDeadline();
    client_.HandleTimeout(now_);
  }
  const std::string id_ = "12345678" + std::string(7, '\0') + '\1';
  TimePoint now_{1000s};
  ReliableClient client_{{}, "12345678", now_};
};

TEST_F(ReliableClientTest, ARequestHasOneResult) {
  EXPECT_EQ(*client_.Ask("gcd", "b", now_), 1U);
  auto output = client_.TakeOutput();
  EXPECT_TRUE(output.reconnect);
  EXPECT_THAT(output.to_broker, ElementsAre(RequestMessage{id_, "gcd", "b"}));
  for (int i = 0; i < 2; ++i) Hears(AnswerMessage{id_, AnswerStatus::kDone, "x"});
  output = client_.TakeOutput();
  ASSERT_EQ(output.results.size(), 1U);
  EXPECT_EQ(output.results[0].number, 1U);
  EXPECT_EQ(output.results[0].body, "x");
  EXPECT_EQ(client_.NextDeadline(), std::nullopt);
}

TEST_F(ReliableClientTest, AsksASilentBrokerAgainOnANewConnectionAndEndsInTime) {
  ASSERT_TRUE(client_.Ask("gcd", "b", now_).ok());
  client_.TakeOutput();
  const TimePoint begin = now_;
  int connections = 0;
  for (;;) {
    WaitUntilDue();
    const auto output = client_.TakeOutput();
    if (!output.results.empty()) {
      EXPECT_EQ(output.results[0].status, std::nullopt);
      break;
    }
    EXPECT_TRUE(output.reconnect);
    EXPECT_THAT(output.to_broker, ElementsAre(RequestMessage{id_, "gcd", "b"}));
    ++connections;
  }
  EXPECT_EQ(now_ - begin, 10s);
  EXPECT_EQ(connections, 6);
}

TEST_F(ReliableClientTest, ABrokerThatSpeaksIsAskedAgainOnTheSameConnection) {
  ASSERT_TRUE(client_.Ask("gcd", "a", now_).ok());
  now_ += 1s;
  ASSERT_TRUE(client_.Ask("gcd", "b", now_).ok());
  Hears(AnswerMessage{"12345678" + std::string(7, '\0') + '\2', AnswerStatus::kDone, "x"});
  client_.TakeOutput();
  WaitUntilDue();
  const auto output = client_.TakeOutput();
  EXPECT_FALSE(output.reconnect);
  EXPECT_THAT(output.to_broker, ElementsAre(RequestMessage{id_, "gcd", "a"}));
}

TEST_F(ReliableClientTest, LimitsAreErrors) {
  EXPECT_FALSE(client_.Ask("", "b", now_).ok());
  EXPECT_FALSE(client_.Ask(std::string(65, 's'), "b", now_).ok());
  EXPECT_FALSE(client_.Ask("gcd", std::string(4097, 'b'), now_).ok());
  ReliableClient client({.open_max = 1}, "12345678", now_);
  ASSERT_TRUE(client.Ask("gcd", "b", now_).ok());
  EXPECT_EQ(client.Ask("gcd", "b", now_).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace ds::compute
