#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/load/histogram.h"
#include "common/load/pacer.h"
#include "common/load/report.h"

namespace ds::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kQs[] = {0, 0.001, 0.01, 0.07, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1};

/// Latencies over the whole range, from one seed.
std::vector<std::uint64_t> Latencies(unsigned seed, std::size_t count) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(0, std::log(3.6e12));
  std::vector<std::uint64_t> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(static_cast<std::uint64_t>(std::exp(exponent(random))));
  }
  return values;
}

LatencyHistogram HistogramOf(const std::vector<std::uint64_t>& values) {
  LatencyHistogram histogram;
  for (const std::uint64_t value : values) histogram.Record(value);
  return histogram;
}

std::uint64_t ExactQuantile(const std::vector<std::uint64_t>& sorted, double q) {
  const auto n = static_cast<double>(sorted.size());
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(q * n - 1e-6)));
  return sorted[rank - 1];
}

TEST(LatencyHistogramTest, QuantilesAreThoseOfTheSortedValuesToThreeDigits) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    for (const std::size_t count : {1U, 2U, 10U, 100U, 10000U}) {
      auto values = Latencies(seed, count);
      const LatencyHistogram histogram = HistogramOf(values);
      std::sort(values.begin(), values.end());
      for (const double q : kQs) {
        const std::uint64_t exact = ExactQuantile(values, q);
        const std::uint64_t shown = histogram.ValueAtQuantile(q);
        EXPECT_GE(shown, exact) << "seed " << seed << " count " << count << " q " << q;
        EXPECT_LE(shown - exact, exact / 1024)
            << "seed " << seed << " count " << count << " q " << q;
      }
      EXPECT_EQ(histogram.max(), values.back());
      EXPECT_EQ(histogram.ValueAtQuantile(1), values.back());
    }
  }
}

TEST(LatencyHistogramTest, SmallValuesAreExact) {
  LatencyHistogram histogram;
  for (std::uint64_t value = 0; value < 2048; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.ValueAtQuantile(0), 0U);
  EXPECT_EQ(histogram.ValueAtQuantile(0.5), 1023U);
  EXPECT_EQ(histogram.ValueAtQuantile(1), 2047U);
  EXPECT_DOUBLE_EQ(histogram.Mean(), 1023.5);
}

TEST(LatencyHistogramTest, EveryPowerOfTwoAndItsNeighboursKeepThreeDigits) {
  for (int bit = 1; bit <= 41; ++bit) {
    for (const int step : {-1, 0, 1}) {
      const std::uint64_t value = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(step);
      LatencyHistogram histogram;
      histogram.Record(value);
      histogram.Record(LatencyHistogram::kValueMax);  // so that the maximum does not help
      const std::uint64_t shown = histogram.ValueAtQuantile(0.5);
      EXPECT_GE(shown, value);
      EXPECT_LE(shown - value, value / 1024);
    }
  }
}

TEST(LatencyHistogramTest, BeyondTheRangeTheMaximumIsStillExact) {
  LatencyHistogram histogram;
  const std::uint64_t value = 5 * LatencyHistogram::kValueMax;
  histogram.Record(value);
  EXPECT_EQ(histogram.count(), 1U);
  EXPECT_EQ(histogram.max(), value);
  EXPECT_EQ(histogram.ValueAtQuantile(0.5), value);
}

TEST(LatencyHistogramTest, WithoutValuesEverythingIsZero) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.max(), 0U);
  EXPECT_EQ(histogram.Mean(), 0);
  EXPECT_EQ(histogram.ValueAtQuantile(0.99), 0U);
}

TEST(LatencyHistogramTest, AMergeIsTheHistogramOfAllValues) {
  const auto one = Latencies(1, 5000);
  const auto other = Latencies(2, 3000);
  auto all = one;
  all.insert(all.end(), other.begin(), other.end());
  LatencyHistogram merged = HistogramOf(one);
  merged.Merge(HistogramOf(other));
  const LatencyHistogram whole = HistogramOf(all);
  EXPECT_EQ(merged.count(), whole.count());
  EXPECT_EQ(merged.max(), whole.max());
  EXPECT_EQ(merged.Mean(), whole.Mean());
  for (const double q : kQs) EXPECT_EQ(merged.ValueAtQuantile(q), whole.ValueAtQuantile(q)) << q;
  merged.Clear();
  EXPECT_EQ(merged.count(), 0U);
  EXPECT_EQ(merged.ValueAtQuantile(1), 0U);
}

TEST(LatencyHistogramTest, TheSameValuesGiveTheSameHistogram) {
  const LatencyHistogram one = HistogramOf(Latencies(7, 10000));
  const LatencyHistogram two = HistogramOf(Latencies(7, 10000));
  for (const double q : kQs) EXPECT_EQ(one.ValueAtQuantile(q), two.ValueAtQuantile(q));
}

const TimePoint kStart = TimePoint(seconds(1000));

/// The exact time of slot i, in arithmetic that has no limits here.
TimePoint SlotTime(std::uint64_t i, std::uint64_t rate) {
  __extension__ using Wide = unsigned __int128;
  return kStart + nanoseconds(static_cast<std::int64_t>(Wide{i} * 1'000'000'000U / rate));
}

TEST(PacerTest, SlotsAreDueAtMultiplesOfTheInterval) {
  Pacer pacer(kStart, 4);
  EXPECT_EQ(pacer.NextDue(kStart - nanoseconds(1)), std::nullopt);
  EXPECT_EQ(pacer.NextDue(kStart), kStart);
  EXPECT_EQ(pacer.NextDue(kStart), std::nullopt);
  EXPECT_EQ(pacer.next_time(), kStart + milliseconds(250));
  EXPECT_EQ(pacer.NextDue(kStart + milliseconds(250)), kStart + milliseconds(250));
}

TEST(PacerTest, ALateSlotKeepsItsTimeAndNoneIsSkipped) {
  Pacer pacer(kStart, 1000);
  const TimePoint late = kStart + seconds(2);  // a stall of two seconds
  for (int i = 0; i <= 2000; ++i) EXPECT_EQ(pacer.NextDue(late), kStart + milliseconds(i));
  EXPECT_EQ(pacer.NextDue(late), std::nullopt);
}

TEST(PacerTest, TimesDoNotDriftOverABillionSlots) {
  for (const std::uint64_t rate :
       {1ULL, 3ULL, 7ULL, 997ULL, 48'611ULL, 999'999'937ULL, 1'000'000'000ULL}) {
    for (const std::uint64_t i : {0ULL, 1ULL, 2ULL, 999ULL, 1'000'000ULL, 999'999'999ULL,
                                  1'000'000'000ULL, 1'000'000'001ULL}) {
      const Pacer pacer(kStart, rate, i);
      EXPECT_EQ(pacer.next_time(), SlotTime(i, rate)) << "slot " << i << " at " << rate << "/s";
    }
    // And one after the other, up to the billionth.
    Pacer pacer(kStart, rate, 999'900'000);
    for (std::uint64_t i = 999'900'000; i <= 1'000'000'000; ++i) {
      ASSERT_EQ(pacer.NextDue(TimePoint::max()), SlotTime(i, rate)) << i << " at " << rate << "/s";
    }
  }
}

TEST(PacerTest, PacersWithAStrideShareOneSchedule) {
  constexpr std::uint64_t kStride = 3;
  Pacer whole(kStart, 700);
  std::vector<Pacer> parts;
  for (std::uint64_t i = 0; i < kStride; ++i) parts.emplace_back(kStart, 700, i, kStride);
  for (std::size_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(whole.NextDue(TimePoint::max()), parts[i % kStride].NextDue(TimePoint::max()));
  }
}

TEST(PacerTest, WaitingSlotsAreCounted) {
  for (const std::uint64_t rate : {1ULL, 3ULL, 1000ULL, 1'000'000'000ULL}) {
    for (const std::uint64_t stride : {1ULL, 2ULL, 5ULL}) {
      for (std::uint64_t first = 0; first < stride; ++first) {
        for (const auto after : {nanoseconds(-1), nanoseconds(0), nanoseconds(1), nanoseconds(1000),
                                 nanoseconds(333'333'333), nanoseconds(333'333'334)}) {
          const Pacer pacer(kStart, rate, first, stride);
          const TimePoint time = kStart + after;
          std::uint64_t counted = 0;
          Pacer taken = pacer;
          while (counted < 2000 && taken.NextDue(time - nanoseconds(1))) {
            ++counted;
            EXPECT_EQ(taken.WaitingBefore(time), pacer.WaitingBefore(time) - counted);
          }
          if (counted < 2000) {
            EXPECT_EQ(pacer.WaitingBefore(time), counted)
                << rate << " " << first << "+" << stride << " " << after.count();
          }
        }
      }
    }
  }
  EXPECT_EQ(Pacer(kStart, 50).WaitingBefore(kStart + seconds(10)), 500U);
}

LoadReport Report() {
  LoadReport report;
  report.protocol = "getfile";
  report.connections = 32;
  report.threads = 2;
  report.cores = 4;
  report.seconds = 2;
  for (std::uint64_t us = 1; us <= 1000; ++us) report.tally.latency.Record(us * 1000);
  report.tally.bytes = 4'096'000;
  report.tally.AddError("timeout", "fetch \"/a\": too late");
  report.tally.AddError("timeout", "fetch \"/b\": too late");
  report.tally.AddError("closed", "fetch \"/c\": reset");
  report.client_cpu_fraction = 0.25;
  return report;
}

TEST(LoadReportTest, JsonHasTheFieldsInTheirOrder) {
  const auto json = nlohmann::ordered_json::parse(Report().ToJson());
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("protocol", "connections", "threads", "seconds", "requests",
                                "errors", "bytes", "requests_per_second", "bytes_per_second",
                                "latency_us", "client_cpu_fraction"));
  keys.clear();
  for (const auto& [key, value] : json["latency_us"].items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("mean", "p50", "p90", "p99", "p999", "p9999", "max"));
  EXPECT_EQ(json["protocol"], "getfile");
  EXPECT_EQ(json["connections"], 32);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["seconds"], 2.0);
  EXPECT_EQ(json["requests"], 1000);
  EXPECT_EQ(json["errors"], (nlohmann::ordered_json{{"closed", 1}, {"timeout", 2}}));
  EXPECT_EQ(json["bytes"], 4'096'000);
  EXPECT_EQ(json["requests_per_second"], 500.0);
  EXPECT_EQ(json["bytes_per_second"], 2'048'000.0);
  EXPECT_EQ(json["client_cpu_fraction"], 0.25);
  const auto& latency = json["latency_us"];
  EXPECT_DOUBLE_EQ(latency["mean"], 500.5);
  EXPECT_NEAR(latency["p50"], 500, 0.5);
  EXPECT_NEAR(latency["p90"], 900, 0.9);
  EXPECT_NEAR(latency["p99"], 990, 1);
  EXPECT_NEAR(latency["p999"], 999, 1);
  EXPECT_EQ(latency["p9999"], 1000.0);
  EXPECT_EQ(latency["max"], 1000.0);
}

TEST(LoadReportTest, WithoutAnyRequestTheFiguresAreZero) {
  const auto json = nlohmann::json::parse(LoadReport{}.ToJson());
  EXPECT_EQ(json["requests"], 0);
  EXPECT_TRUE(json["errors"].is_object());
  EXPECT_EQ(json["requests_per_second"], 0.0);
  EXPECT_EQ(json["latency_us"]["p99"], 0.0);
}

TEST(LoadReportTest, TextNamesErrorsByKind) {
  const std::string text = Report().ToText();
  EXPECT_THAT(text, HasSubstr("errors    3  closed 1  timeout 2\n"));
  EXPECT_THAT(text, HasSubstr("requests  1000  500.0/s\n"));
  EXPECT_THAT(text, HasSubstr("p50 500 us  p90 900 us"));
  EXPECT_THAT(text, Not(HasSubstr("bottleneck")));
  EXPECT_EQ(text, Report().ToText());
}

TEST(LoadReportTest, ABusyClientIsNamed) {
  LoadReport report = Report();
  report.client_cpu_fraction = 0.89;
  EXPECT_EQ(report.Bottleneck(), std::nullopt);
  report.client_cpu_fraction = 0.9;
  ASSERT_NE(report.Bottleneck(), std::nullopt);
  EXPECT_THAT(*report.Bottleneck(), HasSubstr("90 % of its 2 cores busy; give it more threads"));
  EXPECT_THAT(report.ToText(), HasSubstr(*report.Bottleneck()));
  // Threads beyond the cores have nothing to run on, and more of them are no help.
  report.threads = 8;
  report.client_cpu_fraction = 0.46;
  ASSERT_NE(report.Bottleneck(), std::nullopt);
  EXPECT_THAT(*report.Bottleneck(), Not(HasSubstr("more threads")));
}

TEST(LoadReportTest, AClientThatBeginsLateIsNamed) {
  LoadReport report = Report();
  report.tally.late_starts = 10;  // of 1003
  EXPECT_EQ(report.Bottleneck(), std::nullopt);
  report.tally.late_starts = 11;
  ASSERT_NE(report.Bottleneck(), std::nullopt);
  EXPECT_THAT(*report.Bottleneck(), HasSubstr("began over"));
}

TEST(LoadReportTest, RequestsThatNeverBeganAreToldOf) {
  LoadReport report = Report();
  report.never_begun = 17;
  EXPECT_THAT(report.ToText(), HasSubstr("17 requests were due and had not begun"));
}

TEST(LoadTallyTest, AMergeAddsUp) {
  LoadTally total = Report().tally;
  LoadTally other = Report().tally;
  other.AddError("connect", "connect 127.0.0.1:1: refused");
  other.late_starts = 5;
  total.Merge(other);
  EXPECT_EQ(total.requests(), 2000U);
  EXPECT_EQ(total.bytes, 8'192'000U);
  EXPECT_EQ(total.late_starts, 5U);
  EXPECT_EQ(total.ErrorCount(), 7U);
  EXPECT_EQ(total.errors.at("timeout").count, 4U);
  EXPECT_EQ(total.errors.at("timeout").example, "fetch \"/a\": too late");
  EXPECT_EQ(total.errors.at("connect").count, 1U);
  total.Clear();
  EXPECT_EQ(total.requests() + total.bytes + total.late_starts + total.ErrorCount(), 0U);
}

TEST(IntervalLineTest, ShowsRatesOfTheInterval) {
  const std::string line = IntervalLine(12, 0.5, Report().tally);
  EXPECT_THAT(line, HasSubstr("12.0 s  2000 req/s  8.19 MB/s  p50 500 us  p99 "));
  EXPECT_THAT(line, HasSubstr("3 errors"));
}

}  // namespace
}  // namespace ds::load
