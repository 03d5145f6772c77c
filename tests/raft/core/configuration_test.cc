#include "raft/core/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/base/rng.h"

namespace ds::raft {
namespace {

using ::testing::HasSubstr;

std::set<NodeId> Ids(std::initializer_list<std::uint64_t> values) {
  std::set<NodeId> ids;
  for (const std::uint64_t value : values) ids.insert(NodeId(value));
  return ids;
}

Configuration WithContexts(Configuration configuration) {
  for (const NodeId id : configuration.Members()) {
    configuration.contexts[id] = fmt::format("address {}", id);
  }
  return configuration;
}

Configuration Three() { return WithContexts({.voters = Ids({1, 2, 3})}); }

// Every list in use: 1 stays, 2 leaves, 3 becomes a learner, 4 comes, 5 learns.
Configuration Joint() {
  return WithContexts({.voters = Ids({1, 4}),
                       .outgoing = Ids({1, 2, 3}),
                       .learners = Ids({5}),
                       .learners_next = Ids({3})});
}

std::string ErrorOf(const absl::Status& status) { return status.ok() ? "" : Message(status); }

// --- Questions ---

TEST(Configuration, MembersAreVotersOfBothHalvesAndLearnersEachOnce) {
  EXPECT_EQ(Joint().Members(), Ids({1, 2, 3, 4, 5}));
  EXPECT_TRUE(Joint().IsVoter(NodeId(2)));
  EXPECT_TRUE(Joint().IsVoter(NodeId(4)));
  EXPECT_FALSE(Joint().IsVoter(NodeId(5)));
  EXPECT_TRUE(Joint().Contains(NodeId(5)));
  EXPECT_FALSE(Joint().Contains(NodeId(6)));
  EXPECT_TRUE(Joint().joint());
  EXPECT_FALSE(Three().joint());
}

TEST(Configuration, LeavingTheJointOneForgetsOutgoingVotersAndTheirContexts) {
  EXPECT_EQ(Joint().Left(), WithContexts({.voters = Ids({1, 4}), .learners = Ids({3, 5})}));
  EXPECT_TRUE(Joint().Left().Validate().ok());
  EXPECT_EQ(Three().Left(), Three());
}

TEST(Configuration, WhatDoesNotFitIsNamed) {
  const auto broken = [](const std::function<void(Configuration&)>& change) {
    Configuration configuration = Joint();
    EXPECT_EQ(ErrorOf(configuration.Validate()), "");
    change(configuration);
    return ErrorOf(configuration.Validate());
  };
  EXPECT_THAT(ErrorOf(Configuration().Validate()), HasSubstr("no voter"));
  EXPECT_THAT(broken([](Configuration& c) { c.voters.clear(); }), HasSubstr("no voter"));
  EXPECT_THAT(broken([](Configuration& c) { c.learners.insert(NodeId(4)); }),
              HasSubstr("4 is voter and learner"));
  EXPECT_THAT(broken([](Configuration& c) { c.learners.insert(NodeId(2)); }),
              HasSubstr("2 is voter and learner"));
  EXPECT_THAT(broken([](Configuration& c) { c.learners_next.insert(NodeId(4)); }),
              HasSubstr("4 is to become a learner and is no outgoing voter"));
  EXPECT_THAT(broken([](Configuration& c) { c.learners_next.insert(NodeId(1)); }),
              HasSubstr("1 is to become a learner and to stay a voter"));
  EXPECT_THAT(broken([](Configuration& c) { c.contexts.erase(NodeId(5)); }),
              HasSubstr("5 has no context"));
  EXPECT_THAT(broken([](Configuration& c) { c.contexts[NodeId(6)] = "x"; }),
              HasSubstr("context of 6, which is no member"));
  EXPECT_THAT(broken([](Configuration& c) { c.contexts[NodeId(1)] = std::string(4097, 'x'); }),
              HasSubstr("context of 1 has 4097 bytes"));
}

TEST(Configuration, SixtyFourMembersAreTheMost) {
  Configuration configuration;
  for (std::uint64_t i = 0; i < 64; ++i) {
    (i % 2 == 0 ? configuration.voters : configuration.learners).insert(NodeId(i));
  }
  configuration = WithContexts(std::move(configuration));
  EXPECT_TRUE(configuration.Validate().ok());
  EXPECT_EQ(*DecodeConfiguration(EncodeConfiguration(configuration)), configuration);
  configuration.learners.insert(NodeId(99));
  EXPECT_THAT(ErrorOf(WithContexts(std::move(configuration)).Validate()),
              HasSubstr("65 members are more than 64"));
}

// --- Bytes ---

TEST(ConfigurationBytes, AreThoseOfTheDocumentedFormat) {
  const Configuration one{.voters = Ids({0x0102}), .contexts = {{NodeId(0x0102), "ab"}}};
  const std::string zero(4, '\0');
  const std::string id("\0\0\0\0\0\0\1\2", 8);
  const std::string number_one("\0\0\0\1", 4);
  EXPECT_EQ(EncodeConfiguration(one), "\1" + number_one + id + zero + zero + zero + number_one +
                                          id + std::string("\0\0\0\2", 4) + "ab");
}

TEST(ConfigurationBytes, DecodeToWhatWasEncoded) {
  for (const Configuration& configuration : {Three(), Joint(), Joint().Left()}) {
    const auto decoded = DecodeConfiguration(EncodeConfiguration(configuration));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, configuration);
  }
  const NodeId last(~std::uint64_t{0});
  const Configuration odd{.voters = {NodeId(0), last},
                          .contexts = {{NodeId(0), std::string(4096, '\0')}, {last, ""}}};
  EXPECT_EQ(*DecodeConfiguration(EncodeConfiguration(odd)), odd);
}

TEST(ConfigurationBytes, EveryCutAndEveryAdditionIsAnError) {
  const std::string bytes = EncodeConfiguration(Joint());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeConfiguration(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
  EXPECT_THAT(ErrorOf(DecodeConfiguration(bytes + "x").status()),
              HasSubstr("1 bytes are left over"));
}

TEST(ConfigurationBytes, ChangedBytesAreAnErrorOrAnotherValidConfiguration) {
  const std::string bytes = EncodeConfiguration(Joint());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const auto decoded = DecodeConfiguration(changed);
      if (!decoded.ok()) continue;
      EXPECT_NE(*decoded, Joint());
      EXPECT_TRUE(decoded->Validate().ok());
      EXPECT_EQ(EncodeConfiguration(*decoded), changed);
    }
  }
}

TEST(ConfigurationBytes, MalformedOnesAreRefusedWithTheReason) {
  const std::string none(4, '\0');
  const std::string one("\0\0\0\1", 4);
  const std::string two("\0\0\0\2", 4);
  const std::string many("\xff\xff\xff\xff", 4);
  const auto id = [](char last) { return std::string(7, '\0') + last; };
  const struct {
    std::string bytes;
    const char* why;
  } cases[] = {
      {"", "there are no bytes"},
      {"\2", "format is 2"},
      {"\1" + many, "cut, too long or not in order"},
      {"\1" + two + id(2) + id(1) + none + none + none + none, "not in order"},
      {"\1" + two + id(1) + id(1) + none + none + none + none, "not in order"},
      {"\1" + one + id(1) + none + none + none + many, "contexts are cut"},
      {"\1" + one + id(1) + none + none + none + one + id(1) + many, "contexts are cut"},
      {"\1" + one + id(1) + none + none + none + two + id(1) + none + id(1) + none, "not in order"},
      {"\1" + none + none + none + none + none, "no voter"},
      {"\1" + one + id(1) + none + none + none + none, "1 has no context"},
      {"\1" + one + id(1) + none + one + id(1) + none + one + id(1) + none, "voter and learner"},
  };
  for (const auto& malformed : cases) {
    EXPECT_THAT(ErrorOf(DecodeConfiguration(malformed.bytes).status()), HasSubstr(malformed.why));
  }
}

// --- Changes ---

TEST(ConfigurationChange, NewVotersMakeItJoint) {
  const auto next = Apply(Three(), {.add_voters = {{NodeId(4), "address 4"}}});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(*next, WithContexts({.voters = Ids({1, 2, 3, 4}), .outgoing = Ids({1, 2, 3})}));
  EXPECT_EQ(next->Left(), WithContexts({.voters = Ids({1, 2, 3, 4})}));
}

TEST(ConfigurationChange, LearnersAreAddedAndRemovedWithoutAJointOne) {
  const auto added = Apply(Three(), {.add_learners = {{NodeId(4), "address 4"}}});
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(*added, WithContexts({.voters = Ids({1, 2, 3}), .learners = Ids({4})}));
  EXPECT_EQ(*Apply(*added, {.remove = {NodeId(4)}}), Three());
}

TEST(ConfigurationChange, ALearnerIsPromotedInThePlaceOfAnotherInOneChange) {
  const Configuration with_learner = WithContexts({.voters = Ids({1, 2, 3}), .learners = Ids({4})});
  const auto next =
      Apply(with_learner, {.add_voters = {{NodeId(4), "address 4"}}, .remove = {NodeId(2)}});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(*next, WithContexts({.voters = Ids({1, 3, 4}), .outgoing = Ids({1, 2, 3})}));
  EXPECT_EQ(next->Left(), WithContexts({.voters = Ids({1, 3, 4})}));
}

TEST(ConfigurationChange, AVoterThatIsToLearnVotesUntilTheJointOneIsLeft) {
  const auto next = Apply(Three(), {.add_learners = {{NodeId(3), "address 3"}}});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(
      *next,
      WithContexts({.voters = Ids({1, 2}), .outgoing = Ids({1, 2, 3}), .learners_next = Ids({3})}));
  EXPECT_EQ(next->Left(), WithContexts({.voters = Ids({1, 2}), .learners = Ids({3})}));
}

TEST(ConfigurationChange, ANewContextAloneNeedsNoJointOne) {
  const auto next = Apply(Three(), {.add_voters = {{NodeId(2), "moved"}}});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(next->joint());
  EXPECT_EQ(next->contexts.at(NodeId(2)), "moved");
  EXPECT_EQ(next->voters, Three().voters);
}

TEST(ConfigurationChange, WhatDoesNotFitIsNamed) {
  const auto refused = [](const Configuration& current, const ConfigurationChange& change) {
    return ErrorOf(Apply(current, change).status());
  };
  const std::map<NodeId, std::string> four = {{NodeId(4), "address 4"}};
  EXPECT_THAT(refused(Joint(), {.add_learners = {{NodeId(9), ""}}}), HasSubstr("joint"));
  EXPECT_THAT(refused(Configuration(), {.add_voters = four}), HasSubstr("no voter"));
  EXPECT_THAT(refused(Three(), {}), HasSubstr("changes nothing"));
  EXPECT_THAT(refused(Three(), {.add_voters = {{NodeId(1), "address 1"}}}),
              HasSubstr("changes nothing"));
  EXPECT_THAT(refused(Three(), {.remove = {NodeId(9)}}), HasSubstr("9 to be removed is no member"));
  EXPECT_THAT(refused(Three(), {.remove = Ids({1, 2, 3})}), HasSubstr("no voter"));
  EXPECT_THAT(refused(Three(), {.add_voters = four, .add_learners = four}),
              HasSubstr("names 4 twice"));
  EXPECT_THAT(refused(Three(), {.add_voters = {{NodeId(1), ""}}, .remove = {NodeId(1)}}),
              HasSubstr("names 1 twice"));
  EXPECT_THAT(refused(Three(), {.add_learners = {{NodeId(1), ""}}, .remove = {NodeId(1)}}),
              HasSubstr("names 1 twice"));
  EXPECT_THAT(refused(Three(), {.add_voters = {{NodeId(4), std::string(4097, 'x')}}}),
              HasSubstr("4097 bytes"));
}

TEST(ConfigurationChange, AJointOneThatWouldBeTooLargeIsRefused) {
  Configuration full;
  ConfigurationChange change;
  for (std::uint64_t i = 0; i < 40; ++i) {
    full.voters.insert(NodeId(i));
    change.remove.insert(NodeId(i));
    change.add_voters[NodeId(100 + i)] = "";
  }
  EXPECT_THAT(ErrorOf(Apply(WithContexts(std::move(full)), change).status()),
              HasSubstr("80 members are more than 64"));
}

// Whatever is applied: the result is valid, both halves are what they must be, and who leaves keeps
// a context until it has left.
TEST(ConfigurationChange, RandomChangesLeadFromValidToValid) {
  Rng rng(7);
  int joint = 0;
  int refused = 0;
  Configuration current = Three();
  for (int i = 0; i < 20000; ++i) {
    ConfigurationChange change;
    for (std::uint64_t id = 1; id <= 7; ++id) {
      const std::string context = fmt::format("address {}", id + 10 * rng.Below(2));
      switch (rng.Below(12)) {
        case 0:
          change.add_voters[NodeId(id)] = context;
          break;
        case 1:
          change.add_learners[NodeId(id)] = context;
          break;
        case 2:
          change.remove.insert(NodeId(id));
          break;
        default:
          break;
      }
    }
    const auto next = Apply(current, change);
    if (!next.ok()) {
      ++refused;
      continue;
    }
    ASSERT_EQ(ErrorOf(next->Validate()), "");
    const Configuration left = next->Left();
    ASSERT_EQ(ErrorOf(left.Validate()), "");
    ASSERT_EQ(next->joint(), left.voters != current.voters);
    if (next->joint()) {
      ++joint;
      ASSERT_EQ(next->outgoing, current.voters);
    }
    std::set<NodeId> voters = current.voters;
    std::set<NodeId> learners = current.learners;
    for (const auto& [id, context] : change.add_voters) {
      voters.insert(id);
      learners.erase(id);
      ASSERT_EQ(left.contexts.at(id), context);
    }
    for (const auto& [id, context] : change.add_learners) {
      learners.insert(id);
      voters.erase(id);
      ASSERT_EQ(left.contexts.at(id), context);
    }
    for (const NodeId id : change.remove) {
      voters.erase(id);
      learners.erase(id);
    }
    ASSERT_EQ(left.voters, voters);
    ASSERT_EQ(left.learners, learners);
    current = left;
  }
  EXPECT_GT(joint, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace ds::raft
