#include "raft/core/quorum.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "common/base/rng.h"

namespace ds::raft {
namespace {

Configuration Of(const std::set<NodeId>& voters, const std::set<NodeId>& outgoing = {}) {
  Configuration configuration;
  configuration.voters = voters;
  configuration.outgoing = outgoing;
  for (const NodeId id : configuration.Members()) configuration.contexts[id] = "";
  return configuration;
}

std::set<NodeId> Ids(std::uint32_t bits) {
  std::set<NodeId> ids;
  for (std::uint32_t i = 0; i < 32; ++i) {
    if ((bits >> i & 1) != 0) ids.insert(NodeId(i));
  }
  return ids;
}

// The definition in other words: more than half, of a set given as bits.
bool MoreThanHalf(std::uint32_t set, std::uint32_t of) {
  return 2 * std::popcount(set & of) > std::popcount(of);
}

// Calls `check` with all pairs of voters and outgoing up to 5 + 5 members, up to naming: they share
// any number of members.
void ForAllConfigurations(
    const std::function<void(std::uint32_t voters, std::uint32_t outgoing)>& check) {
  for (std::uint32_t voters = 0; voters <= 5; ++voters) {
    const std::uint32_t voter_bits = (1U << voters) - 1;
    for (std::uint32_t outgoing = 0; outgoing <= 5; ++outgoing) {
      for (std::uint32_t shared = 0; shared <= std::min(voters, outgoing); ++shared) {
        check(voter_bits, ((1U << outgoing) - 1) << (voters - shared));
      }
    }
  }
}

TEST(Quorum, IsAMajorityOfEachHalfForAllSubsetsOfUpToFiveAndFiveMembers) {
  ForAllConfigurations([](std::uint32_t voters, std::uint32_t outgoing) {
    const Configuration configuration = Of(Ids(voters), Ids(outgoing));
    const std::uint32_t all = voters | outgoing;
    for (std::uint32_t subset = 0; subset <= all; ++subset) {
      if ((subset & ~all) != 0) continue;
      const bool expected =
          MoreThanHalf(subset, voters) && (outgoing == 0 || MoreThanHalf(subset, outgoing));
      const auto counts = [&](NodeId id) { return (subset >> id.value() & 1) != 0; };
      ASSERT_EQ(HasQuorum(configuration, counts), expected) << voters << ' ' << outgoing;
    }
  });
}

TEST(Quorum, TwoQuorumsOfOneHalfAlwaysShareAVoter) {
  for (std::uint32_t size = 1; size <= 5; ++size) {
    const std::uint32_t all = (1U << size) - 1;
    const Configuration configuration = Of(Ids(all));
    const auto is_quorum = [&](std::uint32_t set) {
      return HasQuorum(configuration, [&](NodeId id) { return (set >> id.value() & 1) != 0; });
    };
    for (std::uint32_t a = 0; a <= all; ++a) {
      for (std::uint32_t b = 0; b <= all; ++b) {
        if (is_quorum(a) && is_quorum(b)) {
          ASSERT_NE(a & b, 0U);
        }
      }
    }
  }
}

TEST(Quorum, VotesAreWonOrLostExactlyWhenTheMissingOnesCannotChangeIt) {
  ForAllConfigurations([](std::uint32_t voters, std::uint32_t outgoing) {
    const Configuration configuration = Of(Ids(voters), Ids(outgoing));
    const std::uint32_t all = voters | outgoing;
    const auto wins = [&](std::uint32_t granted) {
      return MoreThanHalf(granted, voters) && (outgoing == 0 || MoreThanHalf(granted, outgoing));
    };
    for (std::uint32_t granted = 0; granted <= all; ++granted) {
      if ((granted & ~all) != 0) continue;
      for (std::uint32_t refused = 0; refused <= all; ++refused) {
        if ((refused & ~all) != 0 || (refused & granted) != 0) continue;
        std::map<NodeId, bool> votes;
        for (const NodeId id : Ids(granted)) votes[id] = true;
        for (const NodeId id : Ids(refused)) votes[id] = false;
        const VoteOutcome expected = wins(granted)          ? VoteOutcome::kWon
                                     : wins(all & ~refused) ? VoteOutcome::kPending
                                                            : VoteOutcome::kLost;
        ASSERT_EQ(CountVotes(configuration, votes), expected)
            << voters << ' ' << outgoing << ' ' << granted << ' ' << refused;
      }
    }
  });
}

TEST(Quorum, CommittedIsTheHighestIndexThatAQuorumHas) {
  Rng rng(1);
  ForAllConfigurations([&](std::uint32_t voters, std::uint32_t outgoing) {
    const Configuration configuration = Of(Ids(voters), Ids(outgoing));
    for (int draw = 0; draw < 300; ++draw) {
      std::map<NodeId, LogIndex> match;
      for (const NodeId id : configuration.Members()) match[id] = LogIndex(rng.Below(6));
      std::uint64_t expected = 0;
      for (std::uint64_t index = 1; index <= 5; ++index) {
        const auto has = [&](NodeId id) { return match.at(id).value() >= index; };
        if (HasQuorum(configuration, has)) expected = index;
      }
      const LogIndex committed =
          CommittedIndex(configuration, [&](NodeId id) { return match.at(id); });
      ASSERT_EQ(committed.value(), expected) << voters << ' ' << outgoing;
    }
  });
}

TEST(Quorum, LearnersAndStrangersDoNotCount) {
  Configuration configuration = Of(Ids(0b111));
  configuration.learners = {NodeId(7), NodeId(8)};
  const auto strangers = [](NodeId id) { return id.value() >= 7 || id.value() == 0; };
  EXPECT_FALSE(HasQuorum(configuration, strangers));
  EXPECT_EQ(CountVotes(configuration, {{NodeId(0), true}, {NodeId(7), true}, {NodeId(99), true}}),
            VoteOutcome::kPending);
  EXPECT_EQ(CountVotes(configuration, {{NodeId(0), true}, {NodeId(7), false}, {NodeId(99), false}}),
            VoteOutcome::kPending);
  EXPECT_EQ(CommittedIndex(configuration,
                           [](NodeId id) { return LogIndex(id.value() >= 7 ? 9 : id.value()); }),
            LogIndex(1));
}

TEST(Quorum, WithoutVotersThereIsNone) {
  const auto everybody = [](NodeId /*id*/) { return true; };
  const auto everything = [](NodeId /*id*/) { return LogIndex(9); };
  EXPECT_FALSE(HasQuorum(Configuration(), everybody));
  EXPECT_EQ(CommittedIndex(Configuration(), everything), LogIndex(0));
  EXPECT_EQ(CountVotes(Configuration(), {{NodeId(1), true}}), VoteOutcome::kLost);
  EXPECT_FALSE(HasQuorum(Of({}, Ids(0b111)), everybody));
  EXPECT_EQ(CommittedIndex(Of({}, Ids(0b111)), everything), LogIndex(0));
}

TEST(Quorum, OneVoterDecidesAlone) {
  const Configuration one = Of(Ids(0b1));
  EXPECT_EQ(CountVotes(one, {{NodeId(0), true}}), VoteOutcome::kWon);
  EXPECT_EQ(CommittedIndex(one, [](NodeId /*id*/) { return LogIndex(4); }), LogIndex(4));
}

}  // namespace
}  // namespace ds::raft
