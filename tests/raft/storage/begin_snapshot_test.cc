// A snapshot of the member's own, written beside the log in two steps, while another is installed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "raft/storage/raft_store.h"
#include "tests/sim/sim_disk.h"

namespace ds::raft {
namespace {

using ::ds::sim::SimDisk;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Not;

constexpr std::uint64_t kBytes = 70'000;

SnapshotMeta MetaOf(std::uint64_t term, std::uint64_t index) {
  SnapshotMeta meta;
  meta.last = {Term(term), LogIndex(index)};
  meta.configuration.voters = {NodeId(1)};
  meta.configuration.contexts[NodeId(1)] = "here";
  meta.bytes = index == 0 ? 0 : kBytes;
  return meta;
}

std::string BytesOf(std::uint64_t index) {
  return std::string(kBytes, static_cast<char>('A' + index));
}

/// A disk and the process on it.
struct Machine {
  SimDisk disk;
  std::unique_ptr<RaftStore> store;
  std::unique_ptr<SnapshotWriter> writer;

  absl::Status Open() {
    writer.reset();
    store.reset();
    RaftStore::Options options;
    options.segment_bytes = 500;
    options.salt = 99;
    ASSIGN_OR_RETURN(store, RaftStore::Open(disk, "raft", options));
    return absl::OkStatus();
  }
};
using Step = std::function<absl::Status(Machine&)>;

void AddEntries(std::uint64_t term, std::uint64_t first, std::uint64_t last, Output* output) {
  for (std::uint64_t index = first; index <= last; ++index) {
    output->entries.push_back(std::make_shared<const Entry>(
        Entry{{Term(term), LogIndex(index)}, Entry::Kind::kCommand, std::string(200, 'x')}));
  }
}

Step Entries(std::uint64_t term, std::uint64_t first, std::uint64_t last) {
  return [=](Machine& machine) {
    Output output;
    output.hard_state = HardState{Term(term), NodeId(1)};
    AddEntries(term, first, last, &output);
    return machine.store->Write(output);
  };
}

Step Begin(std::uint64_t term, std::uint64_t index) {
  return [=](Machine& machine) -> absl::Status {
    ASSIGN_OR_RETURN(machine.writer, machine.store->BeginSnapshot(MetaOf(term, index)));
    return machine.writer->Append(BytesOf(index).substr(0, kBytes / 2));
  };
}

absl::Status Finish(Machine& machine) {
  const std::uint64_t index = machine.writer->meta().last.index.value();
  RETURN_IF_ERROR(machine.writer->Append(BytesOf(index).substr(kBytes / 2)));
  return machine.writer->Finish();
}

absl::Status Adopt(Machine& machine) { return machine.store->Adopt(std::move(machine.writer)); }

Step Install(std::uint64_t term, std::uint64_t index, std::uint64_t last) {
  return [=](Machine& machine) {
    Output output;
    output.snapshot_part = Output::ReceivedPart{MetaOf(term, index), 0, BytesOf(index)};
    output.install = MetaOf(term, index);
    AddEntries(term, index + 1, last, &output);
    return machine.store->Write(output);
  };
}

const std::vector<Step>& Script() {
  static const std::vector<Step> script = {
      [](Machine& machine) { return machine.store->SaveSnapshot(MetaOf(0, 0), ""); },
      Entries(1, 1, 4),
      Begin(1, 3),
      Install(2, 9, 11),
      Finish,
      Adopt,  // is older by now
      Entries(2, 12, 12),
      Begin(2, 11),
      Entries(2, 13, 13),
      Finish,
      Adopt,
      [](Machine& machine) { return machine.store->Forget(LogIndex(11)); },
  };
  return script;
}

/// What a new process finds; no file of a snapshot that is not whole.
absl::StatusOr<std::string> Look(Machine& machine) {
  RETURN_IF_ERROR(machine.Open());
  EXPECT_THAT(machine.disk.Names(), Not(Contains(AnyOf("raft/own.part", "raft/received.part"))));
  const Restored restored = machine.store->TakeRestored();
  std::string seen =
      fmt::format("term {} snapshot {}:", restored.hard_state.term, restored.snapshot.last.index);
  if (restored.snapshot.bytes > 0) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     machine.store->ReadSnapshot(restored.snapshot.last, 0, kBytes));
    if (bytes != BytesOf(restored.snapshot.last.index.value())) seen += " other bytes";
  }
  for (const EntryPtr& entry : restored.entries) {
    seen += fmt::format(" {}.{}", entry->position.term, entry->position.index);
  }
  return seen;
}

/// Steps that were done until the first error.
std::size_t RunScript(Machine& machine, std::size_t steps) {
  if (!machine.Open().ok()) return 0;
  for (std::size_t done = 0; done < steps; ++done) {
    if (!Script()[done](machine).ok()) return done;
  }
  return steps;
}

std::vector<std::string> Expected() {
  std::vector<std::string> expected;
  for (std::size_t steps = 0; steps <= Script().size(); ++steps) {
    Machine machine;
    EXPECT_EQ(RunScript(machine, steps), steps);
    const auto seen = Look(machine);
    EXPECT_TRUE(seen.ok()) << seen.status();
    expected.push_back(seen.value_or(""));
  }
  return expected;
}

TEST(BeginSnapshotTest, OneThatAnInstallOvertookIsDroppedWhenItIsAdopted) {
  Machine machine;
  ASSERT_EQ(RunScript(machine, 5), 5U);
  ASSERT_THAT(machine.disk.Names(), Contains("raft/own.part"));
  ASSERT_TRUE(Adopt(machine).ok());
  EXPECT_THAT(machine.disk.Names(), Not(Contains("raft/own.part")));
  EXPECT_EQ(machine.store->snapshot(), MetaOf(2, 9));
  EXPECT_EQ(*machine.store->ReadSnapshot(MetaOf(2, 9).last, 0, kBytes), BytesOf(9));
  EXPECT_EQ(*Look(machine), "term 1 snapshot 9: 2.10 2.11");
}

TEST(BeginSnapshotTest, ALossOfPowerAnywhereLeavesWhatWasAcknowledged) {
  const std::vector<std::string> expected = Expected();
  EXPECT_EQ(expected.back(), "term 2 snapshot 11: 2.12 2.13");
  std::size_t done = 0;
  for (std::uint64_t n = 1; done < Script().size(); ++n) {
    ASSERT_LT(n, 1000U) << "the script does not end";
    for (const auto survival : {SimDisk::Survival::kSynced, SimDisk::Survival::kNames,
                                SimDisk::Survival::kRandom, SimDisk::Survival::kTorn}) {
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        Rng rng(seed);
        Machine machine;
        machine.disk.FailPowerAfter(n);
        done = RunScript(machine, Script().size());
        machine.writer.reset();
        machine.store.reset();
        machine.disk.PowerOn(survival, rng);
        const auto seen = Look(machine);
        ASSERT_TRUE(seen.ok()) << "operation " << n << ": " << seen.status();
        ASSERT_THAT(*seen, AnyOf(expected[done], expected[std::min(done + 1, Script().size())]))
            << "operation " << n << ", survival " << static_cast<int>(survival) << ", seed "
            << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ds::raft
