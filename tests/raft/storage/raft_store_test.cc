#include "raft/storage/raft_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/fs/rooted_disk.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"
#include "tests/sim/sim_disk.h"

namespace ds::raft {
namespace {

using ::ds::sim::SimDisk;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

EntryPtr MakeEntry(std::uint64_t term, std::uint64_t index, std::string data = "data") {
  return std::make_shared<const Entry>(
      Entry{{Term(term), LogIndex(index)}, Entry::Kind::kCommand, std::move(data)});
}

HardState MakeHardState(std::uint64_t term, std::optional<std::uint64_t> vote = std::nullopt) {
  HardState state;
  state.term = Term(term);
  if (vote) state.vote = NodeId(*vote);
  return state;
}

SnapshotMeta MakeMeta(std::uint64_t term, std::uint64_t index, std::uint64_t bytes = 0) {
  SnapshotMeta meta;
  meta.last = {Term(term), LogIndex(index)};
  for (std::uint64_t id = 1; id <= 3; ++id) {
    meta.configuration.voters.insert(NodeId(id));
    meta.configuration.contexts[NodeId(id)] = fmt::format("127.0.0.{}:50000", id);
  }
  meta.bytes = bytes;
  return meta;
}

Output Entries(std::vector<EntryPtr> entries) {
  Output output;
  output.batch = 1;
  output.entries = std::move(entries);
  return output;
}

Output State(HardState state) {
  Output output;
  output.batch = 1;
  output.hard_state = state;
  return output;
}

Output Part(const SnapshotMeta& meta, std::uint64_t offset, std::string data) {
  Output output;
  output.batch = 1;
  output.snapshot_part = Output::ReceivedPart{meta, offset, std::move(data)};
  return output;
}

/// "term.index=data" of each entry.
std::vector<std::string> Lines(const std::vector<EntryPtr>& entries) {
  std::vector<std::string> lines;
  for (const EntryPtr& entry : entries) {
    lines.push_back(
        fmt::format("{}.{}={}", entry->position.term, entry->position.index, entry->data));
  }
  return lines;
}

/// Those that the snapshot does not have.
std::vector<EntryPtr> Behind(const Restored& restored) {
  std::vector<EntryPtr> entries = restored.entries;
  std::erase_if(entries, [&](const EntryPtr& entry) {
    return entry->position.index <= restored.snapshot.last.index;
  });
  return entries;
}

class RaftStoreTest : public ::testing::Test {
 protected:
  RaftStoreTest() { options_.salt = 7; }

  absl::Status TryOpen() {
    store_.reset();
    auto store = RaftStore::Open(disk_, "raft", options_);
    if (!store.ok()) return store.status();
    store_ = std::move(*store);
    return absl::OkStatus();
  }
  void Open() {
    const absl::Status status = TryOpen();
    ASSERT_TRUE(status.ok()) << status;
  }
  Restored Reopen() {
    Open();
    return store_ ? store_->TakeRestored() : Restored{};
  }
  void Write(const Output& output) {
    const absl::Status status = store_->Write(output);
    ASSERT_TRUE(status.ok()) << status;
  }
  void WriteTogether(const std::vector<Output>& outputs) {
    std::vector<const Output*> gathered;
    for (const Output& output : outputs) gathered.push_back(&output);
    const absl::Status status = store_->Write(gathered);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Save(const SnapshotMeta& meta, const std::string& bytes = "") {
    const absl::Status status = store_->SaveSnapshot(meta, bytes);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::vector<std::string> Segments() {
    std::vector<std::string> names;
    for (const std::string& name : disk_.Names()) {
      if (name.ends_with(".log")) names.push_back(name);
    }
    return names;
  }
  void Change(const std::string& name, const std::function<void(std::string*)>& change) {
    auto content = disk_.Read(name);
    ASSERT_TRUE(content.has_value()) << name;
    change(&*content);
    auto file = disk_.OpenFile(name, fs::Disk::Open::kEmpty);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->WriteAt(0, std::as_bytes(std::span(*content))).ok());
  }

  SimDisk disk_;
  RaftStore::Options options_;
  std::unique_ptr<RaftStore> store_;
};

TEST_F(RaftStoreTest, ANewStoreIsEmpty) {
  const Restored restored = Reopen();
  EXPECT_TRUE(store_->empty());
  EXPECT_EQ(restored.hard_state, HardState{});
  EXPECT_EQ(restored.snapshot, SnapshotMeta{});
  EXPECT_THAT(restored.entries, IsEmpty());
  EXPECT_FALSE(store_->snapshot().has_value());
  // And stays so when it is opened again.
  Open();
  EXPECT_TRUE(store_->empty());
}

TEST_F(RaftStoreTest, WhatWasWrittenIsFoundAgain) {
  Open();
  Save(MakeMeta(0, 0));
  EXPECT_FALSE(store_->empty());
  Output output = Entries({MakeEntry(1, 1, "a"), MakeEntry(1, 2, "")});
  output.hard_state = MakeHardState(1, 0);
  Write(output);
  Write(Entries({MakeEntry(1, 3, "c")}));
  const Restored restored = Reopen();
  EXPECT_EQ(restored.hard_state, MakeHardState(1, 0));
  EXPECT_EQ(restored.snapshot, MakeMeta(0, 0));
  EXPECT_THAT(Lines(restored.entries), ElementsAre("1.1=a", "1.2=", "1.3=c"));
  EXPECT_FALSE(store_->empty());
}

TEST_F(RaftStoreTest, AHardStateAloneIsNotEmpty) {
  Open();
  Write(State(MakeHardState(3)));
  EXPECT_FALSE(store_->empty());
  EXPECT_EQ(Reopen().hard_state, MakeHardState(3));
  EXPECT_FALSE(store_->empty());
}

TEST_F(RaftStoreTest, ASnapshotWithoutAConfigurationIsKept) {
  Open();
  SnapshotMeta meta;
  Save(meta);
  EXPECT_EQ(Reopen().snapshot, meta);
  EXPECT_FALSE(store_->empty());
}

TEST_F(RaftStoreTest, KindsOfEntriesAreKept) {
  Open();
  std::vector<EntryPtr> entries;
  for (const auto kind : {Entry::Kind::kNoop, Entry::Kind::kCommand, Entry::Kind::kConfiguration}) {
    entries.push_back(std::make_shared<const Entry>(
        Entry{{Term(1), LogIndex(entries.size() + 1)}, kind, std::string("\0x", 2)}));
  }
  Write(Entries(entries));
  const Restored restored = Reopen();
  ASSERT_EQ(restored.entries.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(*restored.entries[i], *entries[i]);
}

TEST_F(RaftStoreTest, EntriesReplaceWhatStandsAtTheirIndexAndBehind) {
  Open();
  Write(Entries({MakeEntry(1, 1, "a"), MakeEntry(1, 2, "b"), MakeEntry(1, 3, "c")}));
  Write(Entries({MakeEntry(2, 2, "B")}));
  EXPECT_THAT(Lines(Reopen().entries), ElementsAre("1.1=a", "2.2=B"));
  Write(Entries({MakeEntry(3, 1, "A")}));
  EXPECT_THAT(Lines(Reopen().entries), ElementsAre("3.1=A"));
}

TEST_F(RaftStoreTest, AWriteIsOneWriteAndOneSync) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  std::vector<std::string> operations;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    operations.push_back(operation);
    return absl::OkStatus();
  };
  Output output = Entries({MakeEntry(2, 2), MakeEntry(2, 3)});
  output.hard_state = MakeHardState(2, 1);
  Write(output);
  EXPECT_THAT(operations, ElementsAre("write", "sync"));
  // What has nothing durable in it does not touch the disk.
  operations.clear();
  Write(Output{});
  EXPECT_THAT(operations, IsEmpty());
}

TEST_F(RaftStoreTest, OutputsThatHaveGatheredAreOneWriteAndOneSync) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  std::vector<std::string> operations;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    operations.push_back(operation);
    return absl::OkStatus();
  };
  Output with_state = Entries({MakeEntry(2, 3, "c")});
  with_state.hard_state = MakeHardState(2, 1);
  WriteTogether({Entries({MakeEntry(1, 2), MakeEntry(1, 3), MakeEntry(1, 4)}), with_state,
                 Entries({MakeEntry(2, 4, "d")})});
  EXPECT_THAT(operations, ElementsAre("write", "sync"));
  operations.clear();
  WriteTogether({});
  WriteTogether({Output{}, Output{}});
  EXPECT_THAT(operations, IsEmpty());
  disk_.fault = nullptr;
  const Restored restored = Reopen();
  EXPECT_EQ(restored.hard_state, MakeHardState(2, 1));
  EXPECT_THAT(Lines(restored.entries), ElementsAre("1.1=data", "1.2=data", "2.3=c", "2.4=d"));
}

TEST_F(RaftStoreTest, AnInstallAmongGatheredOutputsReplacesWhatCameBeforeIt) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  const SnapshotMeta first = MakeMeta(5, 100, 4);
  const SnapshotMeta second = MakeMeta(6, 200, 3);
  Output install_first = Part(first, 2, "rs");
  install_first.install = first;
  install_first.entries = {MakeEntry(5, 101)};
  Output install_second = Part(second, 0, "two");
  install_second.install = second;
  WriteTogether({Entries({MakeEntry(1, 2)}), Part(first, 0, "fi"), install_first,
                 Entries({MakeEntry(5, 102)})});
  EXPECT_EQ(store_->snapshot(), first);
  Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, first);
  EXPECT_THAT(Lines(restored.entries), ElementsAre("5.101=data", "5.102=data"));
  EXPECT_EQ(*store_->ReadSnapshot(first.last, 0, 9), "firs");

  // Of two the last one counts, and the file of the other one goes.
  const SnapshotMeta between = MakeMeta(5, 150, 3);
  Output install_between = Part(between, 0, "mid");
  install_between.install = between;
  WriteTogether({install_between, install_second, Entries({MakeEntry(6, 201)})});
  EXPECT_EQ(store_->snapshot(), second);
  EXPECT_THAT(disk_.Names(),
              ElementsAre("raft/", "raft/log/", "raft/log/00000000000000000001.log",
                          "raft/snapshot-00000000000000000200-00000000000000000006"));
  restored = Reopen();
  EXPECT_EQ(restored.snapshot, second);
  EXPECT_THAT(Lines(restored.entries), ElementsAre("6.201=data"));
}

TEST_F(RaftStoreTest, ASegmentStaysForAnEntryThatItsOwnGroupReplaced) {
  options_.segment_bytes = 1;
  Open();
  WriteTogether(
      {Entries({MakeEntry(1, 1), MakeEntry(1, 2), MakeEntry(1, 3)}), Entries({MakeEntry(2, 2)})});
  Write(Entries({MakeEntry(2, 3)}));
  Save(MakeMeta(2, 2));
  ASSERT_TRUE(store_->Forget(LogIndex(2)).ok());
  // As after a restart, which looks at each record.
  const std::size_t segments = Segments().size();
  Open();
  ASSERT_TRUE(store_->Forget(LogIndex(2)).ok());
  EXPECT_EQ(Segments().size(), segments);
}

TEST_F(RaftStoreTest, TheLogSaysHowLargeItIs) {
  options_.segment_bytes = 400;
  Open();
  EXPECT_EQ(store_->log_bytes(), 0U);
  const auto on_disk = [&] {
    std::uint64_t bytes = 0;
    for (const std::string& name : Segments()) bytes += disk_.Read(name)->size();
    return bytes;
  };
  for (std::uint64_t index = 1; index <= 20; ++index) {
    Write(Entries({MakeEntry(1, index, std::string(50, 'x'))}));
    ASSERT_EQ(store_->log_bytes(), on_disk());
  }
  const std::uint64_t before = store_->log_bytes();
  Save(MakeMeta(1, 20));
  ASSERT_TRUE(store_->Forget(LogIndex(15)).ok());
  EXPECT_LT(store_->log_bytes(), before);
  EXPECT_EQ(store_->log_bytes(), on_disk());
  const std::uint64_t forgotten = store_->log_bytes();
  Open();
  EXPECT_EQ(store_->log_bytes(), forgotten);
}

TEST_F(RaftStoreTest, TheSnapshotIsReadInParts) {
  Open();
  Write(Entries({MakeEntry(1, 1), MakeEntry(1, 2)}));
  std::string bytes;
  for (int i = 0; i < 50'000; ++i) bytes += fmt::format("{},", i);
  const SnapshotMeta meta = MakeMeta(1, 2, bytes.size());
  Save(meta, bytes);
  EXPECT_EQ(store_->snapshot(), meta);
  Open();
  for (const std::uint64_t part : {std::uint64_t{1000}, SnapshotFile::kBlockBytes,
                                   std::uint64_t{100'001}, std::uint64_t{1} << 40U}) {
    std::string read;
    for (;;) {
      const auto got = store_->ReadSnapshot(meta.last, read.size(), part);
      ASSERT_TRUE(got.ok()) << got.status();
      if (got->empty()) break;
      EXPECT_LE(got->size(), part);
      read += *got;
    }
    EXPECT_EQ(read, bytes);
  }
  EXPECT_EQ(*store_->ReadSnapshot(meta.last, ~std::uint64_t{0}, ~std::uint64_t{0}), "");
  const auto other = store_->ReadSnapshot({Term(1), LogIndex(1)}, 0, 1);
  EXPECT_TRUE(absl::IsNotFound(other.status())) << other.status();
}

TEST_F(RaftStoreTest, OnlyTheNewestSnapshotIsKept) {
  Open();
  Write(Entries({MakeEntry(1, 1), MakeEntry(1, 2), MakeEntry(1, 3)}));
  Save(MakeMeta(1, 1, 3), "one");
  Save(MakeMeta(1, 3, 5), "three");
  EXPECT_TRUE(absl::IsNotFound(store_->ReadSnapshot({Term(1), LogIndex(1)}, 0, 3).status()));
  // An older one changes nothing.
  Save(MakeMeta(1, 2, 3), "two");
  EXPECT_EQ(store_->snapshot()->last.index, LogIndex(3));
  EXPECT_THAT(disk_.Names(),
              ElementsAre("raft/", "raft/log/", "raft/log/00000000000000000001.log",
                          "raft/snapshot-00000000000000000003-00000000000000000001"));
  const Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, MakeMeta(1, 3, 5));
  EXPECT_THAT(Behind(restored), IsEmpty());
  EXPECT_EQ(*store_->ReadSnapshot({Term(1), LogIndex(3)}, 0, 9), "three");
}

TEST_F(RaftStoreTest, ASnapshotIsWrittenBesideTheLog) {
  Open();
  Write(Entries({MakeEntry(1, 1), MakeEntry(1, 2)}));
  auto writer = store_->BeginSnapshot(MakeMeta(1, 2, 8));
  ASSERT_TRUE(writer.ok());
  std::thread other([&] {
    EXPECT_TRUE((*writer)->Append("snap").ok());
    EXPECT_TRUE((*writer)->Append("shot").ok());
  });
  other.join();
  Write(Entries({MakeEntry(1, 3)}));
  EXPECT_FALSE(store_->snapshot().has_value());
  ASSERT_TRUE((*writer)->Finish().ok());
  ASSERT_TRUE(store_->Adopt(std::move(*writer)).ok());
  const Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, MakeMeta(1, 2, 8));
  EXPECT_THAT(Lines(Behind(restored)), ElementsAre("1.3=data"));
  EXPECT_EQ(*store_->ReadSnapshot({Term(1), LogIndex(2)}, 0, 9), "snapshot");
}

TEST_F(RaftStoreTest, ASnapshotsSizeIsKnownWhenItIsFinished) {
  Open();
  std::uint64_t index = 0;
  for (const std::size_t size : {0U, 1U, 65'536U, 200'000U}) {
    ++index;
    Write(Entries({MakeEntry(1, index)}));
    auto writer = store_->BeginSnapshot(MakeMeta(1, index));
    ASSERT_TRUE(writer.ok());
    const std::string bytes(size, 'b');
    for (std::size_t at = 0; at < size; at += 50'000) {
      ASSERT_TRUE((*writer)->Append(std::string_view(bytes).substr(at, 50'000)).ok());
    }
    // Until then the file says nothing.
    EXPECT_FALSE(SnapshotFile::Open(disk_, "raft/own.part").ok());
    ASSERT_TRUE((*writer)->Finish().ok());
    EXPECT_EQ((*writer)->meta(), MakeMeta(1, index, size));
    ASSERT_TRUE(store_->Adopt(std::move(*writer)).ok());
    EXPECT_EQ(store_->snapshot(), MakeMeta(1, index, size));
    EXPECT_EQ(Reopen().snapshot, MakeMeta(1, index, size));
    EXPECT_EQ(*store_->ReadSnapshot({Term(1), LogIndex(index)}, 0, size + 1), bytes);
  }
}

TEST_F(RaftStoreTest, AnUnfinishedSnapshotIsDroppedByARestart) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  auto writer = store_->BeginSnapshot(MakeMeta(1, 1));
  ASSERT_TRUE((*writer)->Append("snap").ok());
  EXPECT_THAT(disk_.Names(), Contains("raft/own.part"));
  Open();
  EXPECT_THAT(disk_.Names(), Not(Contains("raft/own.part")));
  EXPECT_EQ(store_->recovery().removed_files, 1U);
}

TEST_F(RaftStoreTest, ForgottenEntriesGoBySegments) {
  options_.segment_bytes = 400;
  Open();
  Write(State(MakeHardState(1, 2)));
  for (std::uint64_t index = 1; index <= 30; ++index) {
    Write(Entries({MakeEntry(1, index, std::string(50, 'x'))}));
  }
  const std::size_t before = Segments().size();
  ASSERT_GT(before, 5U);
  Save(MakeMeta(1, 20));
  EXPECT_EQ(Segments().size(), before);
  ASSERT_TRUE(store_->Forget(LogIndex(10)).ok());
  const std::size_t kept = Segments().size();
  EXPECT_LT(kept, before);
  ASSERT_TRUE(store_->Forget(LogIndex(20)).ok());
  EXPECT_LT(Segments().size(), kept);
  Restored restored = Reopen();
  // The hard state stood in a segment that has gone.
  EXPECT_EQ(restored.hard_state, MakeHardState(1, 2));
  ASSERT_EQ(Behind(restored).size(), 10U);
  EXPECT_EQ(Behind(restored).front()->position.index, LogIndex(21));
  // All of them: the last segment stays, and knows where the log is.
  Save(MakeMeta(1, 30));
  ASSERT_TRUE(store_->Forget(LogIndex(30)).ok());
  EXPECT_EQ(Segments().size(), 1U);
  EXPECT_THAT(Behind(Reopen()), IsEmpty());
  Write(Entries({MakeEntry(2, 31)}));
  EXPECT_THAT(Lines(Behind(Reopen())), ElementsAre("2.31=data"));
}

TEST_F(RaftStoreTest, EntriesBeforeTheSnapshotStayWithTheirSegments) {
  options_.segment_bytes = 400;
  Open();
  for (std::uint64_t index = 1; index <= 20; ++index) {
    Write(Entries({MakeEntry(index <= 12 ? 1 : 2, index, std::string(50, 'x'))}));
  }
  Save(MakeMeta(2, 20));
  ASSERT_TRUE(store_->Forget(LogIndex(17)).ok());
  Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, MakeMeta(2, 20));
  ASSERT_TRUE(restored.base.has_value());
  EXPECT_EQ(restored.base->term, Term(2));
  EXPECT_GT(restored.base->index, LogIndex(12));
  EXPECT_LE(restored.base->index, LogIndex(17));
  ASSERT_FALSE(restored.entries.empty());
  EXPECT_EQ(restored.entries.front()->position.index, restored.base->index + 1);
  EXPECT_EQ(restored.entries.back()->position.index, LogIndex(20));
  // Where the first one found has replaced another, it is only known by its position.
  options_.segment_bytes = 1;
  Open();
  Write(Entries({MakeEntry(3, 21), MakeEntry(3, 22), MakeEntry(3, 23)}));
  Write(Entries({MakeEntry(4, 22)}));
  Write(Entries({MakeEntry(4, 23)}));
  Write(Entries({MakeEntry(4, 24)}));
  Save(MakeMeta(4, 24));
  ASSERT_TRUE(store_->Forget(LogIndex(23)).ok());
  restored = Reopen();
  EXPECT_EQ(restored.base, (LogPosition{Term(4), LogIndex(23)}));
  EXPECT_THAT(Lines(restored.entries), ElementsAre("4.24=data"));
}

TEST_F(RaftStoreTest, AfterARestartOneThatIsALittleBehindIsSentEntries) {
  Open();
  Save(MakeMeta(0, 0));
  Write(State(MakeHardState(1)));
  for (std::uint64_t index = 1; index <= 10; ++index) Write(Entries({MakeEntry(1, index)}));
  Save(MakeMeta(1, 10));
  ASSERT_TRUE(store_->Forget(LogIndex(5)).ok());
  Rng rng(1);
  NodeOptions options;
  Node leader(NodeId(1), options, Reopen(), rng);
  Restored behind;
  behind.hard_state = MakeHardState(1);
  behind.snapshot = MakeMeta(0, 0);
  for (std::uint64_t index = 1; index <= 9; ++index) behind.entries.push_back(MakeEntry(1, index));
  Node follower(NodeId(2), options, std::move(behind), rng);
  // The first one campaigns, for the clock of the second stands still.
  for (int ms = 0; ms < 2'000 && follower.last() != leader.last(); ++ms) {
    leader.Tick(1);
    bool said = true;
    while (said) {
      said = false;
      for (Node* from : {&leader, &follower}) {
        while (from->HasOutput()) {
          const Output output = from->TakeOutput();
          if (output.batch != 0) from->Persisted(output.batch);
          for (const Envelope& envelope : output.messages) {
            EXPECT_FALSE(std::holds_alternative<SnapshotPart>(envelope.message.body));
            Node& to = from == &leader ? follower : leader;
            if (envelope.to == to.id()) to.Step(from->id(), envelope.message);
            said = true;
          }
        }
      }
    }
  }
  EXPECT_EQ(leader.role(), Node::Role::kLeader);
  EXPECT_GT(leader.last().index, LogIndex(10));
  EXPECT_EQ(follower.last(), leader.last());
}

TEST_F(RaftStoreTest, ASegmentStaysWhileItsReplacedEntriesWouldBeNeeded) {
  options_.segment_bytes = 1;
  Open();
  Write(Entries({MakeEntry(1, 1), MakeEntry(1, 2), MakeEntry(1, 3)}));
  Write(Entries({MakeEntry(2, 2)}));
  Write(Entries({MakeEntry(2, 3)}));
  Write(Entries({MakeEntry(2, 4)}));
  Save(MakeMeta(2, 2));
  ASSERT_TRUE(store_->Forget(LogIndex(2)).ok());
  EXPECT_THAT(Lines(Behind(Reopen())), ElementsAre("2.3=data", "2.4=data"));
  Save(MakeMeta(2, 3));
  ASSERT_TRUE(store_->Forget(LogIndex(3)).ok());
  EXPECT_THAT(Segments(), ElementsAre("raft/log/00000000000000000009.log"));
  EXPECT_THAT(Lines(Behind(Reopen())), ElementsAre("2.4=data"));
}

TEST_F(RaftStoreTest, AnInstalledSnapshotReplacesTheLog) {
  options_.segment_bytes = 300;
  Open();
  Save(MakeMeta(0, 0));
  for (std::uint64_t index = 1; index <= 20; ++index) Write(Entries({MakeEntry(1, index)}));
  const SnapshotMeta meta = MakeMeta(5, 100, 10);
  Write(Part(meta, 0, "01234"));
  Output output = Part(meta, 5, "56789");
  output.hard_state = MakeHardState(5);
  output.install = meta;
  output.entries = {MakeEntry(5, 101)};
  Write(output);
  EXPECT_EQ(store_->snapshot(), meta);
  EXPECT_EQ(Segments().size(), 1U);
  Write(Entries({MakeEntry(5, 102)}));
  const Restored restored = Reopen();
  EXPECT_EQ(restored.hard_state, MakeHardState(5));
  EXPECT_EQ(restored.snapshot, meta);
  EXPECT_THAT(Lines(restored.entries), ElementsAre("5.101=data", "5.102=data"));
  EXPECT_EQ(*store_->ReadSnapshot(meta.last, 0, 100), "0123456789");
  EXPECT_EQ(store_->recovery().removed_files, 0U);
}

TEST_F(RaftStoreTest, AnInstalledSnapshotInTheMiddleOfTheLogDropsWhatConflicts) {
  Open();
  Write(Entries({MakeEntry(1, 1), MakeEntry(1, 2), MakeEntry(1, 3)}));
  const SnapshotMeta meta = MakeMeta(2, 2);
  Output output = Part(meta, 0, "");
  output.install = meta;
  Write(output);
  const Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, meta);
  EXPECT_THAT(restored.entries, IsEmpty());
}

TEST_F(RaftStoreTest, ReceptionBeginsAnewAtOffsetZero) {
  Open();
  const SnapshotMeta first = MakeMeta(5, 100, 10);
  const SnapshotMeta second = MakeMeta(6, 200, 3);
  Write(Part(first, 0, "01234"));
  Write(Part(second, 0, "ab"));
  Output output = Part(second, 2, "c");
  output.install = second;
  Write(output);
  Open();
  EXPECT_EQ(*store_->ReadSnapshot(second.last, 0, 100), "abc");
}

TEST_F(RaftStoreTest, AHalfReceivedSnapshotIsDroppedByARestart) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  const SnapshotMeta meta = MakeMeta(5, 100, 10);
  Write(Part(meta, 0, "01234"));
  EXPECT_THAT(disk_.Names(), Contains("raft/received.part"));
  EXPECT_THAT(Lines(Reopen().entries), ElementsAre("1.1=data"));
  EXPECT_THAT(disk_.Names(), Not(Contains("raft/received.part")));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Write(Part(meta, 5, "56789"))));
}

TEST_F(RaftStoreTest, PartsThatDoNotFitAreRefused) {
  const SnapshotMeta meta = MakeMeta(5, 100, 10);
  const SnapshotMeta other = MakeMeta(6, 100, 10);
  Output early = Part(meta, 5, "567");
  early.install = meta;
  Output different = Part(meta, 5, "56789");
  different.install = other;
  SnapshotMeta without_voters = meta;
  without_voters.configuration.voters.clear();
  const Output cases[] = {
      Part(meta, 6, "6789"),    // a gap
      Part(meta, 4, "456789"),  // again
      Part(other, 5, "56789"),  // of another
      Part(meta, 5, "567890"),  // too much
      early,                    // an install before the end
      different,                // or of something else
      Part(without_voters, 0, ""),
  };
  for (const Output& output : cases) {
    Open();
    Write(Part(meta, 0, "01234"));
    const absl::Status status = store_->Write(output);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    // The store is dead.
    EXPECT_EQ(store_->Write(Entries({MakeEntry(1, 1)})), status);
    EXPECT_TRUE(Reopen().entries.empty());
    EXPECT_FALSE(store_->snapshot().has_value());
  }
}

TEST_F(RaftStoreTest, ASnapshotOfAnUnknownPositionMakesTheLogBeginAfterIt) {
  Open();
  Save(MakeMeta(3, 50, 4), "copy");
  EXPECT_EQ(Reopen().snapshot, MakeMeta(3, 50, 4));
  Write(Entries({MakeEntry(4, 51)}));
  const Restored restored = Reopen();
  EXPECT_EQ(restored.snapshot, MakeMeta(3, 50, 4));
  EXPECT_THAT(Lines(restored.entries), ElementsAre("4.51=data"));
}

TEST_F(RaftStoreTest, DamageIsFoundAndNamed) {
  options_.segment_bytes = 300;
  Open();
  Save(MakeMeta(0, 0));
  for (std::uint64_t index = 1; index <= 40; ++index) Write(Entries({MakeEntry(1, index)}));
  Save(MakeMeta(1, 10, 5), "bytes");
  ASSERT_TRUE(store_->Forget(LogIndex(10)).ok());
  const std::vector<std::string> segments = Segments();
  ASSERT_GT(segments.size(), 3U);
  const std::string snapshot = "raft/snapshot-00000000000000000010-00000000000000000001";
  const auto flip = [](std::size_t at) {
    return [at](std::string* content) { content->at(at) = static_cast<char>(~content->at(at)); };
  };
  const auto remove_file = [](std::string* content) { *content = "gone"; };
  struct Case {
    std::string file;
    std::function<void(std::string*)> change;
    std::string message;
  };
  const std::vector<Case> cases = {
      {segments[0], flip(0), segments[0] + "\" at offset 0"},
      {segments[0], flip(15), segments[0] + "\" at offset 0"},
      {segments[0], flip(40), segments[0] + "\" at offset 32"},
      {segments[0], flip(100), segments[0] + "\" at offset 32"},
      {segments[0], [](std::string* content) { content->pop_back(); }, segments[0]},
      {segments[0], [](std::string* content) { content->clear(); }, segments[0]},
      {segments[1], remove_file, segments[1]},
      {segments.back(), flip(40), segments.back() + "\" at offset 32"},
      {snapshot, flip(0), snapshot + "\" at offset 0"},
      {snapshot, flip(30), snapshot + "\" at offset 0"},
      {snapshot, flip(60), snapshot + "\" at offset 0"},
      {snapshot, [](std::string* content) { content->pop_back(); }, snapshot},
      {snapshot, [](std::string* content) { content->push_back('x'); }, snapshot},
      {snapshot, [](std::string* content) { content->clear(); }, snapshot + "\" at offset 0"},
      {snapshot, [](std::string* content) { content->back() ^= 1; }, "checksums"},
  };
  for (const Case& damage : cases) {
    const std::string before = *disk_.Read(damage.file);
    Change(damage.file, damage.change);
    const std::vector<std::string> names = disk_.Names();
    const absl::Status status = TryOpen();
    EXPECT_TRUE(absl::IsDataLoss(status)) << damage.file << ": " << status;
    EXPECT_THAT(ds::Message(status), HasSubstr(damage.message));
    EXPECT_EQ(disk_.Names(), names);  // evidence is not removed
    Change(damage.file, [&](std::string* content) { *content = before; });
    ASSERT_TRUE(TryOpen().ok());
  }
  // A snapshot's bytes are looked at when they are read.
  Change(snapshot, [&](std::string* content) {
    content->at(content->size() - 4 - 4 - 1) = static_cast<char>(1);
  });
  Open();
  const auto read = store_->ReadSnapshot({Term(1), LogIndex(10)}, 0, 1);
  EXPECT_TRUE(absl::IsDataLoss(read.status())) << read.status();
  EXPECT_THAT(ds::Message(read.status()), HasSubstr(snapshot));
}

TEST_F(RaftStoreTest, AMissingFileIsFound) {
  options_.segment_bytes = 300;
  Open();
  for (std::uint64_t index = 1; index <= 20; ++index) Write(Entries({MakeEntry(1, index)}));
  Save(MakeMeta(1, 10, 5), "bytes");
  const std::string snapshot = "raft/snapshot-00000000000000000010-00000000000000000001";
  const std::vector<std::string> segments = Segments();
  for (const std::string& missing : {segments[1], segments[2]}) {
    ASSERT_TRUE(disk_.Rename(missing, "kept", fs::Disk::Target::kKeep).ok());
    const absl::Status status = TryOpen();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    ASSERT_TRUE(disk_.Rename("kept", missing, fs::Disk::Target::kKeep).ok());
  }
  Open();
  ASSERT_TRUE(store_->Forget(LogIndex(10)).ok());
  ASSERT_TRUE(disk_.Remove(snapshot).ok());
  const absl::Status status = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(ds::Message(status), HasSubstr("there is no snapshot"));
}

TEST_F(RaftStoreTest, AnErrorIsFinal) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  for (const char* operation : {"write", "sync"}) {
    disk_.fault = [&](const std::string& asked, const std::string&) {
      return asked == operation ? Error(absl::StatusCode::kUnknown, "bad sector")
                                : absl::OkStatus();
    };
    const absl::Status status = store_->Write(Entries({MakeEntry(1, 2)}));
    EXPECT_EQ(ds::Message(status), "bad sector");
    disk_.fault = nullptr;
    EXPECT_EQ(store_->Write(Entries({MakeEntry(1, 2)})), status);
    EXPECT_EQ(store_->SaveSnapshot(MakeMeta(1, 1), ""), status);
    EXPECT_EQ(store_->Forget(LogIndex(0)), status);
    Open();
  }
}

TEST_F(RaftStoreTest, OtherFilesAreLeftAlone) {
  Open();
  Write(Entries({MakeEntry(1, 1)}));
  for (const char* name : {"raft/LOCK", "raft/snapshot-1-1", "raft/log/1.log", "raft/log/x"}) {
    ASSERT_TRUE(disk_.OpenFile(name, fs::Disk::Open::kEmpty).ok());
  }
  ASSERT_TRUE(
      disk_.MakeFolder("raft/snapshot-00000000000000000001-00000000000000000001", 0777).ok());
  const auto names = disk_.Names();
  EXPECT_THAT(Lines(Reopen().entries), ElementsAre("1.1=data"));
  EXPECT_EQ(disk_.Names(), names);
}

TEST_F(RaftStoreTest, TwoRunsWriteTheSameBytes) {
  const auto run = [&] {
    SimDisk disk;
    auto store = RaftStore::Open(disk, "", options_);
    EXPECT_TRUE((*store)->SaveSnapshot(MakeMeta(0, 0), "").ok());
    EXPECT_TRUE((*store)->Write(Entries({MakeEntry(1, 1)})).ok());
    std::vector<std::string> all = disk.Names();
    for (const std::string& name : disk.Names()) all.push_back(disk.Read(name).value_or(""));
    return all;
  };
  EXPECT_EQ(run(), run());
}

TEST(RaftStoreOnARealDiskTest, KeepsWhatItWasGiven) {
  const testing::TempDir folder;
  auto disk = fs::RootedDisk::Open(folder.path());
  ASSERT_TRUE(disk.ok()) << disk.status();
  RaftStore::Options options;
  options.segment_bytes = 100'000;
  std::string bytes(1'000'000, 's');
  {
    auto store = RaftStore::Open(**disk, "", options);
    ASSERT_TRUE(store.ok()) << store.status();
    for (std::uint64_t index = 1; index <= 20; ++index) {
      ASSERT_TRUE((*store)->Write(Entries({MakeEntry(1, index, std::string(30'000, 'e'))})).ok());
    }
    ASSERT_TRUE((*store)->SaveSnapshot(MakeMeta(1, 15, bytes.size()), bytes).ok());
    ASSERT_TRUE((*store)->Forget(LogIndex(15)).ok());
  }
  auto store = RaftStore::Open(**disk, "", options);
  ASSERT_TRUE(store.ok()) << store.status();
  const Restored restored = (*store)->TakeRestored();
  EXPECT_EQ(Behind(restored).size(), 5U);
  EXPECT_EQ(*(*store)->ReadSnapshot({Term(1), LogIndex(15)}, 0, bytes.size()), bytes);
}

/// Run by the test below, where DS_SMALL_FOLDER is a file system of 2 MiB.
TEST(RaftStoreOnARealDiskTest, DISABLED_OnAFullFileSystem) {
  const char* const folder = std::getenv("DS_SMALL_FOLDER");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(folder, nullptr);
  auto disk = fs::RootedDisk::Open(folder);
  ASSERT_TRUE(disk.ok()) << disk.status();
  RaftStore::Options options;
  options.segment_bytes = 300'000;
  auto store = RaftStore::Open(**disk, "", options);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->Write(State(MakeHardState(7, 2))).ok());
  std::uint64_t written = 0;
  absl::Status status;
  while (status.ok()) {
    status = (*store)->Write(Entries({MakeEntry(7, written + 1, std::string(50'000, 'e'))}));
    if (status.ok()) ++written;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(ds::Message(status), HasSubstr("No space left on device"));
  EXPECT_GT(written, 20U);
  // A new start finds what was durable, and with a snapshot there is room again.
  for (int i = 0; i < 2; ++i) {
    store = RaftStore::Open(**disk, "", options);
    ASSERT_TRUE(store.ok()) << store.status();
    const Restored restored = (*store)->TakeRestored();
    EXPECT_EQ(restored.hard_state, MakeHardState(7, 2));
    EXPECT_EQ(restored.entries.size(), written);
  }
  // One that does not fit is no harm to the one before.
  const std::string large(3'000'000, 's');
  EXPECT_TRUE(
      absl::IsResourceExhausted((*store)->SaveSnapshot(MakeMeta(7, written, large.size()), large)));
  store = RaftStore::Open(**disk, "", options);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->SaveSnapshot(MakeMeta(7, written, 5), "small").ok());
  ASSERT_TRUE((*store)->Forget(LogIndex(written)).ok());
  ASSERT_TRUE(
      (*store)->Write(Entries({MakeEntry(7, written + 1, std::string(200'000, 'e'))})).ok());
}

TEST(RaftStoreOnARealDiskTest, AFullFileSystemLosesNothing) {
  const testing::TempDir folder;
  const std::string script =
      "mount -t tmpfs -o size=2m tmpfs \"$2\" || exit 99\n"
      "DS_SMALL_FOLDER=\"$2\" exec \"$1\" --gtest_also_run_disabled_tests "
      "--gtest_filter='*DISABLED_OnAFullFileSystem'";
  const auto result = ::ds::testing::RunTool(
      "unshare", {"-Urm", "sh", "-c", script, "sh",
                  std::filesystem::read_symlink("/proc/self/exe").string(), folder.path()});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("[  PASSED  ] 1 test"));
}

}  // namespace
}  // namespace ds::raft
