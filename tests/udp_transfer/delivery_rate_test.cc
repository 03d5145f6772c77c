#include "udp_transfer/core/delivery_rate.h"

#include <gtest/gtest.h>

#include <vector>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegin{1000s};

struct Sender {
  PacketOutcome Send(Duration at) {
    const TimePoint now = kBegin + at;
    return {rate.OnSent(now, 1000), now, 1000};
  }
  std::optional<RateSample> Ack(Duration at, const std::vector<PacketOutcome>& packets,
                                Duration interval_min = 0s) {
    for (const PacketOutcome& packet : packets) rate.OnAcked(kBegin + at, packet);
    return rate.TakeSample(interval_min);
  }
  DeliveryRate rate;
};

double BytesPerSecond(const std::optional<RateSample>& sample) {
  return sample ? static_cast<double>(sample->delivered) / ToSeconds(sample->interval) : -1;
}

TEST(DeliveryRateTest, SteadyAcknowledgementsGiveTheirRate) {
  Sender sender;  // one packet each 10 ms, acknowledged 100 ms later: 100 kB/s
  std::vector<PacketOutcome> packets;
  double rate = 0;
  for (int i = 0; i < 40; ++i) {
    packets.push_back(sender.Send(i * 10ms));
    if (i >= 10) {
      rate =
          BytesPerSecond(sender.Ack(i * 10ms + 1ms, {packets[static_cast<std::size_t>(i - 10)]}));
    }
  }
  EXPECT_NEAR(rate, 100'000, 1);
  EXPECT_EQ(sender.rate.in_flight(), 10'000U);
}

TEST(DeliveryRateTest, CompressedAcknowledgementsDoNotRaiseIt) {
  Sender sender;
  std::vector<PacketOutcome> packets;
  for (int i = 0; i < 10; ++i) packets.push_back(sender.Send(i * 10ms));
  sender.Ack(100ms, {packets[0]});
  const auto sample = sender.Ack(101ms, {packets.begin() + 1, packets.end()});
  EXPECT_EQ(sample->delivered, 10'000U);
  EXPECT_EQ(sample->interval, 101ms) << "not the millisecond between the acknowledgements";
}

TEST(DeliveryRateTest, BurstIsNotTakenForTheRateOfItsSending) {
  Sender sender;
  const PacketOutcome first = sender.Send(0ms);
  const PacketOutcome second = sender.Send(0ms);
  EXPECT_EQ(BytesPerSecond(sender.Ack(50ms, {first})), 1000 / 0.05);
  EXPECT_EQ(BytesPerSecond(sender.Ack(60ms, {second})), 2000 / 0.06);
}

TEST(DeliveryRateTest, NewestPacketOfAnAcknowledgementDecides) {
  Sender sender;
  const PacketOutcome old_packet = sender.Send(0ms);
  sender.Ack(10ms, {sender.Send(1ms)});
  const PacketOutcome new_packet = sender.Send(11ms);
  const auto sample = sender.Ack(30ms, {new_packet, old_packet});
  EXPECT_EQ(sample->packet.delivered, 1000U);
  EXPECT_EQ(sample->delivered, 2000U);
}

TEST(DeliveryRateTest, PauseDoesNotCountAsSendingTime) {
  Sender sender;
  sender.Ack(50ms, {sender.Send(0ms)});
  const PacketOutcome later = sender.Send(10s);
  EXPECT_EQ(sender.Ack(10s + 50ms, {later})->interval, 50ms);
}

TEST(DeliveryRateTest, LostBytesAreCountedBesides) {
  Sender sender;
  const PacketOutcome first = sender.Send(0ms);
  sender.Send(0ms);
  const PacketOutcome third = sender.Send(0ms);
  sender.rate.OnAcked(kBegin + 50ms, first);
  sender.rate.OnLost(1000);
  const auto sample = sender.Ack(50ms, {third});
  EXPECT_EQ(sample->delivered, 2000U);
  EXPECT_EQ(sample->lost, 1000U);
  EXPECT_EQ(sender.rate.in_flight(), 0U);
  sender.rate.OnSpuriousLoss(1000);
  EXPECT_EQ(sender.rate.lost(), 0U);
  EXPECT_EQ(sender.rate.delivered(), 3000U);
}

TEST(DeliveryRateTest, SamplesShorterThanTheRoundTripAreRefused) {
  Sender sender;
  const PacketOutcome packet = sender.Send(0ms);
  EXPECT_FALSE(sender.Ack(49ms, {packet}, 50ms).has_value());
  EXPECT_FALSE(sender.rate.TakeSample(0s).has_value()) << "it is used up";
  const PacketOutcome at_once = sender.Send(60ms);
  EXPECT_FALSE(sender.Ack(60ms, {at_once}).has_value()) << "no rate without time";
}

TEST(DeliveryRateTest, AppLimitHoldsUntilWhatWasInFlightIsThrough) {
  Sender sender;
  const PacketOutcome before = sender.Send(0ms);
  EXPECT_FALSE(before.state.app_limited);
  sender.rate.OnAppLimited();
  const PacketOutcome during = sender.Send(1ms);
  EXPECT_TRUE(during.state.app_limited);
  sender.rate.OnLost(1000);  // `before`
  EXPECT_TRUE(sender.Send(2ms).state.app_limited);
  EXPECT_TRUE(sender.Ack(50ms, {during})->app_limited);
  EXPECT_FALSE(sender.rate.app_limited());
  EXPECT_FALSE(sender.Send(51ms).state.app_limited);
}

}  // namespace
}  // namespace ds::udp_transfer
