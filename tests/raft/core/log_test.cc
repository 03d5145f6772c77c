#include "raft/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace ds::raft {
namespace {

using testing::IsEmpty;

LogPosition At(std::uint64_t term, std::uint64_t index) { return {Term(term), LogIndex(index)}; }

EntryPtr Make(std::uint64_t term, std::uint64_t index, std::string data = "0123456789") {
  return std::make_shared<Entry>(
      Entry{.position = At(term, index), .kind = Entry::Kind::kCommand, .data = std::move(data)});
}

Configuration Of(std::initializer_list<std::uint64_t> voters) {
  Configuration configuration;
  for (const std::uint64_t voter : voters) {
    configuration.voters.insert(NodeId(voter));
    configuration.contexts[NodeId(voter)] = "m";
  }
  return configuration;
}

EntryPtr MakeConfiguration(std::uint64_t term, std::uint64_t index, const Configuration& value) {
  return std::make_shared<Entry>(Entry{.position = At(term, index),
                                       .kind = Entry::Kind::kConfiguration,
                                       .data = EncodeConfiguration(value)});
}

/// Begins after 10@2; entries have these terms.
Log WithTerms(std::initializer_list<std::uint64_t> terms) {
  std::vector<EntryPtr> entries;
  std::uint64_t index = 10;
  for (const std::uint64_t term : terms) entries.push_back(Make(term, ++index));
  return Log(At(2, 10), Of({1, 2, 3}), entries);
}

std::vector<LogPosition> Positions(const std::vector<EntryPtr>& entries) {
  std::vector<LogPosition> positions;
  for (const EntryPtr& entry : entries) positions.push_back(entry->position);
  return positions;
}

TEST(Log, KnowsTermsFromItsBaseToItsEnd) {
  const Log log = WithTerms({2, 3, 3});
  EXPECT_EQ(log.last(), At(3, 13));
  EXPECT_EQ(log.TermAt(LogIndex(9)), std::nullopt);
  EXPECT_EQ(log.TermAt(LogIndex(10)), Term(2));
  EXPECT_EQ(log.TermAt(LogIndex(12)), Term(3));
  EXPECT_EQ(log.TermAt(LogIndex(14)), std::nullopt);
  EXPECT_TRUE(log.Matches(At(2, 10)));
  EXPECT_FALSE(log.Matches(At(3, 10)));
  EXPECT_FALSE(log.Matches(At(3, 14)));
  EXPECT_EQ(log.Find(LogIndex(10)), nullptr);
  EXPECT_EQ(log.Find(LogIndex(13))->position, At(3, 13));
  EXPECT_EQ(log.Find(LogIndex(14)), nullptr);
}

TEST(Log, WithoutEntriesEndsAtItsBase) {
  const Log log = WithTerms({});
  EXPECT_EQ(log.last(), At(2, 10));
  EXPECT_EQ(log.durable(), LogIndex(10));
  EXPECT_FALSE(log.HasUnsaved());
}

TEST(Log, TheLastPositionNotAboveATermJumpsOverWholeTerms) {
  const Log log = WithTerms({3, 3, 5, 5, 8});
  EXPECT_EQ(log.LastNotAbove(LogIndex(15), Term(9)), At(8, 15));
  EXPECT_EQ(log.LastNotAbove(LogIndex(99), Term(9)), At(8, 15));
  EXPECT_EQ(log.LastNotAbove(LogIndex(15), Term(7)), At(5, 14));
  EXPECT_EQ(log.LastNotAbove(LogIndex(13), Term(7)), At(5, 13));
  EXPECT_EQ(log.LastNotAbove(LogIndex(15), Term(4)), At(3, 12));
  EXPECT_EQ(log.LastNotAbove(LogIndex(11), Term(4)), At(3, 11));
  EXPECT_EQ(log.LastNotAbove(LogIndex(15), Term(2)), At(2, 10));
  EXPECT_EQ(log.LastNotAbove(LogIndex(15), Term(1)), std::nullopt);
  EXPECT_EQ(log.LastNotAbove(LogIndex(9), Term(9)), std::nullopt);
}

TEST(Log, TermStartsFollowTruncationAndCompaction) {
  Log log = WithTerms({3, 3, 5, 5, 8});
  log.TruncateFrom(LogIndex(14));
  log.Append(Make(9, 14));
  EXPECT_EQ(log.LastNotAbove(LogIndex(14), Term(8)), At(5, 13));
  log.Compact(LogIndex(12));
  EXPECT_EQ(log.base(), At(3, 12));
  EXPECT_EQ(log.LastNotAbove(LogIndex(14), Term(4)), At(3, 12));
  EXPECT_EQ(log.LastNotAbove(LogIndex(14), Term(2)), std::nullopt);
  log.Compact(LogIndex(13));
  EXPECT_EQ(log.LastNotAbove(LogIndex(14), Term(5)), At(5, 13));
}

TEST(Log, ASliceIsBoundedByBytesButHasOneEntry) {
  const Log log = WithTerms({3, 3, 3, 3});
  EXPECT_EQ(log.Slice(LogIndex(11), LogIndex(14), 1000).size(), 4U);
  EXPECT_EQ(log.Slice(LogIndex(12), LogIndex(13), 1000).size(), 2U);
  EXPECT_EQ(log.Slice(LogIndex(11), LogIndex(14), 29).size(), 2U);
  EXPECT_EQ(log.Slice(LogIndex(11), LogIndex(14), 30).size(), 3U);
  EXPECT_EQ(Positions(log.Slice(LogIndex(12), LogIndex(14), 1)), std::vector{At(3, 12)});
}

TEST(Log, ASliceIsBoundedInEntriesThatHaveNoData) {
  Log log(At(0, 0), Of({1}), {});
  for (std::uint64_t index = 1; index <= Log::kSliceEntriesMax + 5; ++index) {
    log.Append(Make(1, index, ""));
  }
  EXPECT_EQ(log.Slice(LogIndex(1), log.last().index, 1000).size(), Log::kSliceEntriesMax);
}

TEST(Log, KnowsTheBytesOfItsEntries) {
  Log log = WithTerms({2, 3, 3});
  EXPECT_EQ(log.bytes(), 30U);
  log.Append(Make(3, 14, "longer"));
  EXPECT_EQ(log.bytes(), 36U);
  log.TruncateFrom(LogIndex(13));
  EXPECT_EQ(log.bytes(), 20U);
  log.Compact(LogIndex(11));
  EXPECT_EQ(log.bytes(), 10U);
  log.Restart(At(5, 19), Of({1}));
  EXPECT_EQ(log.bytes(), 0U);
}

TEST(Log, SharesEntriesWithItsSlices) {
  Log log = WithTerms({});
  const EntryPtr entry = Make(3, 11);
  log.Append(entry);
  EXPECT_EQ(log.Slice(LogIndex(11), LogIndex(11), 1).front(), entry);
  EXPECT_EQ(log.Find(LogIndex(11)), entry);
}

TEST(Log, TheNewestConfigurationIsInUseUntilItIsCut) {
  Log log = WithTerms({3});
  EXPECT_EQ(log.configuration(), Of({1, 2, 3}));
  EXPECT_EQ(log.configuration_index(), LogIndex(10));
  log.Append(MakeConfiguration(3, 12, Of({1, 2})));
  log.Append(Make(3, 13));
  log.Append(MakeConfiguration(3, 14, Of({1})));
  EXPECT_EQ(log.configuration(), Of({1}));
  EXPECT_EQ(log.configuration_index(), LogIndex(14));
  EXPECT_EQ(log.ConfigurationAt(LogIndex(13)), Of({1, 2}));
  EXPECT_EQ(log.ConfigurationAt(LogIndex(11)), Of({1, 2, 3}));
  log.TruncateFrom(LogIndex(14));
  EXPECT_EQ(log.configuration(), Of({1, 2}));
  log.TruncateFrom(LogIndex(11));
  EXPECT_EQ(log.configuration(), Of({1, 2, 3}));
}

TEST(Log, CompactionKeepsTheConfigurationOfTheBase) {
  Log log = WithTerms({3});
  log.Append(MakeConfiguration(3, 12, Of({1, 2})));
  log.Append(MakeConfiguration(3, 13, Of({1})));
  log.Append(Make(3, 14));
  log.Compact(LogIndex(12));
  EXPECT_EQ(log.ConfigurationAt(LogIndex(12)), Of({1, 2}));
  log.TruncateFrom(LogIndex(13));
  EXPECT_EQ(log.configuration(), Of({1, 2}));
  EXPECT_EQ(log.configuration_index(), LogIndex(12));
}

TEST(Log, AnEntryIsDurableWhenItsBatchIs) {
  Log log = WithTerms({});
  log.Append(Make(3, 11));
  log.Append(Make(3, 12));
  EXPECT_EQ(log.BatchWith(LogIndex(11), 7), 7U) << "in no batch yet";
  EXPECT_EQ(Positions(log.TakeUnsaved(7)), (std::vector{At(3, 11), At(3, 12)}));
  EXPECT_FALSE(log.HasUnsaved());
  log.Append(Make(3, 13));
  EXPECT_EQ(Positions(log.TakeUnsaved(8)), std::vector{At(3, 13)});
  EXPECT_EQ(log.BatchWith(LogIndex(10), 9), 0U);
  EXPECT_EQ(log.BatchWith(LogIndex(12), 9), 7U);
  EXPECT_EQ(log.BatchWith(LogIndex(13), 9), 8U);
  log.Persisted(7);
  EXPECT_EQ(log.durable(), LogIndex(12));
  EXPECT_EQ(log.BatchWith(LogIndex(12), 9), 0U);
  log.Persisted(8);
  EXPECT_EQ(log.durable(), LogIndex(13));
}

TEST(Log, WhatWasCutWhileItWasWrittenIsNotDurable) {
  Log log = WithTerms({});
  for (std::uint64_t index = 11; index <= 13; ++index) log.Append(Make(3, index));
  EXPECT_EQ(log.TakeUnsaved(1).size(), 3U);
  log.TruncateFrom(LogIndex(12));
  log.Append(Make(4, 12));
  log.Append(Make(4, 13));
  log.Persisted(1);
  EXPECT_EQ(log.durable(), LogIndex(11)) << "12 and 13 on the disk are those of term 3";
  EXPECT_EQ(Positions(log.TakeUnsaved(2)), (std::vector{At(4, 12), At(4, 13)}));
  log.Persisted(2);
  EXPECT_EQ(log.durable(), LogIndex(13));
}

TEST(Log, ARestartForgetsAllAndIsDurableWithItsBatch) {
  Log log = WithTerms({3, 3});
  log.Append(Make(3, 13));
  EXPECT_EQ(log.TakeUnsaved(1).size(), 1U);
  log.Restart(At(5, 40), Of({4}));
  EXPECT_EQ(log.base(), At(5, 40));
  EXPECT_EQ(log.last(), At(5, 40));
  EXPECT_EQ(log.configuration(), Of({4}));
  EXPECT_TRUE(log.HasUnsaved()) << "the new base";
  EXPECT_EQ(log.BatchWith(LogIndex(40), 2), 2U);
  EXPECT_THAT(log.TakeUnsaved(2), IsEmpty());
  log.Persisted(1);
  EXPECT_LT(log.durable(), LogIndex(40));
  log.Append(Make(5, 41));
  log.Persisted(2);
  EXPECT_EQ(log.durable(), LogIndex(40));
  EXPECT_EQ(Positions(log.TakeUnsaved(3)), std::vector{At(5, 41)});
}

}  // namespace
}  // namespace ds::raft
