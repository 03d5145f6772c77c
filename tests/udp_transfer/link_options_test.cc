#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>

#include "udp_transfer/link/options.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(EmulatorOptionsTest, OneValueIsForBothDirectionsTwoAreForEach) {
  EmulatorOptions options;
  options.rate_mbit = "100,0.5";
  options.delay_ms = "25";
  options.jitter_ms = "0,1.5";
  options.loss_percent = "1,0";
  options.corrupt_percent = "2";
  options.duplicate_percent = "0,100";
  options.reorder_percent = "3";
  options.reorder_by_ms = "8,9";
  const auto links = options.Links();
  ASSERT_TRUE(links.ok()) << links.status();
  const auto& [a, b] = *links;
  EXPECT_EQ(a.rate_bits_per_s, 100e6);
  EXPECT_EQ(b.rate_bits_per_s, 0.5e6);
  EXPECT_EQ(a.delay, 25ms);
  EXPECT_EQ(b.delay, 25ms);
  EXPECT_EQ(a.jitter, 0ms);
  EXPECT_EQ(b.jitter, 1500us);
  EXPECT_EQ(a.loss, 0.01);
  EXPECT_EQ(b.loss, 0);
  EXPECT_EQ(a.corrupt, 0.02);
  EXPECT_EQ(b.corrupt, 0.02);
  EXPECT_EQ(a.duplicate, 0);
  EXPECT_EQ(b.duplicate, 1);
  EXPECT_EQ(a.reorder, 0.03);
  EXPECT_EQ(b.reorder, 0.03);
  EXPECT_EQ(a.reorder_by, 8ms);
  EXPECT_EQ(b.reorder_by, 9ms);
}

TEST(EmulatorOptionsTest, WithoutARateThereIsNoLimit) {
  const auto links = EmulatorOptions{}.Links();
  ASSERT_TRUE(links.ok());
  EXPECT_EQ((*links)[0].rate_bits_per_s, 0);
  EXPECT_EQ((*links)[1].rate_bits_per_s, 0);
}

TEST(EmulatorOptionsTest, TheQueueHoldsTheBandwidthDelayProductUnlessToldOtherwise) {
  struct Case {
    const char* rate;
    const char* delay;
    const char* queue;
    std::uint64_t bytes, packets;
  };
  for (const Case& test : std::initializer_list<Case>{
           {"100", "25", "", 625'000, 0},  // of the whole round trip
           {"100", "40,10", "", 625'000, 0},
           {"100", "0", "", 64 * 1500, 0},
           {"1", "10", "", 64 * 1500, 0},
           {"100", "25", "96000", 96'000, 0},
           {"100", "25", "64p", 0, 64},
           {"100", "25", "20ms", 250'000, 0},
           {"0.001", "0", "0.001ms", 1, 0},
       }) {
    EmulatorOptions options;
    options.rate_mbit = test.rate;
    options.delay_ms = test.delay;
    options.queue = test.queue;
    const auto links = options.Links();
    ASSERT_TRUE(links.ok()) << links.status();
    for (const LinkOptions& link : *links) {
      EXPECT_EQ(link.queue_bytes, test.bytes) << test.rate << " " << test.queue;
      EXPECT_EQ(link.queue_packets, test.packets) << test.rate << " " << test.queue;
    }
  }
  EmulatorOptions options;
  options.rate_mbit = "100";
  options.queue = "7p,20ms";
  const auto links = options.Links();
  ASSERT_TRUE(links.ok());
  EXPECT_EQ((*links)[0].queue_packets, 7U);
  EXPECT_EQ((*links)[1].queue_bytes, 250'000U);
}

TEST(EmulatorOptionsTest, ValuesThatMeanNothingAreRefusedByTheNameOfTheOption) {
  struct Case {
    std::string EmulatorOptions::*option;
    const char* name;
  };
  for (const Case& test : std::initializer_list<Case>{
           {&EmulatorOptions::rate_mbit, "--rate"},
           {&EmulatorOptions::delay_ms, "--delay"},
           {&EmulatorOptions::jitter_ms, "--jitter"},
           {&EmulatorOptions::loss_percent, "--loss"},
           {&EmulatorOptions::corrupt_percent, "--corrupt"},
           {&EmulatorOptions::duplicate_percent, "--duplicate"},
           {&EmulatorOptions::reorder_percent, "--reorder"},
           {&EmulatorOptions::reorder_by_ms, "--reorder-by"},
           {&EmulatorOptions::queue, "--queue"},
       }) {
    for (const char* const text : {"x", "-1", "1,", ",1", "1,2,3", "1 ", " 1", "nan", "inf", "1e3",
                                   "0x1", "9999999999", "1%", "1\n"}) {
      // "1,": a queue may have its default in one direction.
      if (test.option == &EmulatorOptions::queue && (*text == ',' || std::string(text) == "1,")) {
        continue;
      }
      EmulatorOptions options;
      options.rate_mbit = "1";
      options.*test.option = text;
      const auto links = options.Links();
      EXPECT_TRUE(absl::IsInvalidArgument(links.status())) << test.name << " \"" << text << '"';
      EXPECT_THAT(Message(links.status()), HasSubstr(test.name));
    }
  }
  for (const char* const queue : {"0", "0p", "0ms", "p", "ms", "1s", "1.5", "1.5p", "-1ms"}) {
    EmulatorOptions options;
    options.rate_mbit = "1";
    options.queue = queue;
    EXPECT_TRUE(absl::IsInvalidArgument(options.Links().status())) << queue;
  }
  EmulatorOptions options;
  options.queue = "64p";
  EXPECT_THAT(Message(options.Links().status()), HasSubstr("without --rate"));
  options.queue.clear();
  options.rate_mbit = "0";
  EXPECT_TRUE(absl::IsInvalidArgument(options.Links().status()));
  options.rate_mbit = "1";
  options.reorder_percent = "1";
  options.reorder_by_ms = "0";
  EXPECT_TRUE(absl::IsInvalidArgument(options.Links().status()));
}

}  // namespace
}  // namespace ds::udp_transfer
