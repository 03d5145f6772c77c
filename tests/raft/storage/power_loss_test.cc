#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "raft/storage/raft_store.h"
#include "tests/sim/sim_disk.h"

namespace ds::raft {
namespace {

using ::ds::sim::SimDisk;
using Survival = SimDisk::Survival;
using Step = std::function<absl::Status(RaftStore*)>;

constexpr std::size_t kSegmentHeaderBytes = 32;
constexpr Survival kSurvivals[] = {Survival::kSynced, Survival::kNames, Survival::kRandom,
                                   Survival::kTorn};

EntryPtr MakeEntry(std::uint64_t term, std::uint64_t index, std::size_t bytes) {
  const std::string data(bytes, static_cast<char>('a' + (term + index) % 26));
  return std::make_shared<const Entry>(
      Entry{{Term(term), LogIndex(index)}, Entry::Kind::kCommand, data});
}

SnapshotMeta MakeMeta(std::uint64_t term, std::uint64_t index, std::uint64_t bytes) {
  SnapshotMeta meta;
  meta.last = {Term(term), LogIndex(index)};
  meta.configuration.voters = {NodeId(1)};
  meta.configuration.contexts[NodeId(1)] = "here";
  meta.bytes = bytes;
  return meta;
}

std::string SnapshotBytes(std::uint64_t index, std::uint64_t bytes) {
  return std::string(bytes, static_cast<char>('A' + index % 26));
}

Step Write(Output output) {
  return [output = std::move(output)](RaftStore* store) { return store->Write(output); };
}
/// With one sync.
Step Group(std::vector<Output> outputs) {
  return [outputs = std::move(outputs)](RaftStore* store) {
    std::vector<const Output*> gathered;
    for (const Output& output : outputs) gathered.push_back(&output);
    return store->Write(gathered);
  };
}
Output EntriesOutput(std::uint64_t term, std::uint64_t first, std::uint64_t last,
                     std::size_t bytes = 40) {
  Output output;
  output.batch = 1;
  output.hard_state = HardState{Term(term), NodeId(term % 3)};
  for (std::uint64_t index = first; index <= last; ++index) {
    output.entries.push_back(MakeEntry(term, index, bytes));
  }
  return output;
}
Step Entries(std::uint64_t term, std::uint64_t first, std::uint64_t last, std::size_t bytes = 40) {
  return Write(EntriesOutput(term, first, last, bytes));
}
Step Save(std::uint64_t term, std::uint64_t index, std::uint64_t bytes) {
  return [=](RaftStore* store) {
    return store->SaveSnapshot(MakeMeta(term, index, bytes), SnapshotBytes(index, bytes));
  };
}
/// One whose size nobody knew before.
Step SaveInSteps(std::uint64_t term, std::uint64_t index, std::uint64_t bytes) {
  return [=](RaftStore* store) -> absl::Status {
    ASSIGN_OR_RETURN(auto writer, store->BeginSnapshot(MakeMeta(term, index, 0)));
    const std::string all = SnapshotBytes(index, bytes);
    for (std::size_t at = 0; at < all.size(); at += 30'000) {
      RETURN_IF_ERROR(writer->Append(std::string_view(all).substr(at, 30'000)));
    }
    RETURN_IF_ERROR(writer->Finish());
    return store->Adopt(std::move(writer));
  };
}
Step Forget(std::uint64_t index) {
  return [=](RaftStore* store) { return store->Forget(LogIndex(index)); };
}
Output PartOutput(const SnapshotMeta& meta, std::uint64_t offset, std::uint64_t bytes,
                  std::uint64_t entries_behind = 0) {
  Output output;
  output.batch = 1;
  output.snapshot_part =
      Output::ReceivedPart{meta, offset, SnapshotBytes(meta.last.index.value(), bytes)};
  if (offset + bytes == meta.bytes) {
    output.hard_state = HardState{meta.last.term + 1, std::nullopt};
    output.install = meta;
    for (std::uint64_t i = 1; i <= entries_behind; ++i) {
      output.entries.push_back(MakeEntry(meta.last.term.value(), meta.last.index.value() + i, 100));
    }
  }
  return output;
}
Step Part(const SnapshotMeta& meta, std::uint64_t offset, std::uint64_t bytes,
          std::uint64_t entries_behind = 0) {
  return Write(PartOutput(meta, offset, bytes, entries_behind));
}

/// All that a member does with its store.
std::vector<Step> Script() {
  const SnapshotMeta first = MakeMeta(5, 40, 9'000);
  const SnapshotMeta second = MakeMeta(6, 43, 70'000);
  const SnapshotMeta third = MakeMeta(8, 90, 3'000);
  const SnapshotMeta fourth = MakeMeta(9, 95, 500);
  return {
      Save(0, 0, 0),
      Entries(1, 1, 1),
      Entries(1, 2, 4, 3'000),  // several pages in one group
      Entries(2, 3, 5),         // replaces
      Save(2, 4, 5'000),
      Entries(2, 6, 6),
      Entries(2, 7, 7, 2'000),
      Entries(3, 5, 9, 500),
      Entries(3, 10, 10),
      Save(3, 9, 66'000),
      Forget(9),
      Entries(3, 11, 11),
      Entries(4, 12, 20, 700),
      Part(first, 0, 4'000),
      Entries(4, 21, 21),
      Part(first, 4'000, 5'000, 2),
      Entries(5, 43, 43),
      Entries(5, 44, 44),
      Part(second, 0, 70'000),  // conflicts with 43 and drops 44
      Entries(6, 44, 45),
      Entries(6, 46, 60, 300),
      Save(6, 50, 10),
      Forget(48),
      // Outputs that have gathered: all of them or none.
      Group({EntriesOutput(6, 61, 62), EntriesOutput(6, 63, 64, 1'500), EntriesOutput(6, 65, 65)}),
      Group({EntriesOutput(6, 66, 70), EntriesOutput(7, 64, 66), EntriesOutput(7, 67, 67)}),
      Group({EntriesOutput(7, 68, 70, 600), PartOutput(third, 0, 2'000)}),
      Group({EntriesOutput(7, 71, 71), PartOutput(third, 2'000, 1'000, 2),
             EntriesOutput(8, 92, 94)}),  // an install in the middle of a group
      Group({EntriesOutput(8, 95, 99, 900), PartOutput(fourth, 0, 200)}),
      Group({PartOutput(fourth, 200, 300), EntriesOutput(9, 96, 97)}),
      // Two installs, the first of them soon of no use.
      Group({PartOutput(MakeMeta(10, 120, 50), 0, 50, 1), EntriesOutput(10, 122, 130),
             PartOutput(MakeMeta(11, 140, 60), 0, 60), EntriesOutput(11, 141, 142)}),
      Entries(11, 143, 145, 900),
      SaveInSteps(11, 144, 70'000),
      Forget(144),
  };
}

/// Everything that a store says to who opens it.
absl::StatusOr<std::string> Look(RaftStore* store) {
  const Restored restored = store->TakeRestored();
  std::string seen =
      fmt::format("term {} vote {} snapshot {}.{}:", restored.hard_state.term,
                  restored.hard_state.vote ? fmt::format("{}", *restored.hard_state.vote) : "none",
                  restored.snapshot.last.term, restored.snapshot.last.index);
  if (const auto meta = store->snapshot()) {
    if (*meta != restored.snapshot) return InvalidArgument("two snapshots");
    ASSIGN_OR_RETURN(const std::string bytes, store->ReadSnapshot(meta->last, 0, meta->bytes));
    if (bytes != SnapshotBytes(meta->last.index.value(), meta->bytes)) {
      return InvalidArgument("the snapshot's bytes are others");
    }
    seen += fmt::format("{} bytes", bytes.size());
  }
  const LogPosition base = restored.base.value_or(restored.snapshot.last);
  if (base.index > restored.snapshot.last.index) return InvalidArgument("a gap before the entries");
  LogIndex last = base.index;
  Term term = base.term;
  for (const EntryPtr& entry : restored.entries) {
    if (entry->position.index != last + 1) return InvalidArgument("a gap between entries");
    last = entry->position.index;
    const EntryPtr expected =
        MakeEntry(entry->position.term.value(), last.value(), entry->data.size());
    if (*entry != *expected) return InvalidArgument("an entry's bytes are others");
    if (entry->position.term < term) return InvalidArgument("terms that fall");
    term = entry->position.term;
    // How many of those before the snapshot are left is not promised.
    if (last < restored.snapshot.last.index) continue;
    if (last == restored.snapshot.last.index) {
      if (entry->position != restored.snapshot.last) return InvalidArgument("not the snapshot's");
      continue;
    }
    seen += fmt::format(" {}.{}({})", entry->position.term, last, entry->data.size());
  }
  if (last < restored.snapshot.last.index)
    return InvalidArgument("entries end before the snapshot");
  return seen;
}

/// Plays the script on a disk, with one thing that goes wrong.
class Play {
 public:
  explicit Play(const std::function<bool(const Play&, const std::string& sync)>& forgotten) {
    options_.segment_bytes = 2'000;
    options_.salt = 99;
    disk_.fault = [this](const std::string& operation, const std::string& name) {
      if (killed_after_ && (operation == "open" || operation == "read" || operation == "list")) {
        return *killed_after_ == 0 ? Unavailable("killed") : absl::OkStatus();
      }
      if (killed_after_) {
        if (*killed_after_ == 0) return Unavailable("killed");
        if (--*killed_after_ == 0) return Unavailable("killed");
      }
      if (operation != "sync" && operation != "sync folder") last_change_ = operation;
      static_cast<void>(name);
      return absl::OkStatus();
    };
    if (forgotten) {
      disk_.forgotten_sync = [this, forgotten](const std::string& sync) {
        return forgotten(*this, sync);
      };
    }
  }

  SimDisk& disk() { return disk_; }
  /// The process is killed at its n-th operation that changes something; the disk goes on.
  void KillAfter(std::uint64_t n) { killed_after_ = n; }

  /// Runs the script to its end or to the first error. False: an error.
  bool Run() {
    store_.reset();
    opening_ = true;
    auto store = RaftStore::Open(disk_, "raft", options_);
    opening_ = false;
    if (!store.ok()) return false;
    store_ = std::move(*store);
    for (const Step& step : script_) {
      if (!step(store_.get()).ok()) return false;
      ++done_;
    }
    return true;
  }
  /// A new process. An error: what is found is not what must be.
  absl::StatusOr<std::string> Open() {
    killed_after_.reset();
    store_.reset();
    opening_ = true;
    auto store = RaftStore::Open(disk_, "raft", options_);
    opening_ = false;
    RETURN_IF_ERROR(store.status());
    store_ = std::move(*store);
    return Look(store_.get());
  }
  absl::Status More() {
    Output output;
    output.hard_state = HardState{Term(77), NodeId(7)};
    return store_->Write(output);
  }
  /// Steps that were acknowledged.
  std::size_t done() const { return done_; }

  // For who forgets syncs.
  bool opening() const { return opening_; }
  const std::string& last_change() const { return last_change_; }
  bool HasSnapshot() const {
    const std::vector<std::string> names = disk_.Names();
    return std::any_of(names.begin(), names.end(),
                       [](const std::string& name) { return name.starts_with("raft/snapshot-"); });
  }
  std::size_t SizeOf(const std::string& name) const { return disk_.Read(name)->size(); }

 private:
  const std::vector<Step> script_ = Script();
  RaftStore::Options options_;
  SimDisk disk_;
  std::unique_ptr<RaftStore> store_;
  std::optional<std::uint64_t> killed_after_;
  bool opening_ = false;
  std::string last_change_;
  std::size_t done_ = 0;
};

using Forgotten = std::function<bool(const Play&, const std::string& sync)>;

/// What the store says after each number of steps.
const std::vector<std::string>& Expected() {
  static const std::vector<std::string> expected = [] {
    std::vector<std::string> seen;
    for (std::size_t steps = 0; steps <= Script().size(); ++steps) {
      SimDisk disk;
      RaftStore::Options options;
      options.segment_bytes = 2'000;
      auto store = RaftStore::Open(disk, "raft", options);
      for (std::size_t i = 0; i < steps; ++i) {
        const absl::Status status = Script()[i](store->get());
        EXPECT_TRUE(status.ok()) << status;
      }
      store = RaftStore::Open(disk, "raft", options);
      const auto look = Look(store->get());
      EXPECT_TRUE(look.ok()) << look.status();
      seen.push_back(look.value_or(""));
    }
    return seen;
  }();
  return expected;
}

/// All that was acknowledged, and of the step under way all or nothing. Empty: right.
std::string Judge(const absl::StatusOr<std::string>& seen, std::size_t done) {
  if (!seen.ok()) return fmt::format("{}", ds::Message(seen.status()));
  const auto& expected = Expected();
  if (*seen == expected[done]) return "";
  if (done + 1 < expected.size() && *seen == expected[done + 1]) return "";
  return fmt::format("after {} steps:\n  found    {}\n  expected {}", done, *seen, expected[done]);
}

std::string At(const char* what, std::uint64_t n, Survival survival, std::uint64_t seed,
               const std::string& why) {
  return why.empty() ? why
                     : fmt::format("{} at operation {}, survival {}, seed {}: {}", what, n,
                                   static_cast<int>(survival), seed, why);
}

/// The power fails at operation n, and again at operation m of what follows.
std::string LosePower(const Forgotten& forgotten, std::uint64_t n, Survival survival,
                      std::uint64_t seed, bool* ended) {
  Rng rng(seed);
  Play play(forgotten);
  play.disk().FailPowerAfter(n);
  *ended = play.Run();
  play.disk().PowerOn(survival, rng);
  if (seed % 2 == 1) {
    play.disk().FailPowerAfter(1 + rng.Below(8));
    static_cast<void>(play.Open());
    play.disk().PowerOn(survival, rng);
  }
  const auto seen = play.Open();
  if (std::string wrong = Judge(seen, play.done()); !wrong.empty()) return wrong;
  // What is found stays, and can be added to.
  play.disk().PowerOn(survival, rng);
  const auto again = play.Open();
  if (!again.ok() || *again != *seen) return "a second loss of power changes what is found";
  if (!play.More().ok()) return "cannot go on";
  play.disk().PowerOn(survival, rng);
  const auto more = play.Open();
  if (!more.ok()) return ds::Message(more.status());
  const std::size_t snapshot = seen->find(" snapshot");
  return *more == "term 77 vote 7" + seen->substr(snapshot) ? "" : "what was added is not there";
}

/// The process dies at operation n, by a signal or by an fsync that failed, another one starts, and
/// then the power fails.
std::string DieThenLosePower(const Forgotten& forgotten, std::uint64_t n, bool sync_fails,
                             Survival survival, std::uint64_t seed, bool* ended) {
  Rng rng(seed);
  Play play(forgotten);
  if (sync_fails) {
    play.disk().FailSync(n);
  } else {
    play.KillAfter(n);
  }
  *ended = play.Run();
  if (sync_fails) {
    play.disk().FailSync(seed < 2 ? 0 : 1 + rng.Below(5));
    if (seed >= 2) static_cast<void>(play.Open());
    play.disk().FailSync(0);
  }
  const auto seen = play.Open();
  if (std::string wrong = Judge(seen, play.done()); !wrong.empty()) return wrong;
  const bool more = seed % 2 == 1;
  if (more && !play.More().ok()) return "cannot go on";
  play.disk().PowerOn(survival, rng);
  const auto again = play.Open();
  if (!again.ok()) return ds::Message(again.status());
  const std::string expected =
      more ? "term 77 vote 7" + seen->substr(seen->find(" snapshot")) : *seen;
  return *again == expected ? ""
                            : fmt::format(
                                  "power was lost after a restart:\n  found    {}\n"
                                  "  expected {}",
                                  *again, expected);
}

/// The first thing that goes wrong; empty: nothing does.
std::string Campaign(const Forgotten& forgotten, std::uint64_t seeds) {
  bool ended = false;
  for (std::uint64_t n = 1; !ended; ++n) {
    for (const Survival survival : kSurvivals) {
      for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        std::string wrong =
            At("power fails", n, survival, seed, LosePower(forgotten, n, survival, seed, &ended));
        if (!wrong.empty()) return wrong;
      }
    }
    if (n > 1000) return "the script does not end";
  }
  for (const bool sync_fails : {false, true}) {
    ended = false;
    for (std::uint64_t n = 1; !ended; ++n) {
      for (const Survival survival : kSurvivals) {
        for (std::uint64_t seed = 0; seed < std::min<std::uint64_t>(seeds, 4); ++seed) {
          std::string wrong =
              At(sync_fails ? "fsync fails" : "killed", n, survival, seed,
                 DieThenLosePower(forgotten, n, sync_fails, survival, seed, &ended));
          if (!wrong.empty()) return wrong;
        }
      }
      if (n > 1000) return "the script does not end";
    }
  }
  return "";
}

TEST(PowerLossTest, WhatWasAcknowledgedIsFoundAgainAndNothingHalf) {
  EXPECT_EQ(Campaign(nullptr, 10), "");
}

struct Kind {
  const char* name;
  Forgotten forgotten;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

bool IsSegment(const std::string& sync) { return sync.starts_with("file content raft/log/"); }
bool IsHeader(const Play& play, const std::string& sync) {
  return play.SizeOf(sync.substr(std::string("file content ").size())) == kSegmentHeaderBytes;
}

const Kind kKinds[] = {
    {"OfAGroup",
     [](const Play& play, const std::string& sync) {
       return IsSegment(sync) && !play.opening() && !IsHeader(play, sync);
     }},
    {"OfASegmentHeader",
     [](const Play& play, const std::string& sync) {
       return IsSegment(sync) && !play.opening() && IsHeader(play, sync);
     }},
    {"OfTheLogWhenItIsOpened",
     [](const Play& play, const std::string& sync) { return IsSegment(sync) && play.opening(); }},
    {"OfANewSegmentsName",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft/log" && !play.opening() && play.last_change() != "remove";
     }},
    {"OfARemovedSegmentsName",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft/log" && !play.opening() && play.last_change() == "remove";
     }},
    {"OfTheLogsNamesWhenItIsOpened",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft/log" && play.opening();
     }},
    {"OfTheStoresFolder", [](const Play&, const std::string& sync) { return sync == "folder "; }},
    {"OfTheLogsFolder",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft" && play.opening() && !play.HasSnapshot();
     }},
    {"OfASnapshotsNameWhenItIsOpened",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft" && play.opening() && play.HasSnapshot();
     }},
    {"OfASnapshot", [](const Play&, const std::string& sync) { return sync.ends_with(".part"); }},
    {"OfASnapshotsName",
     [](const Play& play, const std::string& sync) {
       return sync == "folder raft" && !play.opening();
     }},
};

class ForgottenSyncTest : public ::testing::TestWithParam<Kind> {};

TEST_P(ForgottenSyncTest, IsFound) {
  const std::string wrong = Campaign(GetParam().forgotten, 10);
  EXPECT_NE(wrong, "");
}

INSTANTIATE_TEST_SUITE_P(Each, ForgottenSyncTest, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(PowerLossTest, EverySyncIsOneOfTheKinds) {
  const auto no_kind = [](const Play& play, const std::string& sync) {
    int kinds = 0;
    for (const Kind& kind : kKinds) kinds += kind.forgotten(play, sync) ? 1 : 0;
    EXPECT_EQ(kinds, 1) << sync;
    return false;
  };
  Play play(no_kind);
  EXPECT_TRUE(play.Run());
  EXPECT_TRUE(play.Open().ok());
}

TEST(FullDiskTest, AnywhereItLosesNothing) {
  // Each write fails in its turn, after a part of it.
  bool ended = false;
  std::uint64_t failures = 0;
  for (std::uint64_t capacity = 0; !ended; capacity += 97) {
    Play play(nullptr);
    play.disk().capacity_bytes = capacity;
    ended = play.Run();
    failures += ended ? 0U : 1U;
    // A new process finds it also while the disk is full.
    const auto full = play.Open();
    ASSERT_EQ(Judge(full, play.done()), "") << capacity;
    play.disk().capacity_bytes = 1U << 30U;
    const auto seen = play.Open();
    ASSERT_EQ(Judge(seen, play.done()), "") << capacity;
    ASSERT_EQ(*seen, *full);
    ASSERT_TRUE(play.More().ok());
    ASSERT_TRUE(play.Open().ok());
  }
  EXPECT_GT(failures, 500U);
}

}  // namespace
}  // namespace ds::raft
