#include "common/daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace ds::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// The lines of the page that speak of `metric`.
std::vector<std::string> Lines(Metrics& metrics, const std::string& metric) {
  std::vector<std::string> lines;
  std::istringstream text(metrics.Text());
  for (std::string line; std::getline(text, line);) {
    if (line.find(metric) != std::string::npos) lines.push_back(line);
  }
  return lines;
}

TEST(MetricsTest, CountersAndGaugesAreText) {
  Metrics metrics;
  const auto registration = metrics.Register([](MetricsPage& page) {
    page.Count("x_requests_total", "Requests.", 3);
    page.Gauge("x_temperature", "Degrees.", -1.5);
  });
  EXPECT_THAT(Lines(metrics, "x_requests_total"),
              ElementsAre("# HELP x_requests_total Requests.", "# TYPE x_requests_total counter",
                          "x_requests_total 3"));
  EXPECT_THAT(Lines(metrics, "x_temperature"),
              ElementsAre("# HELP x_temperature Degrees.", "# TYPE x_temperature gauge",
                          "x_temperature -1.5"));
}

TEST(MetricsTest, CallsWithOneNameJoinOneFamily) {
  Metrics metrics;
  const auto registration = metrics.Register([](MetricsPage& page) {
    page.Count("x_total", "Things.", 1, {{"kind", "a"}, {"zone", "1"}});
    page.Gauge("x_between", "Another.", 0);
    page.Count("x_total", "Things.", 2, {{"kind", "b"}, {"zone", "1"}});
  });
  EXPECT_THAT(Lines(metrics, "x_total"),
              ElementsAre("# HELP x_total Things.", "# TYPE x_total counter",
                          R"(x_total{kind="a",zone="1"} 1)", R"(x_total{kind="b",zone="1"} 2)"));
}

TEST(MetricsTest, LabelValueIsEscaped) {
  Metrics metrics;
  const auto registration = metrics.Register([](MetricsPage& page) {
    page.Count("x_total", "Things.", 1, {{"path", "a\"b\\c\nd"}});
  });
  EXPECT_THAT(metrics.Text(), HasSubstr(R"(x_total{path="a\"b\\c\nd"} 1)"));
}

TEST(MetricsTest, HistogramIsCumulativeAndSumsItsParts) {
  LogHistogram first;
  LogHistogram second;
  first.Record(0);
  first.Record(4);  // the bound is part of the bucket
  second.Record(3);
  second.Record(1000);
  Metrics metrics;
  const auto registration = metrics.Register([&](MetricsPage& page) {
    page.Histogram("x_seconds", "Latency.", {&first, &second}, 1);
  });
  const std::vector<std::string> lines = Lines(metrics, "x_seconds");
  const std::string text = metrics.Text();
  ASSERT_EQ(lines.size(), 2 + LogHistogram::kBuckets + 2);
  EXPECT_THAT(text, HasSubstr("# TYPE x_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_count 4\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_sum 1007\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"4\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"512\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"1024\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("x_seconds_bucket{le=\"+Inf\"} 4\n"));
}

TEST(MetricsTest, HistogramIsShownInTheBaseUnit) {
  LogHistogram nanoseconds;
  nanoseconds.Record(500'000'000);
  Metrics metrics;
  const auto registration = metrics.Register(
      [&](MetricsPage& page) { page.Histogram("x_seconds", "Latency.", {&nanoseconds}, 1e9); });
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("x_seconds_sum 0.5\n"));
  EXPECT_THAT(text, HasSubstr("le=\"0.536870912\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("le=\"0.268435456\"} 0\n"));
}

TEST(MetricsTest, CollectorIsAskedAtEveryScrape) {
  Metrics metrics;
  double scrapes = 0;
  const auto registration = metrics.Register(
      [&](MetricsPage& page) { page.Count("x_scrapes_total", "Scrapes.", ++scrapes); });
  EXPECT_THAT(metrics.Text(), HasSubstr("x_scrapes_total 1\n"));
  EXPECT_THAT(metrics.Text(), HasSubstr("x_scrapes_total 2\n"));
}

TEST(MetricsTest, CollectorGoesWithItsRegistration) {
  Metrics metrics;
  const auto kept = metrics.Register([](MetricsPage& page) { page.Gauge("x_kept", "Stays.", 1); });
  {
    const auto registration =
        metrics.Register([](MetricsPage& page) { page.Gauge("x_gone", "Goes.", 1); });
    EXPECT_THAT(metrics.Text(), HasSubstr("x_gone 1"));
  }
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("x_gone")));
  EXPECT_THAT(metrics.Text(), HasSubstr("x_kept 1"));
}

TEST(MetricsTest, RegistrationMayBeMoved) {
  Metrics metrics;
  Metrics::Registration registration;
  {
    auto made = metrics.Register([](MetricsPage& page) { page.Gauge("x_first", "1.", 1); });
    Metrics::Registration moved(std::move(made));
    registration = std::move(moved);
  }
  EXPECT_THAT(metrics.Text(), HasSubstr("x_first"));
  registration = metrics.Register([](MetricsPage& page) { page.Gauge("x_second", "2.", 1); });
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("x_first")));
  EXPECT_THAT(metrics.Text(), HasSubstr("x_second"));
}

TEST(MetricsTest, ProcessIsDescribed) {
  Metrics metrics;
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("\nprocess_cpu_seconds_total "));
  EXPECT_THAT(text, HasSubstr("\nprocess_resident_memory_bytes "));
  EXPECT_THAT(text, HasSubstr("\nprocess_open_fds "));
}

}  // namespace
}  // namespace ds::daemon
