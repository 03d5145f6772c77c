#include "udp_transfer/core/loss_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "udp_transfer/core/wire.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr TimePoint kBegin{1000s};

/// A detector, and acks as a peer writes them. Packets tell themselves apart by stream_offset,
/// which is their number here.
class LossDetectorTest : public ::testing::Test {
 protected:
  void Send(TimePoint now, int packets = 1) {
    for (int i = 0; i < packets; ++i) {
      detector_.OnSent({.sent_at = now, .stream_offset = detector_.next_packet_number()});
    }
  }
  /// Ascending ranges.
  const LossDetector::Events* Ack(const std::vector<Interval>& ranges, TimePoint now,
                                  std::uint32_t delay_us = 0) {
    std::vector<std::byte> bytes(2000);
    WireWriter writer(bytes);
    EncodeAck(ranges, delay_us, 0, writer);
    FrameReader reader{std::span(bytes).first(writer.written())};
    return detector_.HandleAck(std::get<AckFrame>(*reader.Next()), now);
  }
  static std::vector<std::uint64_t> Numbers(const std::vector<SentPacket>& packets) {
    std::vector<std::uint64_t> numbers;
    for (const SentPacket& packet : packets) numbers.push_back(packet.stream_offset);
    return numbers;
  }

  LossDetector detector_{100ms};
};

// RFC 9002, 5.3.
TEST(RttEstimateTest, IsSmoothed) {
  RttEstimate rtt(333ms);
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.smoothed(), 333ms);
  rtt.AddSample(100ms, 50ms);
  EXPECT_EQ(rtt.smoothed(), 100ms) << "the first sample is taken as it is";
  EXPECT_EQ(rtt.variation(), 50ms);
  rtt.AddSample(140ms, 4ms);
  EXPECT_EQ(rtt.smoothed(), (7 * 100'000us + 136'000us) / 8);
  EXPECT_EQ(rtt.variation(), (3 * 50'000us + 36'000us) / 4);
  EXPECT_EQ(rtt.min(), 100ms);
  EXPECT_EQ(rtt.latest(), 140ms);
}

TEST(RttEstimateTest, AbsurdDelaysLeadNowhere) {
  RttEstimate rtt(333ms);
  rtt.AddSample(100ms, 0ms);
  for (int i = 0; i < 100; ++i) rtt.AddSample(200ms, 4'000s);
  EXPECT_GE(rtt.smoothed(), 100ms);
}

TEST(RttEstimateTest, ARepeatedAckDoesNotLengthenThePath) {
  RttEstimate rtt(333ms);
  for (int i = 0; i < 50; ++i) rtt.AddSample(100ms, 0ms);
  rtt.AddSample(5100ms, 5s);  // the first ack was lost, this one came with a keep-alive
  EXPECT_LT(rtt.smoothed(), 105ms);
  EXPECT_LT(rtt.latest(), 110ms);
}

TEST(RttEstimateTest, TheFirstSampleMayBeOfARepeatedAckToo) {
  RttEstimate rtt(50ms);
  rtt.AddSample(5100ms, 5s);
  EXPECT_EQ(rtt.smoothed(), 105ms);
  RttEstimate lied_to(50ms);
  lied_to.AddSample(100ms, 5s);
  EXPECT_EQ(lied_to.smoothed(), 50ms);
}

// RFC 9002, 5.1: the largest packet may be one that asks for no ack.
TEST_F(LossDetectorTest, ARoundTripIsTheLargestPacketsIfAnyOtherAsksForAnAck) {
  Send(kBegin);
  detector_.OnSentWithoutAck(kBegin + 1s);
  EXPECT_EQ(Ack({{0, 2}}, kBegin + 1010ms)->rtt, 10ms);
  detector_.OnSentWithoutAck(kBegin + 2s);
  EXPECT_EQ(Ack({{0, 3}}, kBegin + 2010ms)->rtt, std::nullopt);
  EXPECT_EQ(detector_.rtt().smoothed(), 10ms);
}

// A clock that is read once for a batch may say that an answer came before its question.
TEST_F(LossDetectorTest, ARoundTripThatTookNoTimeIsNoSample) {
  Send(kBegin, 4);
  for (const Duration took : {0ms, -5ms}) {
    const auto* events = Ack({{0, took == 0ms ? 1U : 2U}}, kBegin + took);
    EXPECT_EQ(events->acked.size(), 1U);
    EXPECT_EQ(events->rtt, std::nullopt);
    EXPECT_FALSE(detector_.rtt().has_sample());
  }
  EXPECT_EQ(Ack({{0, 3}}, kBegin + 1ms)->rtt, 1ms);
}

TEST_F(LossDetectorTest, PacketsOfAnEarlierPathSayNothingOfThisOne) {
  Send(kBegin, 3);
  Ack({{0, 1}}, kBegin + 100ms);
  detector_.ForgetPath(70ms);
  EXPECT_EQ(detector_.rtt().smoothed(), 70ms);
  EXPECT_EQ(Ack({{0, 3}}, kBegin + 3s)->rtt, std::nullopt);
  Send(kBegin + 4s);
  EXPECT_EQ(Ack({{0, 4}}, kBegin + 4010ms)->rtt, 10ms);
}

// RFC 9002, 6.1.1.
TEST_F(LossDetectorTest, PacketsThreeBeforeAnAcknowledgedOneAreLost) {
  Send(kBegin, 10);
  const auto* events = Ack({{4, 5}}, kBegin + 100ms);
  EXPECT_THAT(Numbers(events->acked), ElementsAre(4));
  EXPECT_THAT(Numbers(events->lost), ElementsAre(0, 1));
  EXPECT_EQ(events->rtt, 100ms);
  EXPECT_EQ(detector_.in_flight(), 7U);
  events = Ack({{4, 7}}, kBegin + 100ms);
  EXPECT_THAT(Numbers(events->acked), ElementsAre(5, 6));
  EXPECT_THAT(Numbers(events->lost), ElementsAre(2, 3));
}

// RFC 9002, 6.1.2.
TEST_F(LossDetectorTest, PacketsSentLongBeforeAnAcknowledgedOneAreLost) {
  Send(kBegin, 2);
  const auto* events = Ack({{1, 2}}, kBegin + 80ms);
  EXPECT_THAT(events->lost, IsEmpty());
  ASSERT_EQ(detector_.Deadline(), kBegin + 90ms) << "9/8 of the round trip";
  const auto& late = detector_.HandleTimeout(kBegin + 90ms);
  EXPECT_THAT(Numbers(late.lost), ElementsAre(0));
  EXPECT_FALSE(late.probe);
  EXPECT_EQ(detector_.Deadline(), std::nullopt) << "nothing is in flight";
}

// RFC 9002, 6.2.
TEST_F(LossDetectorTest, ASilentPeerIsProbedAtGrowingDistances) {
  EXPECT_EQ(detector_.Deadline(), std::nullopt);
  Send(kBegin);
  const Duration timeout = 3 * 100ms + kAckDelayMax;  // initial RTT, four times its half
  EXPECT_EQ(detector_.ProbeTimeout(), timeout);
  TimePoint now = kBegin;
  for (const int factor : {1, 2, 4, 8}) {
    ASSERT_EQ(detector_.Deadline(), now + factor * timeout);
    now = *detector_.Deadline();
    const auto& events = detector_.HandleTimeout(now);
    EXPECT_TRUE(events.probe);
    EXPECT_THAT(events.lost, IsEmpty()) << "a probe time-out takes nothing for lost";
    Send(now);
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(*detector_.Deadline() - now, LossDetector::kProbeIntervalMax);
    now = *detector_.Deadline();
    detector_.HandleTimeout(now);
    Send(now);
  }
  EXPECT_EQ(detector_.probe_count(), 14U);
  Ack({{0, 1}}, now);
  EXPECT_EQ(detector_.probe_count(), 0U);
}

TEST_F(LossDetectorTest, AcknowledgementOfPacketsNeverSentIsRefused) {
  Send(kBegin, 3);
  EXPECT_EQ(Ack({{3, 4}}, kBegin), nullptr);
  EXPECT_EQ(Ack({{0, 1000}}, kBegin), nullptr);
  EXPECT_EQ(detector_.in_flight(), 3U);
  EXPECT_NE(Ack({{0, 3}}, kBegin), nullptr);
}

TEST_F(LossDetectorTest, PacketsAreAcknowledgedOnce) {
  Send(kBegin, 3);
  EXPECT_EQ(Ack({{0, 3}}, kBegin + 10ms)->acked.size(), 3U);
  const auto* again = Ack({{0, 3}}, kBegin + 20ms);
  EXPECT_THAT(again->acked, IsEmpty());
  EXPECT_EQ(again->rtt, std::nullopt);
  EXPECT_EQ(detector_.rtt().latest(), 10ms);
}

TEST_F(LossDetectorTest, OldAcksThatComeLateChangeNothing) {
  Send(kBegin, 8);
  Ack({{0, 8}}, kBegin + 10ms);
  const auto* events = Ack({{0, 4}}, kBegin + 20ms);
  EXPECT_THAT(events->acked, IsEmpty());
  EXPECT_THAT(events->lost, IsEmpty());
}

TEST_F(LossDetectorTest, PacketsWithoutAckTakeNumbersOnly) {
  for (int i = 0; i < 300'000; ++i) detector_.OnSentWithoutAck(kBegin);
  EXPECT_FALSE(detector_.full()) << "nothing is remembered of them";
  EXPECT_EQ(detector_.in_flight(), 0U);
  EXPECT_EQ(detector_.Deadline(), std::nullopt);
  Send(kBegin);
  const auto* events = Ack({{299'990, 300'001}}, kBegin + 10ms);
  EXPECT_THAT(Numbers(events->acked), ElementsAre(300'000));
}

TEST_F(LossDetectorTest, ReorderingRaisesTheThresholdsForAWhile) {
  Send(kBegin, 1);
  Ack({{0, 1}}, kBegin + 100ms);
  Send(kBegin + 1s, 40);
  EXPECT_EQ(Ack({{0, 1}, {30, 31}}, kBegin + 1100ms)->lost.size(), 27U);
  // They had only been overtaken.
  const auto* events = Ack({{0, 41}}, kBegin + 1130ms);
  EXPECT_EQ(events->acked_late.size(), 27U);
  EXPECT_EQ(events->acked.size(), 12U);
  Send(kBegin + 2s, 40);
  EXPECT_THAT(Ack({{0, 41}, {70, 71}}, kBegin + 2100ms)->lost, IsEmpty()) << "this time it waits";
  EXPECT_GE(*detector_.Deadline(), kBegin + 2125ms);
  EXPECT_EQ(Ack({{0, 81}}, kBegin + 2120ms)->acked.size(), 39U);
  // Long after that the path is trusted again.
  TimePoint now = kBegin + 3s;
  for (int i = 0; i < 20; ++i, now += 10s) {
    Send(now);
    Ack({{0, detector_.next_packet_number()}}, now + 100ms);
  }
  const std::uint64_t first = detector_.next_packet_number();
  Send(now, 10);
  EXPECT_EQ(Ack({{first + 8, first + 9}}, now + 100ms)->lost.size(), 6U);
}

TEST_F(LossDetectorTest, PacketsThatComeManyRoundTripsLateAreWaitedFor) {
  Send(kBegin);
  Ack({{0, 1}}, kBegin + 2ms);
  Send(kBegin + 10ms, 10);
  EXPECT_EQ(Ack({{0, 1}, {10, 11}}, kBegin + 12ms)->lost.size(), 7U);
  EXPECT_EQ(Ack({{0, 11}}, kBegin + 60ms)->acked_late.size(), 7U);
  EXPECT_EQ(detector_.reordering(), 48ms);
  // For as long as they go on to be late, though in time none of them is lost.
  TimePoint now = kBegin + 100ms;
  for (int i = 0; i < 50; ++i, now += 100ms) {
    const std::uint64_t first = detector_.next_packet_number();
    Send(now, 10);
    EXPECT_THAT(Ack({{0, first}, {first + 9, first + 10}}, now + 2ms)->lost, IsEmpty());
    EXPECT_GT(*detector_.Deadline(), now + 40ms);
    EXPECT_EQ(Ack({{0, first + 10}}, now + 40ms)->acked.size(), 9U);
  }
}

TEST_F(LossDetectorTest, LostPacketsAreWaitedForFor100MillisecondsAtMost) {
  Send(kBegin, 2);
  Ack({{1, 2}}, kBegin + 2ms);
  Ack({{0, 2}}, kBegin + 5s);
  EXPECT_EQ(detector_.reordering(), LossDetector::kReorderingMax);
}

TEST_F(LossDetectorTest, LostPacketsAreForgottenInTheEnd) {
  Send(kBegin, 10);
  EXPECT_EQ(Ack({{8, 10}}, kBegin + 100ms)->lost.size(), 7U);
  Send(kBegin + 10s);
  Ack({{8, 11}}, kBegin + 10100ms);
  EXPECT_THAT(Ack({{0, 11}}, kBegin + 10200ms)->acked_late, IsEmpty());
}

// RFC 9002, 7.6.
TEST_F(LossDetectorTest, LongSilenceIsPersistentCongestion) {
  const auto run = [&](TimePoint begin, int probe_timeouts, bool one_arrives) {
    const std::uint64_t first = detector_.next_packet_number();
    Send(begin);
    Ack({{0, first + 1}}, begin + 100ms);
    const Duration silence = probe_timeouts * detector_.ProbeTimeout();
    for (int i = 1; i <= 11; ++i) Send(begin + 200ms + i * silence / 11);
    Send(begin + 300ms + silence);
    std::vector<Interval> ranges{{0, first + 1}, {first + 12, first + 13}};
    if (one_arrives) ranges.insert(ranges.begin() + 1, {first + 6, first + 7});
    return Ack(ranges, begin + 400ms + silence)->persistent_congestion;
  };
  EXPECT_TRUE(run(kBegin, 4, false));
  EXPECT_FALSE(run(kBegin + 100s, 4, true));
  EXPECT_FALSE(run(kBegin + 200s, 2, false));
}

TEST_F(LossDetectorTest, TheRingGrowsWithWhatIsInFlightAndIsFullInTheEnd) {
  TimePoint now = kBegin;
  for (std::size_t i = 0; i < LossDetector::kPacketsMax; ++i) {
    ASSERT_FALSE(detector_.full());
    Send(now);
    now += 1us;
  }
  EXPECT_TRUE(detector_.full());
  const auto* events = Ack({{5, 700}, {1000, 100'000}}, now);
  EXPECT_EQ(events->acked.size(), 695U + 99'000U);
  EXPECT_EQ(events->lost.size(), 5U + 300U);
  EXPECT_FALSE(detector_.full());
  EXPECT_EQ(detector_.in_flight(), LossDetector::kPacketsMax - 100'000);
}

TEST_F(LossDetectorTest, OldPacketsInFlightMakeRoomForNewOnes) {
  LossDetector detector(100ms, 256);
  const auto send = [&](int i) {
    if (i % 64 == 0) {
      detector.OnSent(
          {.sent_at = kBegin + i * 1us, .stream_offset = detector.next_packet_number()});
    } else {
      detector.OnSentWithoutAck(kBegin + i * 1us);
    }
  };
  for (int i = 0; i < 256; ++i) {
    ASSERT_FALSE(detector.full());
    send(i);
  }
  ASSERT_TRUE(detector.full());
  EXPECT_THAT(Numbers(detector.GiveUpOldest(kBegin + 256us).lost), ElementsAre(0, 64));
  EXPECT_FALSE(detector.full());
  EXPECT_EQ(detector.in_flight(), 2U);
  for (int i = 256; !detector.ignored(); ++i) {
    if (detector.full()) detector.GiveUpOldest(kBegin + i * 1us);
    ASSERT_FALSE(detector.full());
    ASSERT_LE(detector.in_flight(), 4U);
    send(i);
  }
  EXPECT_EQ(detector.next_packet_number(), LossDetector::kPacketsMax);
}

}  // namespace
}  // namespace ds::udp_transfer
