#include "udp_transfer/core/pacer.h"

#include <gtest/gtest.h>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegin{1000s};
constexpr double kRate = 1e6;  // bytes per second: 1000 bytes are a millisecond
constexpr std::size_t kDatagram = 1000;
constexpr std::size_t kBurst = 4000;

/// Sends all that may leave at `now`; how many.
int SendAll(Pacer& pacer, TimePoint now) {
  int sent = 0;
  for (; pacer.MaySend(now); ++sent) pacer.OnSent(now, kDatagram, kRate, kBurst);
  return sent;
}

TEST(PacerTest, BeginsWithTwoBurstsAtOnce) {
  Pacer pacer;
  EXPECT_LE(pacer.NextBurst(), kBegin);
  EXPECT_EQ(SendAll(pacer, kBegin), 9);  // the ninth goes when the last byte of credit is not gone
}

TEST(PacerTest, DriverThatComesWhenToldKeepsTheRateInBursts) {
  Pacer pacer;
  SendAll(pacer, kBegin);
  TimePoint now = kBegin;
  int sent = 0;
  while (pacer.NextBurst() < kBegin + 1s) {
    now = pacer.NextBurst();
    const int burst = SendAll(pacer, now);
    EXPECT_EQ(burst, 4);
    sent += burst;
  }
  EXPECT_NEAR(sent, 1000, 5);
}

TEST(PacerTest, LatenessOfABurstDoesNotLowerTheRate) {
  Pacer pacer;
  SendAll(pacer, kBegin);
  TimePoint now = kBegin;
  int sent = 0;
  while (pacer.NextBurst() + 3900us < kBegin + 1s) {
    now = pacer.NextBurst() + 3900us;
    sent += SendAll(pacer, now);
  }
  EXPECT_NEAR(sent, 1000, 10);
}

TEST(PacerTest, PauseSavesUpTwoBurstsOnly) {
  Pacer pacer;
  SendAll(pacer, kBegin);
  EXPECT_EQ(SendAll(pacer, kBegin + 1h), 9);
}

TEST(PacerTest, DatagramsMayLeaveBeforeTheBurstIsFull) {
  Pacer pacer;
  SendAll(pacer, kBegin);
  const TimePoint next = pacer.NextBurst() - 3ms;  // a burst of four less three
  EXPECT_FALSE(pacer.MaySend(next - 1ns));
  EXPECT_EQ(SendAll(pacer, next), 1);
}

TEST(PacerTest, BurstSmallerThanADatagramIsADatagram) {
  Pacer pacer;
  SendAll(pacer, kBegin);
  pacer.OnSent(kBegin + 1s, kDatagram, kRate, 10);
  EXPECT_TRUE(pacer.MaySend(pacer.NextBurst()));
}

}  // namespace
}  // namespace ds::udp_transfer
