#include "udp_transfer/core/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/udp_transfer/allocations.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using State = Connection::State;
using Received = Connection::Received;

constexpr std::size_t kTagBytes = 8;

Connection::Options ClientOptions(std::size_t datagram_max = 1200) {
  Connection::Options options;
  options.id = 42;
  options.tag_bytes = kTagBytes;
  options.send_buffer = options.receive_buffer = 1U << 20U;
  options.datagram_max = datagram_max;
  options.peer_limit = 1U << 20U;
  options.initial.client_random.fill(std::byte{0xC1});
  options.initial.cookie.fill(std::byte{0xC0});
  return options;
}
Connection::Options ServerOptions(std::size_t datagram_max = 1200) {
  Connection::Options options = ClientOptions(datagram_max);
  options.role = Connection::Role::kServer;
  return options;
}

struct Datagram {
  std::vector<std::byte> bytes;
  Connection::Transmit transmit;
};

/// Two connections without a network: the test decides what arrives, and when.
class ConnectionTest : public ::testing::Test {
 protected:
  explicit ConnectionTest(std::size_t datagram_max = 1200)
      : client_(ClientOptions(datagram_max), now_), server_(ServerOptions(datagram_max), now_) {}

  std::vector<Datagram> Poll(Connection& from) {
    std::vector<Datagram> datagrams;
    std::vector<std::byte> out(65536);
    while (const auto transmit = from.PollTransmit(out, now_)) {
      datagrams.push_back(
          {{out.begin(), out.begin() + static_cast<std::ptrdiff_t>(transmit->size)}, *transmit});
      if (datagrams.size() > 10'000) {
        ADD_FAILURE() << "sends without end";
        break;
      }
    }
    return datagrams;
  }
  Received Deliver(Connection& to, const Datagram& datagram) {
    const auto number = to.PacketNumber(datagram.bytes);
    if (!number) return Received::kDuplicate;
    return to.HandleDatagram(datagram.bytes, *number, now_);
  }
  void DeliverAll(Connection& to, const std::vector<Datagram>& datagrams) {
    for (const Datagram& datagram : datagrams) Deliver(to, datagram);
  }
  /// Moves datagrams both ways until both are silent at this moment.
  void Exchange() {
    for (int i = 0; i < 1000; ++i) {
      const auto up = Poll(client_);
      DeliverAll(server_, up);
      const auto down = Poll(server_);
      DeliverAll(client_, down);
      if (up.empty() && down.empty()) return;
    }
    ADD_FAILURE() << "they talk without end";
  }

  /// Nobody answers the client, which is at last closed for that: after how long. `each` is told
  /// of every turn whether something was sent in it.
  Duration UntilItGivesUp(const std::function<void(bool sent)>& each = nullptr) {
    const TimePoint begin = now_;
    for (int i = 0; i < 1000 && client_.state() == State::kOpen; ++i) {
      const bool sent = !Poll(client_).empty();
      if (each) each(sent);
      now_ = *client_.NextDeadline();
      client_.HandleTimeout(now_);
    }
    EXPECT_EQ(client_.state(), State::kClosed);
    EXPECT_EQ(client_.close_reason().code, kCloseIdle);
    return now_ - begin;
  }

  /// As if both had waited so long and nothing had got lost.
  void Pass(Duration duration) {
    const TimePoint end = now_ + duration;
    while (true) {
      client_.HandleTimeout(now_);
      server_.HandleTimeout(now_);
      Exchange();
      const auto a = client_.NextDeadline();
      const auto b = server_.NextDeadline();
      if (!a && !b) break;
      const TimePoint next = std::min(a.value_or(TimePoint::max()), b.value_or(TimePoint::max()));
      ASSERT_GT(next, now_);
      if (next > end) break;
      now_ = next;
    }
    now_ = end;
  }
  static void Write(Connection& connection, std::string_view text) {
    ASSERT_GE(connection.Writable().size(), text.size());
    std::ranges::copy(std::as_bytes(std::span(text)), connection.Writable().begin());
    connection.Commit(text.size());
  }
  static std::string Read(Connection& connection) {
    std::string all;
    while (!connection.Readable().empty()) {
      const auto bytes = connection.Readable();
      all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      connection.Consume(bytes.size());
    }
    return all;
  }
  /// A packet for `to`, with a number of its own choice.
  static Datagram Packet(std::uint32_t number, const std::function<void(WireWriter&)>& frames) {
    Datagram datagram;
    datagram.bytes.resize(2000);
    WireWriter writer(datagram.bytes);
    EncodeHeader({.connection_id = 42, .packet_number_low = number}, writer);
    frames(writer);
    datagram.bytes.resize(writer.written());
    return datagram;
  }
  static std::vector<Frame> Frames(const Datagram& datagram) {
    FrameReader reader(std::span(datagram.bytes).subspan(DecodeHeader(datagram.bytes)->size()));
    std::vector<Frame> frames;
    while (const auto frame = reader.Next()) frames.push_back(*frame);
    EXPECT_EQ(reader.error(), "");
    return frames;
  }
  template <typename Type>
  static bool Has(const Datagram& datagram) {
    const auto frames = Frames(datagram);
    return std::ranges::any_of(
        frames, [](const Frame& frame) { return std::holds_alternative<Type>(frame); });
  }
  void Establish() {
    Pass(100ms);
    ASSERT_TRUE(client_.established() && server_.established());
  }

  TimePoint now_{1000s};
  Connection client_;
  Connection server_;
};

TEST_F(ConnectionTest, BytesGoBothWaysAndBothEndsComplete) {
  Write(client_, "to the server");
  client_.Finish();
  Write(server_, "to the client");
  server_.Finish();
  Exchange();
  EXPECT_EQ(Read(server_), "to the server");
  EXPECT_EQ(Read(client_), "to the client");
  Pass(1s);
  EXPECT_TRUE(client_.PeerFinished() && server_.PeerFinished());
  EXPECT_TRUE(client_.complete() && server_.complete());
  EXPECT_EQ(client_.acked(), 13U);
}

TEST_F(ConnectionTest, ClientSendsInitialsUntilTheServerAcknowledgesOne) {
  Write(client_, "hello");
  auto datagrams = Poll(client_);
  ASSERT_EQ(datagrams.size(), 1U);
  EXPECT_TRUE(datagrams[0].transmit.initial);
  const auto header = DecodeHeader(datagrams[0].bytes);
  ASSERT_TRUE(header && header->initial);
  EXPECT_EQ(*header->initial, ClientOptions().initial);
  Write(client_, "more");
  EXPECT_TRUE(DecodeHeader(Poll(client_).at(0).bytes)->initial.has_value());
  DeliverAll(server_, datagrams);
  const auto answer = Poll(server_);
  ASSERT_EQ(answer.size(), 1U) << "the first packet is acknowledged at once";
  EXPECT_FALSE(answer[0].transmit.initial);
  DeliverAll(client_, answer);
  Write(client_, "and more");
  EXPECT_FALSE(DecodeHeader(Poll(client_).at(0).bytes)->initial.has_value());
}

TEST_F(ConnectionTest, AClientWithNothingToSayBeginsAllTheSame) {
  const auto datagrams = Poll(client_);
  ASSERT_EQ(datagrams.size(), 1U);
  EXPECT_TRUE(Has<PingFrame>(datagrams[0]));
  EXPECT_TRUE(Poll(server_).empty());
}

TEST_F(ConnectionTest, ForeignDatagramsAreNotOurs) {
  const auto datagram = Poll(client_).at(0);
  auto bytes = datagram.bytes;
  EXPECT_EQ(server_.PacketNumber(bytes), 0U);
  EXPECT_EQ(client_.PacketNumber(bytes), std::nullopt) << "a client gets no initials";
  bytes[8] ^= std::byte{1};
  EXPECT_EQ(server_.PacketNumber(bytes), std::nullopt) << "another connection";
  EXPECT_EQ(server_.PacketNumber(std::span(bytes).first(12)), std::nullopt);
  EXPECT_EQ(server_.PacketNumber({}), std::nullopt);
}

TEST_F(ConnectionTest, RepeatedPacketsAreDropped) {
  Write(client_, "once");
  const auto datagram = Poll(client_).at(0);
  EXPECT_EQ(server_.HandleDatagram(datagram.bytes, 0, now_), Received::kTaken);
  EXPECT_EQ(server_.PacketNumber(datagram.bytes), std::nullopt);
  EXPECT_EQ(server_.HandleDatagram(datagram.bytes, 0, now_), Received::kDuplicate);
  EXPECT_EQ(server_.stats().duplicate_datagrams, 1U);
  EXPECT_EQ(Read(server_), "once");
}

// RFC 9000, 13.2.
TEST_F(ConnectionTest, EverySecondPacketIsAcknowledgedOrAfterFiveMilliseconds) {
  Establish();
  const auto send = [&](std::string_view text) {
    Write(client_, text);
    return Poll(client_).at(0);
  };
  Deliver(server_, send("a"));
  EXPECT_TRUE(Poll(server_).empty());
  EXPECT_EQ(server_.NextDeadline(), now_ + 5ms);
  Deliver(server_, send("b"));
  auto acks = Poll(server_);
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_TRUE(Has<AckFrame>(acks[0]));
  DeliverAll(client_, acks);

  Deliver(server_, send("c"));
  now_ += 5ms;
  server_.HandleTimeout(now_);
  acks = Poll(server_);
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_EQ(std::get<AckFrame>(Frames(acks[0]).at(0)).delay_us, 5000U);

  for (int i = 0; i < 20; ++i) Deliver(server_, send("d"));
  EXPECT_EQ(Poll(server_).size(), 1U) << "one ack for a batch";

  const auto lost = send("e");
  Deliver(server_, send("f"));
  EXPECT_EQ(Poll(server_).size(), 1U) << "at once, since one is missing";
  Deliver(server_, lost);
  EXPECT_EQ(Poll(server_).size(), 1U) << "at once, since it was missing";
}

TEST_F(ConnectionTest, AcksAreNotAcknowledged) {
  Establish();
  Write(client_, "a");
  Pass(3s);
  const std::uint64_t sent = client_.stats().sent_datagrams + server_.stats().sent_datagrams;
  Pass(1s);
  EXPECT_EQ(client_.stats().sent_datagrams + server_.stats().sent_datagrams, sent);
}

TEST_F(ConnectionTest, DatagramsInARowAreOfOneSize) {
  Establish();
  Write(client_, std::string(20'000, 'x'));
  const auto datagrams = Poll(client_);
  ASSERT_GE(datagrams.size(), 2U);
  for (std::size_t i = 0; i + 1 < datagrams.size(); ++i) {
    EXPECT_EQ(datagrams[i].transmit.size + kTagBytes, client_.datagram_bytes());
  }
  EXPECT_LE(datagrams.back().transmit.size + kTagBytes, client_.datagram_bytes());
}

TEST_F(ConnectionTest, LostBytesAreSentAgain) {
  Establish();
  Write(client_, "lost ");
  Poll(client_);
  Write(client_, "found");
  DeliverAll(server_, Poll(client_));
  EXPECT_EQ(Read(server_), "");
  Pass(2s);
  EXPECT_EQ(Read(server_), "lost found");
  EXPECT_EQ(client_.stats().retransmitted_stream_bytes, 5U);
}

// RFC 9002, 6.2.4.
TEST_F(ConnectionTest, ASilentPeerIsSentTheOldestBytesOnceMore) {
  Establish();
  Write(client_, "x");
  Poll(client_);
  now_ = *client_.NextDeadline();
  client_.HandleTimeout(now_);
  const auto probes = Poll(client_);
  ASSERT_FALSE(probes.empty());
  ASSERT_TRUE(Has<StreamFrame>(probes[0]));
  DeliverAll(server_, probes);
  EXPECT_EQ(Read(server_), "x");
  EXPECT_EQ(client_.stats().lost_datagrams, 0U);
  EXPECT_EQ(client_.stats().probe_timeouts, 1U);
}

TEST_F(ConnectionTest, WhatIsAwaitedIsAskedForEveryFewSeconds) {
  Establish();
  Write(client_, "a");
  client_.Finish();
  Pass(2s);
  const std::uint64_t sent = client_.stats().sent_datagrams;
  Pass(60s);  // the server is busy
  EXPECT_EQ(client_.state(), State::kOpen);
  EXPECT_EQ(server_.state(), State::kOpen);
  EXPECT_GT(client_.stats().sent_datagrams, sent + 5);
  EXPECT_LT(client_.stats().sent_datagrams, sent + 40);
}

TEST_F(ConnectionTest, AShortIdleTimeoutIsNoReasonToGiveUpAPeerThatLives) {
  Connection::Options options = ClientOptions();
  options.idle_timeout = 900ms;
  client_ = Connection(options, now_);
  options = ServerOptions();
  options.idle_timeout = 900ms;
  server_ = Connection(options, now_);
  Establish();
  Pass(60s);
  EXPECT_EQ(client_.state(), State::kOpen);
  EXPECT_EQ(server_.state(), State::kOpen);
}

TEST_F(ConnectionTest, APeerThatVanishedIsGivenUp) {
  Establish();
  Write(client_, "a");
  const Duration borne = UntilItGivesUp();
  EXPECT_GE(borne, 29s);
  EXPECT_LE(borne, 31s);
  EXPECT_EQ(client_.NextDeadline(), std::nullopt);
  EXPECT_TRUE(Poll(client_).empty());
  EXPECT_LT(client_.stats().sent_datagrams, 60U) << "probes come at growing distances";
}

// Flow control.

TEST_F(ConnectionTest, BytesBeyondTheLimitAreDroppedUnacknowledged) {
  Establish();
  const std::uint64_t dropped = server_.stats().dropped_datagrams;
  const auto beyond = Packet(1000, [](WireWriter& writer) {
    EncodeStreamHeader(1U << 20U, false, writer);
    writer.Number('x', 1);
  });
  EXPECT_EQ(Deliver(server_, beyond), Received::kDropped);
  EXPECT_EQ(server_.stats().dropped_datagrams, dropped + 1);
  EXPECT_EQ(server_.state(), State::kOpen);
  EXPECT_TRUE(Poll(server_).empty());
  EXPECT_EQ(Deliver(server_, beyond), Received::kDropped) << "and would be welcome later";
}

TEST_F(ConnectionTest, AClosedWindowOpensAgain) {
  Establish();
  std::uint64_t read = 0;
  const auto fill = [&] {
    while (!client_.Writable().empty()) client_.Commit(client_.Writable().size());
    Pass(3s);
  };
  fill();
  EXPECT_EQ(server_.Readable().size(), 1U << 20U);
  EXPECT_EQ(client_.acked(), 1U << 20U);
  fill();
  EXPECT_EQ(client_.acked(), 1U << 20U) << "the window is closed";
  while (!server_.Readable().empty()) {
    const std::size_t some = std::min<std::size_t>(server_.Readable().size(), 100'000);
    server_.Consume(some);
    read += some;
    Pass(1s);
  }
  EXPECT_EQ(read, 2U << 20U);
}

TEST_F(ConnectionTest, AWindowUpdateThatGetsLostIsRepeated) {
  Establish();
  client_.Commit(client_.Writable().size());
  Pass(3s);
  client_.Commit(1000);
  Pass(1s);
  server_.Consume(server_.Readable().size());
  const auto update = Poll(server_);
  ASSERT_EQ(update.size(), 1U);
  EXPECT_TRUE(Has<AckFrame>(update[0]) && Has<PingFrame>(update[0])) << "asks for an ack itself";
  EXPECT_TRUE(Poll(client_).empty());
  Pass(1s);  // without it
  EXPECT_EQ(server_.Readable().size(), 1000U);
}

TEST_F(ConnectionTest, SmallStepsOfTheReaderAreNotAnnouncedOneByOne) {
  Establish();
  client_.Commit(client_.Writable().size());
  Pass(3s);
  const std::uint64_t sent = server_.stats().sent_datagrams;
  for (int i = 0; i < 1024; ++i) {
    server_.Consume(1024);
    Exchange();
  }
  EXPECT_LE(server_.stats().sent_datagrams, sent + 8);
}

// Lies.

TEST_F(ConnectionTest, MalformedFramesCloseTheConnection) {
  Establish();
  const struct {
    const char* what;
    std::function<void(WireWriter&)> frames;
    const char* text;
  } cases[] = {
      {"unknown frame", [](WireWriter& writer) { writer.Number(0x77, 1); }, "unknown frame type"},
      {"ack of nothing sent",
       [](WireWriter& writer) {
         EncodeAck(std::vector<Interval>{{5000, 5001}}, 0, 0, writer);
       },
       "never sent"},
      {"cut", [](WireWriter& writer) { writer.Number(0x0300, 2); }, "malformed stream frame"},
      {"two ends",
       [](WireWriter& writer) {
         EncodeStreamHeader(50, true, writer);
         writer.Number('x', 1);
       },
       "end of the stream"},
  };
  for (const auto& each : cases) {
    Connection server(ServerOptions(), now_);
    Deliver(server, Packet(1, [](WireWriter& writer) { EncodeStreamHeader(10, true, writer); }));
    Poll(server);
    EXPECT_EQ(Deliver(server, Packet(2, each.frames)), Received::kDropped);
    ASSERT_EQ(server.state(), State::kClosing) << each.what;
    EXPECT_EQ(server.close_reason().code, kCloseProtocolViolation);
    EXPECT_THAT(server.close_reason().text, HasSubstr(each.text)) << each.what;
    const auto close = Poll(server);
    ASSERT_EQ(close.size(), 1U);
    EXPECT_TRUE(Has<CloseFrame>(close[0])) << "the peer is told";
  }
}

TEST_F(ConnectionTest, LimitsThatGoBackwardsAndAbsurdDelaysAreOverlooked) {
  Establish();
  Write(client_, "a");
  Poll(client_);
  const std::uint64_t last = client_.stats().sent_datagrams - 1;
  now_ += 10ms;
  Deliver(client_, Packet(500, [&](WireWriter& writer) {
            EncodeAck(std::vector<Interval>{{0, last + 1}}, 0xffffffff, 0, writer);
          }));
  EXPECT_EQ(client_.state(), State::kOpen);
  EXPECT_EQ(client_.acked(), 1U);
  EXPECT_LT(client_.rtt().smoothed(), 1s);
  Write(client_, "b");
  EXPECT_EQ(Poll(client_).size(), 1U) << "the limit has not fallen";
}

TEST_F(ConnectionTest, APeerThatAcknowledgesNothingCannotFillTheMemory) {
  Establish();
  Write(server_, "never acknowledged");
  Poll(server_);
  std::uint32_t number = 1000;
  for (int i = 0; i < 1'000'000 && server_.state() == State::kOpen; ++i) {
    Deliver(server_, Packet(number += 2, EncodePing));
    Poll(server_);
  }
  EXPECT_EQ(server_.state(), State::kClosing);
  EXPECT_THAT(server_.close_reason().text, HasSubstr("without an acknowledgement"));
}

// The end.

TEST_F(ConnectionTest, CloseIsAnsweredToLatePacketsUntilTheLingeringIsOver) {
  Establish();
  Write(server_, "late");
  const auto late = Poll(server_);
  client_.Close(17, "enough", now_);
  EXPECT_EQ(client_.state(), State::kClosing);
  EXPECT_EQ(Poll(client_).size(), 1U) << "this one is lost";
  EXPECT_TRUE(Poll(client_).empty());
  DeliverAll(client_, late);
  const auto again = Poll(client_);
  ASSERT_EQ(again.size(), 1U);
  DeliverAll(server_, again);
  EXPECT_EQ(server_.state(), State::kDraining);
  EXPECT_EQ(server_.close_reason().code, 17);
  EXPECT_TRUE(server_.close_reason().by_peer);
  EXPECT_EQ(server_.close_reason().text, "enough");
  EXPECT_TRUE(Poll(server_).empty()) << "a close is not answered";
  Pass(5s);
  EXPECT_EQ(client_.state(), State::kClosed);
  EXPECT_EQ(server_.state(), State::kClosed);
  DeliverAll(client_, late);
  EXPECT_TRUE(Poll(client_).empty());
}

TEST_F(ConnectionTest, ALostCloseIsRepeatedWhileLingering) {
  Establish();
  client_.Close(17, "", now_);
  Poll(client_);
  Pass(5s);
  EXPECT_EQ(server_.state(), State::kClosed);
  EXPECT_EQ(server_.close_reason().code, 17);
}

TEST_F(ConnectionTest, CloseBringsTheLastAck) {
  Establish();
  Write(server_, "the last");
  server_.Finish();
  client_.Finish();
  Exchange();
  Pass(1s);
  ASSERT_EQ(Read(client_), "the last");
  client_.Close(kCloseDone, "", now_);
  DeliverAll(server_, Poll(client_));
  EXPECT_TRUE(server_.complete());
}

TEST_F(ConnectionTest, AResetEndsTheConnectionAtOnce) {
  Establish();
  client_.HandleReset(now_);
  EXPECT_EQ(client_.state(), State::kClosed);
  EXPECT_EQ(client_.close_reason().code, kCloseReset);
  EXPECT_TRUE(Poll(client_).empty());
}

TEST_F(ConnectionTest, ARefusalEndsTheConnectionBeforeItHasBegun) {
  Poll(client_);
  client_.HandleRefusal("the server is full", now_);
  EXPECT_EQ(client_.state(), State::kClosed);
  EXPECT_EQ(client_.close_reason().code, kCloseRefused);
  EXPECT_EQ(client_.close_reason().text, "the server is full");
}

TEST_F(ConnectionTest, WhoAwaitsAPlaceProbesOnBehindTheIdleTimeout) {
  const TimePoint begin = now_;
  TimePoint last_probe = begin;
  const Duration borne = UntilItGivesUp([&](bool sent) {
    if (sent) last_probe = now_;
    client_.AwaitPlace();  // each is refused
  });
  EXPECT_EQ(borne, 36s);
  EXPECT_GE(last_probe - begin, 33s);
}

TEST_F(ConnectionTest, WhoHasGotItsPlaceHasItsIdleTimeout) {
  client_.AwaitPlace();
  Establish();
  Write(client_, "a");
  EXPECT_LE(UntilItGivesUp(), 31s);
}

TEST_F(ConnectionTest, ARefusalThatComesTooLateIsIgnored) {
  Establish();
  client_.HandleRefusal("the server is full", now_);
  EXPECT_EQ(client_.state(), State::kOpen);
}

// The path.

TEST_F(ConnectionTest, NoOtherCookieIsWantedBeforeTheServerWasHeard) {
  for (int i = 0; i < 6; ++i) {
    Poll(client_);
    now_ = *client_.NextDeadline();
    client_.HandleTimeout(now_);
  }
  ASSERT_EQ(client_.state(), State::kOpen);
  EXPECT_FALSE(client_.NeedsCookie());
  EXPECT_FALSE(Poll(client_).empty()) << "it goes on with the first one";
}

TEST_F(ConnectionTest, ADeadPathIsRevivedByANewCookie) {
  Establish();
  Write(client_, "over there");
  EXPECT_FALSE(client_.NeedsCookie());
  for (int i = 0; i < 3; ++i) {
    Poll(client_);
    EXPECT_FALSE(client_.NeedsCookie());
    now_ = *client_.NextDeadline();
    client_.HandleTimeout(now_);
  }
  EXPECT_TRUE(client_.NeedsCookie());
  EXPECT_FALSE(server_.NeedsCookie());
  InitialFields fields = ClientOptions().initial;
  fields.cookie.fill(std::byte{0xC7});
  client_.HandleCookie(fields);
  EXPECT_FALSE(client_.NeedsCookie());
  const auto initials = Poll(client_);
  ASSERT_FALSE(initials.empty());
  EXPECT_EQ(DecodeHeader(initials[0].bytes)->initial, fields);

  // A packet that the server sent before does not end it, one that answers does.
  Deliver(client_, Packet(900, EncodePing));
  Write(client_, ".");
  EXPECT_TRUE(Poll(client_).at(0).transmit.initial);
  DeliverAll(server_, initials);
  EXPECT_EQ(Read(server_), "over there");
  server_.HandlePathChange(Connection::PathChange::kAddress);
  DeliverAll(client_, Poll(server_));
  Write(client_, "!");
  EXPECT_FALSE(Poll(client_).at(0).transmit.initial);
}

TEST_F(ConnectionTest, AnAckOfScatteredPacketsLeavesRoomForData) {
  Establish();
  for (std::uint32_t i = 1; i <= 400; ++i) Deliver(server_, Packet(i << 21U, EncodePing));
  std::size_t ranges = 0;
  for (int i = 0; i < 8; ++i) {
    Write(server_, std::string(3000, 'x'));
    Deliver(server_, Packet((401U + static_cast<std::uint32_t>(i)) << 21U, EncodePing));
    for (const Datagram& datagram : Poll(server_)) {
      for (const Frame& frame : Frames(datagram)) {
        const auto* ack = std::get_if<AckFrame>(&frame);
        if (ack == nullptr) continue;
        std::size_t count = 0;
        for (AckRanges left = ack->ranges; left.Next();) ++count;
        ranges = std::max(ranges, count);
      }
    }
  }
  EXPECT_GT(ranges, 64U) << "more than the usual 16";
  EXPECT_LT(ranges, 128U) << "each takes 5 bytes and more";
}

// RFC 9000, 9.4.
TEST_F(ConnectionTest, AnotherPortIsTheSamePathAndAnotherAddressIsNot) {
  Establish();
  Write(client_, std::string(50'000, 'x'));
  Pass(10ms);
  std::vector<Datagram> before;
  now_ += 10ms;
  Write(client_, "on the way");
  before = Poll(client_);
  now_ += 10ms;
  DeliverAll(server_, before);
  DeliverAll(client_, Poll(server_));
  ASSERT_TRUE(client_.rtt().has_sample());
  client_.HandlePathChange(Connection::PathChange::kPort);
  EXPECT_TRUE(client_.rtt().has_sample());
  EXPECT_NE(client_.congestion().min_rtt(), Duration::max());
  EXPECT_FALSE(Poll(client_).empty()) << "something is sent at once";
  client_.HandlePathChange(Connection::PathChange::kAddress);
  EXPECT_FALSE(client_.rtt().has_sample());
  EXPECT_EQ(client_.congestion().min_rtt(), Duration::max());
  EXPECT_EQ(client_.congestion().bandwidth(), 0);
  EXPECT_FALSE(Poll(client_).empty());
}

TEST_F(ConnectionTest, WhileNothingCanBeSentOnlyTheEndIsWaitedFor) {
  Establish();
  Write(client_, "is due");
  Deliver(server_, Packet(900, EncodePing));
  now_ += 1s;
  ASSERT_LE(*client_.NextDeadline(), now_);
  EXPECT_GT(*client_.EndDeadline(), now_ + 20s);
  ASSERT_LE(*server_.NextDeadline(), now_) << "its ack is overdue";
  EXPECT_GT(*server_.EndDeadline(), now_ + 20s);
  now_ = *client_.EndDeadline();
  client_.HandleTimeout(now_);
  EXPECT_EQ(client_.close_reason().code, kCloseIdle);
  EXPECT_EQ(client_.EndDeadline(), std::nullopt);
  server_.Close(kCloseDone, "", now_);
  EXPECT_EQ(server_.EndDeadline(), server_.NextDeadline());
}

class LargeDatagramTest : public ConnectionTest {
 protected:
  LargeDatagramTest() : ConnectionTest(1472) {}

  /// Sends until an MTU probe leaves; what else leaves arrives, and the probe is given back.
  Datagram FindProbe() {
    for (int i = 0; i < 100; ++i) {
      client_.Commit(client_.Writable().size());
      std::optional<Datagram> probe;
      for (const Datagram& datagram : Poll(client_)) {
        if (datagram.transmit.mtu_probe) {
          probe = datagram;
        } else {
          Deliver(server_, datagram);
        }
      }
      DeliverAll(client_, Poll(server_));
      server_.Consume(server_.Readable().size());
      if (probe) return *probe;
      now_ += 1ms;
    }
    ADD_FAILURE() << "no probe";
    return {};
  }
};

// RFC 8899.
TEST_F(LargeDatagramTest, PaddedProbesFindTheDatagramSize) {
  Establish();
  EXPECT_EQ(client_.datagram_bytes(), MtuSearch::kBase);
  const Datagram probe = FindProbe();
  EXPECT_EQ(probe.bytes.size() + kTagBytes, 1472U);
  EXPECT_FALSE(Has<StreamFrame>(probe)) << "nothing is lost with it";
  Deliver(server_, probe);
  Pass(10ms);
  EXPECT_EQ(client_.datagram_bytes(), 1472U);
}

TEST_F(LargeDatagramTest, LostProbesAreNoCongestion) {
  Establish();
  for (int i = 0; i < MtuSearch::kProbesMax; ++i) {
    EXPECT_EQ(FindProbe().bytes.size() + kTagBytes, 1472U);
  }
  EXPECT_LT(FindProbe().bytes.size() + kTagBytes, 1472U) << "something smaller is tried";
  EXPECT_EQ(client_.stats().lost_datagrams, 0U);
}

TEST_F(LargeDatagramTest, TheKernelsRefusalMakesDatagramsSmaller) {
  Establish();
  Deliver(server_, FindProbe());
  Pass(10ms);
  ASSERT_EQ(client_.datagram_bytes(), 1472U);
  client_.DatagramTooBig(1472, now_);
  EXPECT_EQ(client_.datagram_bytes(), MtuSearch::kBase);
  client_.DatagramTooBig(1200, now_);
  EXPECT_EQ(client_.state(), State::kClosed);
  EXPECT_EQ(client_.close_reason().code, kClosePathTooSmall);
}

TEST_F(LargeDatagramTest, ASilentPathIsTriedWithSmallDatagrams) {
  Establish();
  Deliver(server_, FindProbe());
  Pass(10ms);
  ASSERT_EQ(client_.datagram_bytes(), 1472U);
  for (int i = 0; i < 60; ++i) {  // only small ones get through
    client_.Commit(client_.Writable().size());
    for (const Datagram& datagram : Poll(client_)) {
      if (datagram.bytes.size() + kTagBytes <= 1400) Deliver(server_, datagram);
    }
    DeliverAll(client_, Poll(server_));
    now_ = *client_.NextDeadline();
    client_.HandleTimeout(now_);
    server_.HandleTimeout(now_);
  }
  EXPECT_EQ(client_.datagram_bytes(), 1372U);
  EXPECT_GT(server_.Readable().size(), 10'000U);
}

TEST_F(LargeDatagramTest, NothingIsAllocatedOnceTheConnectionRuns) {
  Establish();
  std::vector<std::byte> out(65536);
  int sent = 0;
  const auto move = [&](Connection& from, Connection& to) {
    from.HandleTimeout(now_);
    from.Commit(from.Writable().size());
    while (const auto transmit = from.PollTransmit(out, now_)) {
      if (++sent % 20 == 0) continue;  // lost
      const auto datagram = std::span(out).first(transmit->size);
      to.HandleDatagram(datagram, *to.PacketNumber(datagram), now_);
    }
    to.Consume(to.Readable().size());
  };
  std::uint64_t begin = 0;
  std::uint64_t client_acked = 0;
  std::uint64_t server_acked = 0;
  for (int round = 0; round < 6000; ++round) {
    if (round == 1000) {
      begin = Allocations();
      client_acked = client_.acked();
      server_acked = server_.acked();
    }
    now_ += 100us;
    move(client_, server_);
    now_ += 100us;
    move(server_, client_);
  }
  const std::uint64_t made = Allocations() - begin;
  EXPECT_GT(client_.acked(), client_acked + 10'000'000) << "it was running";
  EXPECT_GT(server_.acked(), server_acked + 10'000'000);
  EXPECT_GT(client_.stats().lost_datagrams, 200U);
  EXPECT_GT(server_.stats().lost_datagrams, 200U);
  EXPECT_LE(made, 16U) << "a ring may double when more is in flight than ever";
}

TEST(ConnectionOptionsTest, WhatCannotWorkIsRefused) {
  EXPECT_TRUE(Connection::Options().Validate().ok());
  const auto refused = [](const std::function<void(Connection::Options&)>& change) {
    Connection::Options options;
    change(options);
    return !options.Validate().ok();
  };
  EXPECT_TRUE(refused([](auto& options) { options.send_buffer = 1199; }));
  EXPECT_TRUE(refused([](auto& options) { options.receive_buffer = 65535; }));
  EXPECT_TRUE(refused([](auto& options) { options.datagram_max = 1199; }));
  EXPECT_TRUE(refused([](auto& options) { options.datagram_max = 65508; }));
  EXPECT_TRUE(refused([](auto& options) { options.tag_bytes = 33; }));
  EXPECT_TRUE(refused([](auto& options) { options.rate_max = 0; }));
  EXPECT_TRUE(refused([](auto& options) { options.idle_timeout = 0s; }));
}

}  // namespace
}  // namespace ds::udp_transfer
