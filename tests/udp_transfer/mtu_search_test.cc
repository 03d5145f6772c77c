#include "udp_transfer/core/mtu_search.h"

#include <gtest/gtest.h>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegin{1000s};

/// Runs the search to its end over a path that carries `path` bytes; the kernel refuses more than
/// `kernel`. Gives the number of datagrams that were spent.
int Search(MtuSearch& search, std::size_t path, std::size_t kernel = 65507,
           TimePoint now = kBegin) {
  for (int probes = 0; probes < 100; ++probes) {
    const auto size = search.ProbeSize(now);
    if (!size) return probes;
    search.OnProbeSent(*size);
    EXPECT_EQ(search.ProbeSize(now), std::nullopt) << "one at a time";
    if (*size > kernel) {
      EXPECT_TRUE(search.OnTooBig(*size));
    } else if (*size <= path) {
      search.OnProbeAcked(*size);
    } else {
      search.OnProbeLost(*size);
    }
  }
  ADD_FAILURE() << "the search does not end";
  return 0;
}

TEST(MtuSearchTest, FindsWhatRealPathsCarry) {
  const struct {
    const char* what;
    std::size_t path, kernel, size_max, found;
    int probes;
  } cases[] = {
      {"the least", 1200, 65507, 65507, 1200, 6},
      {"Ethernet", 1472, 1472, 65507, 1472, 2},
      {"Ethernet, jumbo frames at this end", 1472, 8972, 65507, 1472, 4},
      {"Ethernet with IPv6", 1452, 1452, 65507, 1452, 4},
      {"a tunnel", 1400, 1472, 65507, 1372, 8},
      {"jumbo frames", 8972, 8972, 65507, 8972, 4},
      {"loopback", 65507, 65507, 65507, 65507, 7},
      {"what the socket is limited to", 65507, 65507, 4000, 4000, 2},
      {"no more than the least", 65507, 65507, 1200, 1200, 0},
  };
  for (const auto& each : cases) {
    MtuSearch search(each.size_max);
    EXPECT_EQ(search.size(), MtuSearch::kBase);
    EXPECT_EQ(Search(search, each.path, each.kernel), each.probes) << each.what;
    EXPECT_EQ(search.size(), each.found) << each.what;
  }
}

TEST(MtuSearchTest, AFewLostProbesAreOverlooked) {
  MtuSearch search(1472);
  for (int i = 0; i < MtuSearch::kProbesMax - 1; ++i) {
    search.OnProbeSent(*search.ProbeSize(kBegin));
    search.OnProbeLost(1472);
  }
  search.OnProbeSent(*search.ProbeSize(kBegin));
  search.OnProbeAcked(1472);
  EXPECT_EQ(search.size(), 1472U);
}

// RFC 8899, 5.1.1, PMTU_RAISE_TIMER.
TEST(MtuSearchTest, SearchesAgainAfterALongTime) {
  MtuSearch search(65507);
  Search(search, 1472);
  EXPECT_EQ(search.ProbeSize(kBegin + MtuSearch::kSearchInterval - 1s), std::nullopt);
  Search(search, 8972, 65507, kBegin + MtuSearch::kSearchInterval);
  EXPECT_EQ(search.size(), 8972U);
}

// RFC 8899, 4.3.
TEST(MtuSearchTest, LargeDatagramsThatAllGetLostAreABlackHole) {
  MtuSearch search(1472);
  Search(search, 1472);
  search.OnAcked(1472, kBegin);
  for (int i = 1; i < MtuSearch::kBlackHoleLosses; ++i) search.OnLost(1472, kBegin + 1s);
  search.OnAcked(1200, kBegin + 2s);  // small ones do get through
  EXPECT_EQ(search.size(), 1472U);
  search.OnLost(1200, kBegin + 1s);
  EXPECT_EQ(search.size(), 1472U);
  search.OnLost(1472, kBegin + 1s);
  EXPECT_EQ(search.size(), MtuSearch::kBase);
  Search(search, 1400);
  EXPECT_EQ(search.size(), 1372U) << "and searches again";
}

TEST(MtuSearchTest, LossAmongArrivalsIsNoBlackHole) {
  MtuSearch search(1472);
  Search(search, 1472);
  for (int i = 0; i < 1000; ++i) {
    search.OnLost(1472, kBegin + i * 1ms);
    if (i % 10 == 9) search.OnAcked(1472, kBegin + i * 1ms);
  }
  search.OnAcked(1472, kBegin + 10s);
  for (int i = 0; i < 1000; ++i) search.OnLost(1472, kBegin + 9s);  // a burst that is over
  EXPECT_EQ(search.size(), 1472U);
}

TEST(MtuSearchTest, TheKernelsRefusalCountsAtOnce) {
  MtuSearch search(65507);
  Search(search, 8972);
  ASSERT_EQ(search.size(), 8972U);
  EXPECT_TRUE(search.OnTooBig(8972));  // the interface's MTU was lowered
  EXPECT_EQ(search.size(), MtuSearch::kBase);
  Search(search, 1472, 1472);
  EXPECT_EQ(search.size(), 1472U);
  EXPECT_FALSE(search.OnTooBig(1200));
}

TEST(MtuSearchTest, OldProbesSayNothingOfANewPath) {
  MtuSearch search(1472);
  search.OnProbeSent(*search.ProbeSize(kBegin));
  search.StartAgain();
  search.OnProbeAcked(1472);
  EXPECT_EQ(search.size(), MtuSearch::kBase);
  EXPECT_EQ(search.ProbeSize(kBegin), 1472U);
}

}  // namespace
}  // namespace ds::udp_transfer
