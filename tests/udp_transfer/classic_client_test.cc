#include "udp_transfer/core/classic_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tests/udp_transfer/classic_text.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using Outcome = ClassicClient::Outcome;

/// A client in virtual time, which sends `content`.
class ClassicClientTest : public ::testing::Test {
 protected:
  void Begin(std::string content, std::uint64_t seqno0 = 0) {
    content_ = std::move(content);
    client_.emplace(
        ClassicClient::Options{.name = "f", .total_bytes = content_.size(), .seqno0 = seqno0});
  }
  /// The datagram that is sent now; empty: none.
  std::string Sent() {
    if (const auto wanted = client_->Wanted()) {
      const auto bytes = Bytes(content_).subspan(wanted->offset, wanted->room.size());
      std::ranges::copy(bytes, wanted->room.begin());
      client_->Supplied();
    }
    const std::size_t size = client_->PollTransmit(out_, now_);
    return Text(std::span(out_).first(size));
  }
  void Receive(std::string_view datagram) { client_->HandleDatagram(Bytes(datagram), now_); }
  void Pass(Duration time) {
    now_ += time;
    client_->HandleTimeout(now_);
  }
  /// Everything the client sends to a server that loses nothing, from the start ack on.
  std::vector<std::string> SendAll(std::uint64_t seqno0, std::uint64_t buf_bytes) {
    std::vector<std::string> datagrams{Sent()};
    Receive(fmt::format("a | {} | {}", seqno0 + 1, buf_bytes));
    for (std::uint64_t seqno = seqno0 + 1; client_->outcome() == Outcome::kRunning; ++seqno) {
      datagrams.push_back(Sent());
      Receive(fmt::format("a | {}", seqno + 1));
    }
    return datagrams;
  }

  TimePoint now_{1000s};
  std::string content_;
  std::optional<ClassicClient> client_;
  std::vector<std::byte> out_ = std::vector<std::byte>(kClassicDatagramBytesMax);
};

// ---- A transfer.

TEST_F(ClassicClientTest, AFileIsSentAsTheTableSays) {
  Begin("abcdefg");
  EXPECT_EQ(Sent(), "s | 0 | f | 7");
  EXPECT_EQ(Sent(), "") << "one message in flight";
  Receive("a | 1 | 11");
  EXPECT_EQ(Sent(), "d | 1 | abc");
  EXPECT_EQ(Sent(), "");
  Receive("a | 2");
  EXPECT_EQ(Sent(), "d | 2 | def");
  Receive("a | 3");
  EXPECT_EQ(Sent(), "d | 3 | g");
  EXPECT_EQ(client_->outcome(), Outcome::kRunning);
  Receive("a | 4");
  EXPECT_EQ(client_->outcome(), Outcome::kDone);
  EXPECT_EQ(client_->stats().acknowledged_bytes, 7U);
  EXPECT_EQ(client_->stats().sent_bytes, 13U + 11 + 11 + 9);
  EXPECT_EQ(client_->stats().retransmitted_bytes, 0U);
  EXPECT_EQ(client_->NextDeadline(), std::nullopt);
  EXPECT_EQ(Sent(), "");
}

TEST_F(ClassicClientTest, AnEmptyFileIsDoneWhenTheStartIsAcknowledged) {
  Begin("");
  EXPECT_EQ(Sent(), "s | 0 | f | 0");
  EXPECT_TRUE(client_->last_message_sent());
  Receive("a | 1 | 1024");
  EXPECT_EQ(client_->outcome(), Outcome::kDone);
  EXPECT_EQ(Sent(), "");
}

TEST_F(ClassicClientTest, Seqno0MayBeAnyNumber) {
  for (const std::uint64_t seqno0 : {std::uint64_t{1}, std::uint64_t{99}, kSeqno0Max}) {
    Begin("ab", seqno0);
    const auto datagrams = SendAll(seqno0, ClassicDataHeaderBytes(seqno0 + 1) + 1);
    ASSERT_EQ(datagrams.size(), 3U);
    EXPECT_EQ(datagrams[0], fmt::format("s | {} | f | 2", seqno0));
    EXPECT_EQ(datagrams[1], fmt::format("d | {} | a", seqno0 + 1));
    EXPECT_EQ(datagrams[2], fmt::format("d | {} | b", seqno0 + 2));
  }
}

TEST_F(ClassicClientTest, TheWholeDatagramStaysWithinTheBufferAsTheNumberGainsDigits) {
  constexpr std::uint64_t kBuf = 30;
  std::string content;
  for (int i = 0; content.size() < 10'100 * 20; ++i) content += static_cast<char>('a' + i % 23);
  for (const std::uint64_t seqno0 : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{95}}) {
    Begin(content, seqno0);
    const auto datagrams = SendAll(seqno0, kBuf);
    ASSERT_EQ(client_->outcome(), Outcome::kDone);
    EXPECT_GT(datagrams.size(), 10'000U);
    std::string arrived;
    for (std::size_t i = 1; i < datagrams.size(); ++i) {
      const std::string header = fmt::format("d | {} | ", seqno0 + i);
      ASSERT_TRUE(datagrams[i].starts_with(header)) << datagrams[i];
      arrived += datagrams[i].substr(header.size());
      if (i + 1 < datagrams.size()) {
        ASSERT_EQ(datagrams[i].size(), kBuf) << i;
      }
    }
    EXPECT_LE(datagrams.back().size(), kBuf);
    EXPECT_EQ(arrived, content);
  }
}

TEST_F(ClassicClientTest, SizesAroundOneBufferTakeOneMessageOrTwo) {
  for (const auto& [size, messages] :
       {std::pair{1, 2U}, std::pair{1015, 2U}, std::pair{1016, 2U}, std::pair{1017, 3U},
        std::pair{1032, 3U}, std::pair{2032, 3U}, std::pair{2033, 4U}}) {
    Begin(std::string(static_cast<std::size_t>(size), 'x'));
    const auto datagrams = SendAll(0, 1024);
    EXPECT_EQ(datagrams.size(), messages) << size;
    EXPECT_EQ(client_->stats().acknowledged_bytes, static_cast<std::uint64_t>(size));
  }
}

TEST_F(ClassicClientTest, AFileOfSeparatorsIsSentAsItIs) {
  Begin(" |  |  | ");
  EXPECT_EQ(SendAll(0, 12)[1], "d | 1 |  |  ");
  EXPECT_EQ(client_->outcome(), Outcome::kDone);
}

TEST_F(ClassicClientTest, TheLargestBufferIsThatOfUdp) {
  Begin(std::string(70'000, 'x'));
  for (const std::uint64_t buf : {std::uint64_t{65'508}, ~std::uint64_t{0}}) {
    Begin(std::string(70'000, 'x'));
    EXPECT_EQ(SendAll(0, buf)[1].size(), 65'507U);
  }
}

TEST_F(ClassicClientTest, ABufferWithoutRoomForPayloadIsAMalfunctionOfTheServer) {
  for (const int buf : {0, 1, 8}) {
    Begin("x");
    Sent();
    Receive(fmt::format("a | 1 | {}", buf));
    EXPECT_EQ(client_->outcome(), Outcome::kBufferTooSmall) << buf;
    EXPECT_NE(client_->FailureText(), "");
  }
  // With 9 bytes there is room up to message 9.
  Begin("0123456789");
  const auto datagrams = SendAll(0, 9);
  EXPECT_EQ(datagrams.size(), 10U);
  EXPECT_EQ(client_->outcome(), Outcome::kBufferTooSmall);
  // An empty file needs none.
  Begin("");
  Sent();
  Receive("a | 1 | 0");
  EXPECT_EQ(client_->outcome(), Outcome::kDone);
}

// ---- Time.

TEST_F(ClassicClientTest,
       EachMessageIsSentFiveTimesHalfASecondApartAndThenTheServerIsMalfunctioning) {
  for (const bool start : {true, false}) {
    Begin("x");
    std::string message = Sent();
    if (!start) {
      Receive("a | 1 | 1024");
      message = Sent();
    }
    for (int resend = 1; resend < 5; ++resend) {
      EXPECT_EQ(client_->NextDeadline(), now_ + 500ms);
      Pass(500ms - Duration(1));
      EXPECT_EQ(Sent(), "");
      Pass(Duration(1));
      EXPECT_EQ(Sent(), message);
      EXPECT_EQ(client_->sends(), resend + 1);
    }
    EXPECT_EQ(client_->stats().retransmitted_bytes, 4 * message.size());
    Pass(500ms - Duration(1));
    EXPECT_EQ(client_->outcome(), Outcome::kRunning);
    Pass(Duration(1));
    EXPECT_EQ(client_->outcome(), Outcome::kNotAcknowledged);
    EXPECT_EQ(Sent(), "");
    EXPECT_EQ(client_->NextDeadline(), std::nullopt);
    EXPECT_EQ(client_->FailureText().find("the server is malfunctioning"), 0U);
  }
}

TEST_F(ClassicClientTest, AnAckInTheLastHalfSecondIsInTime) {
  Begin("x");
  Sent();
  for (int resend = 1; resend < 5; ++resend) {
    Pass(500ms);
    Sent();
  }
  Pass(500ms - Duration(1));
  Receive("a | 1 | 1024");
  EXPECT_EQ(Sent(), "d | 1 | x");
  Pass(500ms);
  EXPECT_EQ(Sent(), "d | 1 | x") << "and the next message has five sends of its own";
}

TEST_F(ClassicClientTest, AnAckMakesAResendThatIsDueNeedless) {
  Begin("x");
  Sent();
  Pass(500ms);
  Receive("a | 1 | 1024");
  EXPECT_EQ(Sent(), "d | 1 | x");
}

TEST_F(ClassicClientTest, TheTimeRunsFromTheSendNotFromTheMomentItWasDue) {
  Begin("x");
  Sent();
  Pass(500ms);
  now_ += 300ms;  // the socket takes nothing
  EXPECT_EQ(Sent(), "s | 0 | f | 1");
  EXPECT_EQ(client_->NextDeadline(), now_ + 500ms);
}

TEST_F(ClassicClientTest, ARefusalEndsItAtOnce) {
  Begin("x");
  Sent();
  client_->HandleRefusal();
  EXPECT_EQ(client_->outcome(), Outcome::kRefused);
  EXPECT_EQ(client_->NextDeadline(), std::nullopt);
  Receive("a | 1 | 1024");
  EXPECT_EQ(client_->outcome(), Outcome::kRefused);
}

// ---- Acks that are not waited for.

TEST_F(ClassicClientTest, AMalformedOrUnexpectedAckIsIgnoredAndUsesUpNoTry) {
  using namespace std::string_literals;
  const std::vector<std::string> never = {"",
                                          "a",
                                          "a | ",
                                          "a|1|1024",
                                          "a | x | 1024",
                                          "A | 1 | 1024",
                                          "a | -1",
                                          "a | 1 | ",
                                          "a | 1 | x",
                                          "a | 1 | 2 | 3",
                                          "a | 2 | 3 | 4",
                                          "a | 0",
                                          "a | 0 | 9",
                                          "a | 4",
                                          "a | 4 | 99",
                                          "s | 0 | f | 1",
                                          "d | 2 | x",
                                          "d | 1 | ",
                                          "a | 1 | 1024\n",
                                          "a | 2\n",
                                          "a | 2\0"s,
                                          " a | 2",
                                          "a | 18446744073709551616",
                                          "a | 3 | 1024"};
  std::vector<std::string> not_at_start = never;
  not_at_start.insert(not_at_start.end(), {"a | 1", "a | 2", "a | 2 | 1024"});
  std::vector<std::string> not_at_data = never;
  not_at_data.insert(not_at_data.end(), {"a | 1", "a | 1 | 1024", "a | 2 | 1024", "a | 3"});

  Begin("x");
  Sent();
  const auto deadline = client_->NextDeadline();
  now_ += 100ms;
  for (const std::string& ack : not_at_start) Receive(ack);
  EXPECT_EQ(client_->sends(), 1);
  EXPECT_EQ(client_->NextDeadline(), deadline);
  EXPECT_EQ(client_->Wanted().has_value(), false);
  EXPECT_EQ(Sent(), "");

  Receive("a | 1 | 1024");
  EXPECT_EQ(Sent(), "d | 1 | x");
  now_ += 100ms;
  for (const std::string& ack : not_at_data) Receive(ack);
  EXPECT_EQ(client_->sends(), 1);
  EXPECT_EQ(client_->NextDeadline(), now_ + 400ms);
  EXPECT_EQ(Sent(), "") << "a duplicate ack causes no send";
  EXPECT_EQ(client_->outcome(), Outcome::kRunning);
  Receive("a | 2");
  EXPECT_EQ(client_->outcome(), Outcome::kDone);
}

TEST_F(ClassicClientTest, AnAckOfWhatHasNotBeenSentIsIgnored) {
  Begin("x");
  Receive("a | 1 | 1024");
  EXPECT_EQ(Sent(), "s | 0 | f | 1");
  Receive("a | 1 | 1024");
  ASSERT_TRUE(client_->Wanted());
  Receive("a | 2");
  EXPECT_EQ(client_->outcome(), Outcome::kRunning);
  EXPECT_EQ(Sent(), "d | 1 | x");
}

// ---- For the shell.

TEST_F(ClassicClientTest, OnePayloadAtATimeIsWanted) {
  Begin("abcde");
  EXPECT_FALSE(client_->Wanted());
  Sent();
  EXPECT_FALSE(client_->Wanted());
  Receive("a | 1 | 11");
  ASSERT_TRUE(client_->Wanted());
  EXPECT_EQ(client_->Wanted()->offset, 0U);
  EXPECT_EQ(client_->Wanted()->room.size(), 3U);
  EXPECT_EQ(client_->PollTransmit(out_, now_), 0U);
  Sent();
  EXPECT_FALSE(client_->last_message_sent());
  EXPECT_FALSE(client_->Wanted());
  Receive("a | 2");
  EXPECT_EQ(client_->Wanted()->offset, 3U);
  EXPECT_EQ(client_->Wanted()->room.size(), 2U);
  EXPECT_FALSE(client_->last_message_sent());
  Sent();
  EXPECT_TRUE(client_->last_message_sent());
}

TEST_F(ClassicClientTest, TheRoundTripIsTakenFromMessagesThatWereSentOnce) {
  Begin("ab");
  Sent();
  Pass(500ms);
  Sent();
  now_ += 1ms;
  Receive("a | 1 | 9");
  EXPECT_EQ(client_->stats().rtt_min, std::nullopt);
  Sent();
  now_ += 20ms;
  Receive("a | 2");
  EXPECT_EQ(client_->stats().rtt_min, 20ms);
  Sent();
  now_ += 10ms;
  Receive("a | 3");
  EXPECT_EQ(client_->stats().rtt_min, 10ms);
}

}  // namespace
}  // namespace ds::udp_transfer
