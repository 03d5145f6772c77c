#include "udp_transfer/core/bbr.h"

#include <gtest/gtest.h>

#include <vector>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using Phase = Bbr::Phase;

constexpr TimePoint kBegin{1000s};
constexpr std::size_t kBytes = 1200;

Bbr::Options InitialOptions() {
  return {.datagram_bytes = kBytes, .initial_window = 32 * kBytes, .initial_rtt = 50ms};
}

/// A path that takes one packet each millisecond and has a round trip of 50 ms; `lose` chooses.
struct Path {
  explicit Path(const Bbr::Options& options) : bbr(options, 1) {}

  /// Rounds in which the window is sent at once and acknowledged one by one, a millisecond each.
  void Rounds(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      std::vector<PacketOutcome> sent;
      while (bbr.in_flight() + kBytes <= bbr.congestion_window()) {
        sent.push_back({bbr.OnSent(now, kBytes), now, kBytes});
      }
      const TimePoint sent_at = now;
      now += 49ms;
      for (const PacketOutcome& packet : sent) {
        now += 1ms;
        bbr.OnAcked(now, {{packet}}, now - sent_at);
      }
    }
  }

  Bbr bbr;
  TimePoint now = kBegin;
};

TEST(BbrTest, BeginsWithTheInitialWindowSpreadOverPartOfTheRoundTrip) {
  const Bbr bbr(InitialOptions(), 1);
  EXPECT_EQ(bbr.phase(), Phase::kStartup);
  EXPECT_NEAR(bbr.pacing_rate(), 2.77 * 32 * kBytes / 0.05, 1);
  EXPECT_GE(bbr.congestion_window(), 32 * kBytes);
  EXPECT_LE(bbr.congestion_window(), 32 * kBytes + 3 * bbr.send_quantum());
  EXPECT_EQ(bbr.min_rtt(), Duration::max());
  EXPECT_EQ(bbr.wire_loss(), 0);
}

TEST(BbrTest, FirstRoundDoublesTheWindow) {
  Bbr bbr(InitialOptions(), 1);
  const std::size_t before = bbr.congestion_window() - 3 * bbr.send_quantum();
  std::vector<PacketOutcome> sent;
  for (int i = 0; i < 32; ++i) sent.push_back({bbr.OnSent(kBegin, kBytes), kBegin, kBytes});
  bbr.OnAcked(kBegin + 50ms, sent, 50ms);
  EXPECT_EQ(bbr.min_rtt(), 50ms);
  EXPECT_NEAR(bbr.bandwidth(), 32 * kBytes / 0.05, 1);
  EXPECT_GE(bbr.congestion_window() - 3 * bbr.send_quantum(), 2 * before);
}

TEST(BbrTest, EachPacketLeavesTheFlightOnce) {
  Bbr bbr(InitialOptions(), 1);
  std::vector<PacketOutcome> sent;
  for (int i = 0; i < 4; ++i) sent.push_back({bbr.OnSent(kBegin, kBytes), kBegin, kBytes});
  EXPECT_EQ(bbr.in_flight(), 4 * kBytes);
  EXPECT_EQ(sent[3].state.in_flight, 4 * kBytes);
  bbr.OnAcked(kBegin + 50ms, {{sent[0]}}, 50ms);
  bbr.OnLost(kBegin + 50ms, {{sent[1]}});
  EXPECT_EQ(bbr.in_flight(), 2 * kBytes);
  bbr.OnSpuriousLoss(sent[1]);
  EXPECT_EQ(bbr.in_flight(), 2 * kBytes) << "it was lost and left the flight then";
}

TEST(BbrTest, RateLimitIsNeverExceeded) {
  Bbr::Options options = InitialOptions();
  options.rate_max = 100'000;
  Path path(options);
  for (int round = 0; round < 40; ++round) {
    EXPECT_LE(path.bbr.pacing_rate(), 100'000);
    path.Rounds(1);
  }
}

TEST(BbrTest, RateLimitsOfAFewBytesPerSecondHoldToo) {
  Bbr::Options options = InitialOptions();
  options.rate_max = 125;
  Path path(options);
  EXPECT_LE(path.bbr.pacing_rate(), 125);
  path.Rounds(3);
  EXPECT_LE(path.bbr.pacing_rate(), 125);
}

TEST(BbrTest, AnotherPathIsFoundOutAnew) {
  Path path(InitialOptions());
  const double begin = path.bbr.pacing_rate();
  path.Rounds(10);
  ASSERT_GT(path.bbr.bandwidth(), 0);
  path.bbr.StartAgain();
  EXPECT_EQ(path.bbr.bandwidth(), 0);
  EXPECT_EQ(path.bbr.min_rtt(), Duration::max());
  EXPECT_EQ(path.bbr.phase(), Bbr::Phase::kStartup);
  EXPECT_EQ(path.bbr.pacing_rate(), begin);
}

TEST(BbrTest, QuantumIsAMillisecondBetweenTwoDatagramsAnd256KiB) {
  Bbr::Options options = InitialOptions();
  options.initial_window = 50'000'000;
  EXPECT_EQ(Bbr(options, 1).send_quantum(), 262'144U);
  options.initial_window = 360'000;
  EXPECT_EQ(Bbr(options, 1).send_quantum(), 19'944U);  // 2.77 * 360 kB / 50 ms
  options.initial_window = 12'000;
  EXPECT_EQ(Bbr(options, 1).send_quantum(), 2 * kBytes);
  Bbr bigger(options, 1);
  bigger.SetDatagramBytes(65'000);
  EXPECT_EQ(bigger.send_quantum(), 130'000U);
}

TEST(BbrTest, PersistentCongestionBeginsSmallAndRemembersTheRate) {
  Path path(InitialOptions());
  path.Rounds(20);
  const std::size_t window = path.bbr.congestion_window();
  const double bandwidth = path.bbr.bandwidth();
  path.bbr.OnPersistentCongestion();
  EXPECT_LE(path.bbr.congestion_window(), 4 * kBytes + 3 * path.bbr.send_quantum());
  path.Rounds(1);
  EXPECT_GT(path.bbr.congestion_window(), 4 * kBytes + 4 * kBytes);
  path.Rounds(8);
  EXPECT_GE(path.bbr.congestion_window(), window * 9 / 10);
  EXPECT_NEAR(path.bbr.bandwidth(), bandwidth, bandwidth / 10);
}

TEST(BbrTest, NothingHappensForAnEmptyAcknowledgement) {
  Bbr bbr(InitialOptions(), 1);
  const double rate = bbr.pacing_rate();
  bbr.OnAcked(kBegin, {}, 1ms);
  bbr.OnLost(kBegin, {});
  EXPECT_EQ(bbr.pacing_rate(), rate);
  EXPECT_EQ(bbr.min_rtt(), Duration::max());
}

}  // namespace
}  // namespace ds::udp_transfer
