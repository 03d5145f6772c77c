#include "udp_transfer/server/partial_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/fs/rooted_disk.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"
#include "tests/sim/sim_disk.h"
#include "tests/udp_transfer/hex.h"
#include "udp_transfer/seal/file_digest.h"
#include "udp_transfer/server/partial_state.h"

namespace ds::udp_transfer {
namespace {

using ::ds::sim::SimDisk;
using ::ds::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using File = std::unique_ptr<PartialStore::File>;
using std::chrono::seconds;

constexpr std::uint64_t kMiB = 1U << 20U;
constexpr std::int64_t kNow = 1'000'000;
const TimePoint kStart = TimePoint(std::chrono::hours(1));

std::string Content(std::size_t size, std::uint64_t seed = 1) {
  Rng rng(seed);
  std::string content(size, '\0');
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t drawn = rng.Next();
    std::memcpy(content.data() + at, &drawn, std::min<std::size_t>(8, size - at));
  }
  return content;
}

std::string DigestOf(std::string_view content, const DigestKey& key = std::nullopt) {
  FileDigest digest(key);
  digest.Update(AsBytes(content));
  return digest.Value();
}

OpenMessage Open(const std::string& name, std::uint64_t size, bool resume = false) {
  OpenMessage open;
  open.name = name;
  open.size = size;
  open.resume = resume;
  open.mode = 0640;
  open.mtime_ns = 1'234'567'890'123'456'789;
  open.identity.fill(std::byte{7});
  return open;
}

/// Opens a file and reads all of what is there.
absl::StatusOr<File> OpenReady(PartialStore* store, const OpenMessage& open,
                               const DigestKey& key = std::nullopt) {
  ASSIGN_OR_RETURN(File file, store->OpenFile(open, key));
  for (;;) {
    ASSIGN_OR_RETURN(const bool ready, file->Prepare());
    if (ready) return file;
  }
}

/// A store on a simulated disk; Restart() as after kill -9, PowerLoss() as after a loss of power.
class PartialStoreTest : public ::testing::Test {
 protected:
  PartialStoreTest() { Restart(); }

  void Restart() {
    auto store = PartialStore::Open(&disk_, options_, disk_.now_unix_s);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
  }
  void PowerLoss() {
    Rng rng(1);
    disk_.PowerOn(SimDisk::Survival::kSynced, rng);
    Restart();
  }

  File Begin(const OpenMessage& open, const DigestKey& key = std::nullopt) {
    auto file = OpenReady(store_.get(), open, key);
    EXPECT_TRUE(file.ok()) << file.status();
    return std::move(*file);
  }
  static void Append(PartialStore::File* file, std::string_view bytes, TimePoint now = kStart) {
    const absl::Status status = file->Append(AsBytes(bytes), now);
    ASSERT_TRUE(status.ok()) << status;
  }
  /// Leaves `there` bytes of a file of 10'000 for a resume.
  void LeavePartial(const std::string& name, std::size_t there) {
    File file = Begin(Open(name, 10'000));
    Append(file.get(), Content(10'000).substr(0, there));
  }
  absl::StatusOr<std::string> Store(const std::string& name, std::string_view content) {
    File file = Begin(Open(name, content.size()));
    Append(file.get(), content);
    return file->Complete();
  }
  std::uint64_t Resumable(const std::string& name) {
    return Begin(Open(name, 10'000, true))->offset();
  }
  /// In the hidden folder.
  std::vector<std::string> Hidden() {
    std::vector<std::string> names;
    const auto entries = disk_.List(".udp-partial");
    for (const auto& entry : *entries) names.push_back(entry.name);
    return names;
  }

  SimDisk disk_;
  PartialStore::Options options_;
  std::unique_ptr<PartialStore> store_;
};

TEST_F(PartialStoreTest, AFileAppearsWhenItIsWholeWithItsModeAndTime) {
  const std::string content = Content(3'000'000);
  File file = Begin(Open("d/e/f", content.size()));
  EXPECT_EQ(file->offset(), 0U);
  for (std::string_view rest = content; !rest.empty();) {
    Append(file.get(), rest.substr(0, 100'000));
    rest.remove_prefix(std::min<std::size_t>(rest.size(), 100'000));
    EXPECT_EQ(disk_.Read("d/e/f"), std::nullopt);
  }
  EXPECT_TRUE(file->Matches(DigestOf(content)));
  EXPECT_FALSE(file->Matches(DigestOf(content, DigestKey().emplace())));
  const auto stored = file->Complete();
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(*stored, "d/e/f");
  EXPECT_EQ(disk_.Read("d/e/f"), content);
  EXPECT_EQ(disk_.ModeOf("d/e/f"), 0640U);
  EXPECT_EQ(disk_.MtimeOf("d/e/f"), 1'234'567'890'123'456'789);
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(store_->usage().receiving, 0U);
  EXPECT_FALSE(file->Append(AsBytes("x"), kStart).ok()) << "closed";
}

TEST_F(PartialStoreTest, BitsBeyondThePermissionsAreNotSet) {
  OpenMessage open = Open("f", 0);
  open.mode = 06755;
  ASSERT_TRUE(Begin(open)->Complete().ok());
  EXPECT_EQ(disk_.ModeOf("f"), 0755U);
  OpenMessage folder = Open("d", 0);
  folder.kind = EntryKind::kFolder;
  folder.mode = 06050;
  ASSERT_TRUE(store_->MakeFolder(folder).ok());
  EXPECT_EQ(disk_.ModeOf("d"), 0750U) << "the server can put files into it";
}

TEST_F(PartialStoreTest, AnExistingFileIsReplacedKeptOrGetsANeighbour) {
  ASSERT_TRUE(Store("f", "old").ok());
  ASSERT_TRUE(Store("f", "new").ok());
  EXPECT_EQ(disk_.Read("f"), "new");

  options_.overwrite = Overwrite::kNo;
  Restart();
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenFile(Open("f", 1), {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenClassic("f", 1).status()));
  // Also when it came into being meanwhile.
  File late = Begin(Open("g", 1));
  Append(late.get(), "l");
  ASSERT_TRUE(Store("g", "first").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(late->Complete().status()));
  EXPECT_EQ(disk_.Read("g"), "first");
  EXPECT_THAT(Hidden(), IsEmpty());

  options_.overwrite = Overwrite::kRename;
  Restart();
  EXPECT_EQ(Store("f", "1").value(), "f.1");
  EXPECT_EQ(Store("f", "2").value(), "f.2");
  EXPECT_EQ(Store("d/x", "3").value(), "d/x");
  EXPECT_EQ(Store("d/x", "4").value(), "d/x.1");
  EXPECT_EQ(disk_.Read("f"), "new");
  EXPECT_EQ(disk_.Read("f.1"), "1");
  EXPECT_EQ(disk_.Read("f.2"), "2");
}

TEST_F(PartialStoreTest, ABrokenTransferIsResumedAlsoAfterARestartAndAfterPowerLoss) {
  const std::string content = Content(10'000);
  LeavePartial("f", 6000);
  EXPECT_EQ(store_->usage().waiting, 1U);
  EXPECT_EQ(store_->usage().bytes, 6000U);
  EXPECT_EQ(Resumable("f"), 6000U);
  Restart();
  EXPECT_EQ(store_->usage().waiting, 1U);
  EXPECT_EQ(Resumable("f"), 6000U);
  PowerLoss();
  const DigestKey key = [] {
    DigestKey some;
    some.emplace().fill(std::byte{1});
    return some;
  }();
  for (const DigestKey& connection : {DigestKey(), key}) {
    File file = Begin(Open("f", 10'000, true), connection);
    EXPECT_EQ(file->offset(), 6000U);
    EXPECT_EQ(file->digest(), DigestOf(content.substr(0, 6000), connection));
  }
  File file = Begin(Open("f", 10'000, true), key);
  Append(file.get(), content.substr(6000));
  EXPECT_TRUE(file->Matches(DigestOf(content, key)));
  ASSERT_TRUE(file->Complete().ok());
  EXPECT_EQ(disk_.Read("f"), content);
  EXPECT_THAT(Hidden(), IsEmpty());
}

TEST_F(PartialStoreTest, OnlyTheSameTransferIsResumed) {
  LeavePartial("f", 6000);
  EXPECT_EQ(Begin(Open("g", 10'000, true))->offset(), 0U);
  EXPECT_EQ(Begin(Open("f", 10'001, true))->offset(), 0U);
  OpenMessage other = Open("f", 10'000, true);
  other.identity[0] = std::byte{1};
  EXPECT_EQ(Begin(other)->offset(), 0U);
  EXPECT_EQ(Resumable("f"), 6000U) << "the others are beside it";
  EXPECT_EQ(Begin(Open("f", 10'000, false))->offset(), 0U) << "not asked for";
  EXPECT_EQ(Resumable("f"), 0U);
}

TEST_F(PartialStoreTest, ADamagedPartialFileIsNotGoneOnWith) {
  const auto change = [&](std::string_view ending, const std::function<void(std::string*)>& how) {
    for (const std::string& name : Hidden()) {
      if (!name.ends_with(ending)) continue;
      const std::string path = ".udp-partial/" + name;
      std::string bytes = *disk_.Read(path);
      how(&bytes);
      auto file = disk_.OpenFile(path, fs::Disk::Open::kEmpty);
      ASSERT_TRUE((*file)->WriteAt(0, AsBytes(bytes)).ok());
    }
  };
  const std::function<void(std::string*)> kChanges[] = {
      [](std::string* bytes) { bytes->at(10) ^= 1; },
      [](std::string* bytes) { bytes->pop_back(); },
      [](std::string* bytes) { bytes->clear(); },
  };
  for (const char* ending : {".part", ".state"}) {
    for (const auto& how : kChanges) {
      for (const bool restart : {false, true}) {
        LeavePartial("f", 6000);
        change(ending, how);
        if (restart) Restart();
        File file = Begin(Open("f", 10'000, true));
        EXPECT_EQ(file->offset(), 0U);
        Append(file.get(), Content(10'000));
        EXPECT_TRUE(file->Matches(DigestOf(Content(10'000))));
        ASSERT_TRUE(file->Complete().ok());
        EXPECT_EQ(disk_.Read("f"), Content(10'000));
        EXPECT_THAT(Hidden(), IsEmpty());
        ASSERT_TRUE(disk_.Remove("f").ok());
      }
    }
  }
  // More than the state says is no damage: it came after the last checkpoint.
  LeavePartial("f", 6000);
  change(".part", [](std::string* bytes) { bytes->append("more"); });
  Restart();
  File file = Begin(Open("f", 10'000, true));
  EXPECT_EQ(file->offset(), 6000U);
  Append(file.get(), Content(10'000).substr(6000));
  ASSERT_TRUE(file->Complete().ok());
  EXPECT_EQ(disk_.Read("f"), Content(10'000));
}

TEST_F(PartialStoreTest, ANewConnectionTakesOverFromOneThatOnlySeemsAlive) {
  const std::string content = Content(10'000);
  File old = Begin(Open("f", 10'000));
  Append(old.get(), content.substr(0, 4000));
  File fresh = Begin(Open("f", 10'000, true));
  EXPECT_EQ(fresh->offset(), 4000U) << "all that the old one had";
  EXPECT_EQ(store_->usage().receiving, 1U);
  EXPECT_TRUE(absl::IsAborted(old->Append(AsBytes("x"), kStart)));
  EXPECT_TRUE(absl::IsAborted(old->Complete().status()));
  EXPECT_TRUE(absl::IsAborted(old->Restart()));
  old->Discard();
  old.reset();
  Append(fresh.get(), content.substr(4000));
  ASSERT_TRUE(fresh->Complete().ok());
  EXPECT_EQ(disk_.Read("f"), content);
  // Without a resume too: the newer one is meant.
  File first = Begin(Open("g", 10'000));
  Append(first.get(), content.substr(0, 4000));
  File second = Begin(Open("g", 10'000));
  EXPECT_EQ(second->offset(), 0U);
  EXPECT_TRUE(absl::IsAborted(first->Append(AsBytes("x"), kStart)));
  first.reset();
  Append(second.get(), content);
  ASSERT_TRUE(second->Complete().ok());
}

TEST_F(PartialStoreTest, APrefixIsReadInPiecesAndMayBeTakenOverOrLeftMeanwhile) {
  const std::string content = Content(20 * kMiB);
  {
    File file = Begin(Open("f", content.size() + 1));
    Append(file.get(), content);
  }
  std::uint64_t reads = 0;
  disk_.fault = [&](const std::string& operation, const std::string& name) {
    reads += operation == "read" && name.ends_with(".part");
    return absl::OkStatus();
  };
  const OpenMessage open = Open("f", content.size() + 1, true);
  auto first = store_->OpenFile(open, {});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(reads, 0U) << "to open it takes no time";
  EXPECT_EQ((*first)->Prepare().value(), false);
  EXPECT_LE(reads, 8U) << "a piece is short";
  auto second = store_->OpenFile(open, {});
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(absl::IsAborted((*first)->Prepare().status()));
  EXPECT_EQ((*second)->Prepare().value(), false);
  second->reset();
  File third = Begin(open);
  EXPECT_EQ(third->offset(), content.size()) << "nothing of it was lost";
  EXPECT_EQ(third->digest(), DigestOf(content));
}

TEST_F(PartialStoreTest, RestartBeginsAtZeroAgain) {
  LeavePartial("f", 6000);
  File file = Begin(Open("f", 10'000, true));
  ASSERT_EQ(file->offset(), 6000U);
  ASSERT_TRUE(file->Restart().ok());
  EXPECT_EQ(file->offset(), 0U);
  Append(file.get(), Content(10'000, 2));
  EXPECT_TRUE(file->Matches(DigestOf(Content(10'000, 2))));
  ASSERT_TRUE(file->Complete().ok());
  EXPECT_EQ(disk_.Read("f"), Content(10'000, 2));
}

TEST_F(PartialStoreTest, MoreOrLessThanTheSizeIsRefused) {
  File file = Begin(Open("f", 5));
  EXPECT_TRUE(absl::IsOutOfRange(file->Append(AsBytes("123456"), kStart)));
  Append(file.get(), "1234");
  EXPECT_TRUE(absl::IsOutOfRange(file->Complete().status()));
  Append(file.get(), "5");
  EXPECT_TRUE(file->Complete().ok());
}

TEST_F(PartialStoreTest, ACheckpointASecondWithSyncAndWithout) {
  const std::string mib = Content(kMiB);
  const auto durable = [&] {  // what a killed process leaves for a resume
    std::uint64_t bytes = 0;
    for (const std::string& name : Hidden()) {
      if (!name.ends_with(".state")) continue;
      bytes = PartialState::Parse(*disk_.Read(".udp-partial/" + name))->durable_bytes;
    }
    return bytes;
  };
  for (const bool sync : {true, false}) {
    options_.sync = sync;
    Restart();
    File file = Begin(Open("f", 100 * kMiB));
    for (int i = 0; i < 10; ++i) Append(file.get(), mib, kStart);
    EXPECT_EQ(durable(), 0U);
    Append(file.get(), mib, kStart + seconds(1));
    EXPECT_EQ(durable(), 11 * kMiB) << sync;
    Append(file.get(), mib, kStart + std::chrono::milliseconds(1999));
    EXPECT_EQ(durable(), 11 * kMiB) << sync;
    Append(file.get(), "x", kStart + seconds(2));
    EXPECT_EQ(durable(), 12 * kMiB + 1) << sync;
    file->Discard();
  }
}

TEST_F(PartialStoreTest, WriteOutBeginsEarly) {
  const std::string piece = Content(100'000);
  File file = Begin(Open("f", 300 * piece.size()));
  for (int i = 0; i < 300; ++i) {
    Append(file.get(), piece);
    EXPECT_LE(disk_.dirty_bytes(), 8 * kMiB + piece.size());
  }
}

TEST_F(PartialStoreTest, LimitsRefuseAndMakeRoom) {
  options_.file_bytes_max = 20'000;
  options_.partial_bytes_max = 30'000;
  options_.partials_max = 3;
  Restart();
  EXPECT_TRUE(absl::IsOutOfRange(store_->OpenFile(Open("f", 20'001), {}).status()));
  // Waiting ones go, the oldest first.
  for (const char* name : {"a", "b", "c", "d"}) {  // the fourth is one too many
    store_->Expire(disk_.now_unix_s++);
    LeavePartial(name, 1000);
  }
  EXPECT_EQ(store_->usage().waiting, 3U);
  EXPECT_EQ(Hidden().size(), 6U);
  File large = Begin(Open("large", 20'000));
  File small = Begin(Open("small", 9000));  // 30'000 with one of the waiting ones
  EXPECT_EQ(store_->usage().waiting, 1U);
  EXPECT_EQ(store_->usage().bytes, 30'000U);
  EXPECT_TRUE(absl::IsResourceExhausted(store_->OpenFile(Open("d", 10'000, true), {}).status()))
      << "as a whole it counts for more";
  EXPECT_EQ(store_->usage().waiting, 1U) << "and stays";
}

TEST_F(PartialStoreTest, FilesBeingReceivedAreNotPutOut) {
  options_.partial_bytes_max = 30'000;
  Restart();
  File first = Begin(Open("f", 20'000));
  const auto second = store_->OpenFile(Open("g", 10'001), {});
  EXPECT_TRUE(absl::IsResourceExhausted(second.status()));
  EXPECT_THAT(Message(second.status()), HasSubstr("limit"));
  File third = Begin(Open("g", 10'000));
  first->Discard();
  File fourth = Begin(Open("h", 20'000));
  EXPECT_EQ(store_->usage().receiving, 2U);
}

TEST_F(PartialStoreTest, AFileLargerThanTheFreeSpaceIsRefusedAtOnce) {
  disk_.free_bytes = 9999;
  EXPECT_TRUE(absl::IsResourceExhausted(store_->OpenFile(Open("f", 10'000), {}).status()));
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(store_->usage().receiving, 0U);
  disk_.free_bytes = 10'000;
  LeavePartial("f", 6000);
  disk_.free_bytes = 4000;
  EXPECT_EQ(Resumable("f"), 6000U) << "what is there needs no more space";
}

TEST_F(PartialStoreTest, ATransferThatSeemsAliveIsTakenOverWhereOnlyTheRestOfItFits) {
  const std::string content = Content(10'000);
  for (const bool restarted : {false, true}) {
    disk_.capacity_bytes = 10'500;  // one of them, and its state
    File old = Begin(Open("f", 10'000));
    Append(old.get(), content.substr(0, 6000));
    if (restarted) {
      old.reset();
      Restart();
      old = Begin(Open("f", 10'000, true));  // has written nothing itself
    }
    File fresh = Begin(Open("f", 10'000, true));
    EXPECT_EQ(fresh->offset(), 6000U);
    Append(fresh.get(), content.substr(6000));
    ASSERT_TRUE(fresh->Complete().ok());
    ASSERT_TRUE(disk_.Remove("f").ok());
    // Begun anew it takes the place of what there was.
    old = Begin(Open("g", 10'000));
    Append(old.get(), content.substr(0, 6000));
    fresh = Begin(Open("g", 10'000));
    Append(fresh.get(), content);
    ASSERT_TRUE(fresh->Complete().ok());
    ASSERT_TRUE(disk_.Remove("g").ok());
  }
}

TEST_F(PartialStoreTest, WaitingFilesMakeRoomOnAFullDiskOnlyIfThatIsEnough) {
  disk_.free_bytes = 10'000;
  for (const char* name : {"a", "b"}) {
    store_->Expire(disk_.now_unix_s++);
    LeavePartial(name, 6000);
  }
  disk_.free_bytes = 1000;
  const auto too_large = store_->OpenFile(Open("large", 13'001), {});
  EXPECT_TRUE(absl::IsResourceExhausted(too_large.status()));
  EXPECT_EQ(store_->usage().waiting, 2U) << "nothing is gained by their end";
  File file = Begin(Open("large", 7000));
  EXPECT_EQ(store_->usage().waiting, 2U) << "an announcement alone takes nothing away";
  disk_.fault = [&](const std::string& operation, const std::string&) {
    return operation == "write" && Hidden().size() > 3
               ? Error(absl::StatusCode::kResourceExhausted, "disk full")
               : absl::OkStatus();
  };
  Append(file.get(), Content(7000));
  EXPECT_EQ(store_->usage().waiting, 1U);
  EXPECT_TRUE(file->Complete().ok());
  EXPECT_EQ(disk_.Read("large"), Content(7000));
  disk_.fault = nullptr;
  disk_.free_bytes = 10'000;
  EXPECT_EQ(Resumable("b"), 6000U) << "the older one went";
}

TEST_F(PartialStoreTest, PartialFilesExpire) {
  LeavePartial("f", 6000);
  // When it began is known to a minute only: it gets more than its time, not less.
  store_->Expire(kNow + 60);
  store_->Expire(kNow + 60 + 24 * 3600);
  EXPECT_EQ(Hidden().size(), 2U);
  File used = Begin(Open("f", 10'000, true));
  store_->Expire(kNow + 2 * 24 * 3600);
  EXPECT_EQ(used->offset(), 6000U) << "somebody is sending it";
  EXPECT_EQ(Hidden().size(), 2U);
  used.reset();
  store_->Expire(kNow + 2 * 24 * 3600 + 60);
  store_->Expire(kNow + 3 * 24 * 3600 + 60);
  EXPECT_EQ(Hidden().size(), 2U);
  store_->Expire(kNow + 3 * 24 * 3600 + 61);
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(store_->usage().waiting, 0U);
  // And at the start, by the time of the file.
  LeavePartial("f", 6000);
  disk_.now_unix_s += 24 * 3600 + 1;
  Restart();
  EXPECT_THAT(Hidden(), IsEmpty());
}

TEST_F(PartialStoreTest, TheStartCleansWhatKillLeft) {
  LeavePartial("kept", 6000);
  const std::vector<std::string> kept = Hidden();
  ASSERT_EQ(kept.size(), 2U);
  // No checkpoint was reached; an unfinished state; classic; a state without its part.
  const std::string key(32, '0');
  for (const std::string& name : {key + ".part", kept[0].substr(0, 32) + ".state.new",
                                  std::string("classic-7.tmp"), std::string(32, '1') + ".state"}) {
    ASSERT_TRUE(disk_.OpenFile(".udp-partial/" + name, fs::Disk::Open::kEmpty).ok());
  }
  ASSERT_TRUE(disk_.OpenFile(".udp-partial/LOCK", fs::Disk::Open::kEmpty).ok());
  Restart();
  EXPECT_THAT(Hidden(), ElementsAre("LOCK", kept[0], kept[1]));
  EXPECT_EQ(store_->removed_at_start(), 4U);
  EXPECT_EQ(Resumable("kept"), 6000U);
}

TEST_F(PartialStoreTest, AStateOfANewerVersionIsNotTouched) {
  LeavePartial("f", 6000);
  const std::string name = ".udp-partial/" + Hidden()[1];
  ASSERT_TRUE(name.ends_with(".state"));
  auto state = disk_.OpenFile(name, fs::Disk::Open::kExisting);
  ASSERT_TRUE((*state)->WriteAt(8, AsBytes("\2")).ok());
  const auto store = PartialStore::Open(&disk_, options_, kNow);
  EXPECT_TRUE(absl::IsFailedPrecondition(store.status()));
  EXPECT_THAT(Message(store.status()), HasSubstr(name));
  EXPECT_THAT(Message(store.status()), HasSubstr("remove the file"));
  EXPECT_EQ(Hidden().size(), 2U);
}

TEST_F(PartialStoreTest, AStateThatCannotBeReadIsNoDamage) {
  LeavePartial("f", 6000);
  disk_.fault = [](const std::string& operation, const std::string& name) {
    return operation == "open" && name.ends_with(".state")
               ? Error(absl::StatusCode::kUnavailable, "Too many open files")
               : absl::OkStatus();
  };
  const auto store = PartialStore::Open(&disk_, options_, kNow);
  EXPECT_TRUE(absl::IsUnavailable(store.status())) << store.status();
  disk_.fault = nullptr;
  Restart();
  EXPECT_EQ(Resumable("f"), 6000U);
}

TEST_F(PartialStoreTest, ATakenNameThatIsTooLongForANeighbourIsCut) {
  options_.overwrite = Overwrite::kRename;
  Restart();
  for (const std::string folder : {"", "d/"}) {
    const std::string longest = folder + std::string(255, 'x');
    EXPECT_EQ(Store(longest, "1").value(), longest);
    EXPECT_EQ(Store(longest, "2").value(), folder + std::string(253, 'x') + ".1");
    EXPECT_EQ(Store(longest, "3").value(), folder + std::string(253, 'x') + ".2");
    const std::string shorter = folder + std::string(253, 'y');
    EXPECT_EQ(Store(shorter, "1").value(), shorter);
    EXPECT_EQ(Store(shorter, "2").value(), shorter + ".1");
    // Not within a character: an umlaut of two bytes, a smiley of four.
    const std::string umlaut = folder + std::string(252, 'z') + "\xc3\xa4";
    EXPECT_EQ(Store(umlaut, "1").value(), umlaut);
    EXPECT_EQ(Store(umlaut, "2").value(), folder + std::string(252, 'z') + ".1");
    const std::string smiley = folder + std::string(251, 'w') + "\xf0\x9f\x99\x82";
    EXPECT_EQ(Store(smiley, "1").value(), smiley);
    EXPECT_EQ(Store(smiley, "2").value(), folder + std::string(251, 'w') + ".1");
  }
}

TEST_F(PartialStoreTest, AFileTakenOverWhileItsGroupIsStoredFailsAlone) {
  std::vector<File> group;
  for (const char* name : {"a", "b", "c"}) {
    group.push_back(Begin(Open(name, 3)));
    Append(group.back().get(), "abc");
  }
  File other = Begin(Open("b", 3, true));
  const auto results = store_->Complete(group);
  EXPECT_EQ(results[0].value(), "a");
  EXPECT_TRUE(absl::IsAborted(results[1].status()));
  EXPECT_EQ(results[2].value(), "c");
  EXPECT_EQ(other->offset(), 3U) << "all that it had";
  EXPECT_TRUE(other->Complete().ok());
  EXPECT_THAT(Hidden(), IsEmpty());
}

TEST_F(PartialStoreTest, ABadNameIsRefused) {
  for (const char* name : {"", "../f", "/f", ".udp-partial/f", "a//b"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenFile(Open(name, 1), {}).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenClassic(name, 1).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->MakeFolder(Open(name, 0)))) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenClassic("a/b", 1).status()));
}

TEST_F(PartialStoreTest, ANameThatIsAFolderIsRefusedAndNothingKept) {
  ASSERT_TRUE(Store("d/f", "x").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Store("d", "x").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Store("d/f/g", "x").status()));
  EXPECT_EQ(OutcomeOf(Store("d", "x").status()), Outcome::kRefused);
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(disk_.Read("d/f"), "x");
}

TEST_F(PartialStoreTest, AClassicFileIsTemporaryUntilItIsWhole) {
  auto file = store_->OpenClassic("f", 6);
  ASSERT_TRUE(file.ok()) << file.status();
  Append(file->get(), "abc");
  EXPECT_THAT(Hidden(), ElementsAre("classic-0.tmp"));
  auto other = store_->OpenClassic("f", 6);
  EXPECT_THAT(Hidden(), ElementsAre("classic-0.tmp", "classic-1.tmp"));
  other->reset();
  EXPECT_THAT(Hidden(), ElementsAre("classic-0.tmp")) << "nothing is kept for a resume";
  Append(file->get(), "def");
  EXPECT_EQ((*file)->Complete().value(), "f");
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(disk_.Read("f"), "abcdef");
  PowerLoss();
  EXPECT_EQ(disk_.Read("f"), "abcdef");
}

TEST_F(PartialStoreTest, WithoutSyncNothingIsSynced) {
  options_.sync = false;
  Restart();
  int syncs = 0;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    syncs += operation == "sync" || operation == "sync folder" ? 1 : 0;
    return absl::OkStatus();
  };
  LeavePartial("f", 6000);
  ASSERT_TRUE(Store("d/g", "x").ok());
  EXPECT_EQ(Resumable("f"), 6000U);
  EXPECT_EQ(syncs, 0);
}

// --- Faults of the disk ---

/// The n-th operation of this kind on a name with this ending fails.
auto FailOnce(std::string operation, std::string ending, absl::Status status, int n = 1) {
  return [=](const std::string& done, const std::string& name) mutable {
    if (done != operation || !name.ends_with(ending) || --n != 0) return absl::OkStatus();
    return status;
  };
}

const absl::Status kNoSpace =
    Error(absl::StatusCode::kResourceExhausted, "No space left on device");
const absl::Status kNoDescriptors = Error(absl::StatusCode::kUnavailable, "Too many open files");
const absl::Status kIoError = Error(absl::StatusCode::kUnknown, "Input/output error");
const absl::Status kSyncError = Error(absl::StatusCode::kDataLoss, "Input/output error");

TEST_F(PartialStoreTest, AFullDiskLeavesNothingBehind) {
  for (const auto& [operation, ending] :
       {std::pair("write", ".part"), std::pair("sync", ".part"), std::pair("create", ".state.new"),
        std::pair("write", ".state.new"), std::pair("sync", ".state.new"),
        std::pair("make folder", "d"), std::pair("rename", "d/f")}) {
    disk_.fault = FailOnce(operation, ending, kNoSpace);
    File file = Begin(Open("d/f", 10'000));
    absl::Status status = file->Append(AsBytes(Content(5000)), kStart);
    if (status.ok()) status = file->Append(AsBytes(Content(5000)), kStart + seconds(5));
    if (status.ok()) status = file->Complete().status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << operation << ending << status;
    EXPECT_EQ(OutcomeOf(status), Outcome::kFailed);
    EXPECT_FALSE(file->Append(AsBytes("x"), kStart).ok()) << "closed";
    EXPECT_THAT(Hidden(), IsEmpty()) << operation << ending;
    EXPECT_EQ(disk_.Read("d/f"), std::nullopt);
    EXPECT_EQ(store_->usage().bytes, 0U);
  }
  disk_.fault = nullptr;
  EXPECT_TRUE(Store("d/f", "x").ok()) << "with space again it goes on";
}

TEST_F(PartialStoreTest, AnErrorKeepsWhatIsDurable) {
  // The second checkpoint, or what is after it, fails.
  for (const auto& [operation, ending, n] :
       {std::tuple("write", ".part", 3), std::tuple("attributes", ".part", 1),
        std::tuple("rename", ".state", 2), std::tuple("rename", "d/f", 1)}) {
    disk_.fault = FailOnce(operation, ending, kIoError, n);
    File file = Begin(Open("d/f", 10'000));
    absl::Status status;
    for (int i = 0; i < 4 && status.ok(); ++i) {
      status = file->Append(AsBytes(Content(10'000).substr(2500U * static_cast<unsigned>(i), 2500)),
                            kStart + seconds(5) * i);
    }
    if (status.ok()) status = file->Complete().status();
    EXPECT_EQ(status, kIoError) << operation << ending;
    file.reset();
    disk_.fault = nullptr;
    EXPECT_GE(Resumable("d/f"), 5000U) << operation << ending;
    Begin(Open("d/f", 10'000))->Discard();
    EXPECT_THAT(Hidden(), IsEmpty());
  }
}

TEST_F(PartialStoreTest, WithoutDescriptorsWhatIsDurableStays) {
  struct Case {
    const char* operation;
    const char* ending;
  };
  for (const Case& c : {Case{"create", ".state.new"}, Case{"sync folder", ".udp-partial"}}) {
    LeavePartial("f", 6000);
    File file = Begin(Open("f", 10'000, true));
    Append(file.get(), Content(10'000).substr(6000, 1000), kStart);
    disk_.fault = [&](const std::string& done, const std::string& name) {
      return done == c.operation && name.ends_with(c.ending) ? kNoDescriptors : absl::OkStatus();
    };
    const absl::Status status =
        file->Append(AsBytes(Content(10'000).substr(7000, 1000)), kStart + seconds(5));
    EXPECT_EQ(status, kNoDescriptors);
    EXPECT_EQ(OutcomeOf(status), Outcome::kFailed);
    file.reset();
    disk_.fault = nullptr;
    EXPECT_GE(Resumable("f"), 6000U) << c.operation;
    Begin(Open("f", 10'000))->Discard();
  }
}

TEST_F(PartialStoreTest, AResumeThatCannotReadWhatIsThereLeavesIt) {
  for (const absl::Status& error :
       {kNoDescriptors, kIoError, Error(absl::StatusCode::kPermissionDenied, "not permitted")}) {
    for (const auto& [operation, ending] :
         {std::pair("open", ".state"), std::pair("read", ".state"), std::pair("open", ".part"),
          std::pair("read", ".part")}) {
      LeavePartial("f", 6000);
      disk_.fault = FailOnce(operation, ending, error);
      EXPECT_EQ(OpenReady(store_.get(), Open("f", 10'000, true)).status(), error)
          << operation << ending;
      EXPECT_EQ(store_->usage().waiting, 1U);
      EXPECT_EQ(store_->usage().bytes, 6000U);
      // And one that is taken over for that.
      File old = Begin(Open("f", 10'000, true));
      Append(old.get(), Content(10'000).substr(6000, 1000));
      // As long as that lasts, nor can be seen whether the part is there.
      disk_.fault = [&, at = operation, end = ending](const std::string& done,
                                                      const std::string& name) {
        return done == at && name.ends_with(end) ? error : absl::OkStatus();
      };
      EXPECT_EQ(OpenReady(store_.get(), Open("f", 10'000, true)).status(), error);
      disk_.fault = nullptr;
      old.reset();
      EXPECT_EQ(store_->usage().receiving, 0U);
      EXPECT_EQ(store_->usage().bytes, 7000U);
      EXPECT_EQ(Resumable("f"), 7000U) << operation << ending;
    }
  }
}

TEST_F(PartialStoreTest, AResumeWhileTheFileGetsItsNameFindsIt) {
  const std::string content = Content(10'000);
  for (const Overwrite overwrite : {Overwrite::kYes, Overwrite::kNo, Overwrite::kRename}) {
    for (const bool checkpoint : {false, true}) {
      options_.overwrite = overwrite;
      Restart();
      File file = Begin(Open("f", content.size()));
      Append(file.get(), content.substr(0, 6000), kStart);
      Append(file.get(), content.substr(6000), kStart + seconds(checkpoint ? 5 : 0));
      File resumed;
      bool within = false;
      disk_.fault = [&](const std::string& operation, const std::string& name) {
        if (operation == "sync folder" && name.empty() && !std::exchange(within, true)) {
          resumed = Begin(Open("f", content.size(), true));
        }
        return absl::OkStatus();
      };
      EXPECT_EQ(file->Complete().value(), "f");
      disk_.fault = nullptr;
      ASSERT_TRUE(resumed);
      EXPECT_EQ(resumed->offset(), content.size());
      EXPECT_TRUE(resumed->Matches(DigestOf(content)));
      EXPECT_EQ(resumed->Complete().value(), "f");
      EXPECT_THAT(disk_.Names(), ElementsAre(".udp-partial/", "f"));
      EXPECT_EQ(store_->usage().receiving + store_->usage().waiting, 0U);
      ASSERT_TRUE(disk_.Remove("f").ok());
    }
  }
}

TEST_F(PartialStoreTest, WhatIsSentOnceMoreIsStoredAlsoWhereNothingIsOverwritten) {
  const std::string content = Content(10'000);
  options_.overwrite = Overwrite::kNo;
  Restart();
  EXPECT_EQ(Store("d/f", content).value(), "d/f");
  EXPECT_EQ(Store("empty", "").value(), "empty");
  std::uint64_t changes = 0;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    changes += operation != "open" && operation != "read" && !operation.starts_with("sync") &&
               operation != "make folder";
    return absl::OkStatus();
  };
  {
    File again = Begin(Open("d/f", content.size()));
    EXPECT_EQ(again->offset(), 0U) << "it comes as a whole";
    Append(again.get(), content.substr(0, 6000));
    EXPECT_TRUE(absl::IsOutOfRange(again->Complete().status()));
    Append(again.get(), content.substr(6000), kStart + seconds(5));
    EXPECT_TRUE(again->Matches(DigestOf(content)));
    EXPECT_EQ(again->Complete().value(), "d/f");
  }
  EXPECT_EQ(Store("empty", "").value(), "empty");
  {  // Broken off, and with another content.
    File broken = Begin(Open("d/f", content.size()));
    Append(broken.get(), content.substr(0, 6000));
    broken.reset();
    File other = Begin(Open("d/f", content.size()));
    Append(other.get(), Content(content.size(), 2));
    const absl::Status refused = other->Complete().status();
    EXPECT_TRUE(absl::IsAlreadyExists(refused)) << refused;
    EXPECT_THAT(Message(refused), HasSubstr("--overwrite"));
  }
  // What cannot be the same is refused before it comes.
  OpenMessage later = Open("d/f", content.size());
  ++later.mtime_ns;
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenFile(later, {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenFile(Open("d/f", 9999), {}).status()));
  EXPECT_EQ(changes, 0U);
  EXPECT_EQ(disk_.Read("d/f"), content);
  EXPECT_THAT(Hidden(), IsEmpty());
}

TEST_F(PartialStoreTest, WhatIsSentOnceMoreWhileItGetsItsNameIsStored) {
  const std::string content = Content(10'000);
  options_.overwrite = Overwrite::kNo;
  Restart();
  File first = Begin(Open("f", content.size()));
  Append(first.get(), content);
  bool named = false;
  disk_.fault = [&](const std::string& operation, const std::string&) {
    // The second one has seen that there is no such file.
    if (operation == "make folder" && !std::exchange(named, true)) {
      EXPECT_EQ(first->Complete().value(), "f");
    }
    return absl::OkStatus();
  };
  File second = Begin(Open("f", content.size()));
  ASSERT_TRUE(named);
  Append(second.get(), content);
  EXPECT_EQ(second->Complete().value(), "f");
  EXPECT_EQ(disk_.Read("f"), content);
  EXPECT_THAT(Hidden(), IsEmpty());
  EXPECT_EQ(store_->usage().receiving, 0U);
}

TEST_F(PartialStoreTest, AFailedSyncIsToldAndNothingBuiltUponIt) {
  disk_.fault = FailOnce("sync", ".part", kSyncError, 2);
  File file = Begin(Open("f", 10'000));
  Append(file.get(), Content(2500), kStart);
  Append(file.get(), Content(10'000).substr(2500, 2500), kStart + seconds(5));
  const absl::Status status = file->Append(AsBytes(Content(2500)), kStart + seconds(10));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  file.reset();
  Restart();
  EXPECT_EQ(Resumable("f"), 5000U) << "not 7500, though the cache still has them";
  disk_.fault = FailOnce("sync", ".part", kSyncError);
  EXPECT_TRUE(absl::IsDataLoss(Store("g", "x").status()));
  EXPECT_EQ(disk_.Read("g"), std::nullopt);
}

TEST_F(PartialStoreTest, AFailedSyncAtTheEndOfASessionIsTheLastThingThatTheStoreDoes) {
  for (const bool taken_over : {false, true}) {
    File other = Begin(Open("other", 10'000));
    Append(other.get(), Content(3000));
    File file = Begin(Open("f", 10'000));
    Append(file.get(), Content(2500));
    Append(file.get(), Content(10'000).substr(2500, 2500), kStart + seconds(5));
    Append(file.get(), Content(10'000).substr(5000, 2500), kStart + seconds(5));
    disk_.fault = FailOnce("sync", ".part", kSyncError);
    EXPECT_TRUE(store_->failure().ok());
    if (taken_over) {
      EXPECT_TRUE(absl::IsDataLoss(store_->OpenFile(Open("f", 10'000, true), {}).status()));
    } else {
      file.reset();
    }
    EXPECT_TRUE(absl::IsDataLoss(store_->failure()));
    EXPECT_TRUE(absl::IsDataLoss(other->Append(AsBytes("x"), kStart)));
    EXPECT_TRUE(absl::IsDataLoss(store_->OpenFile(Open("g", 1), {}).status()));
    EXPECT_TRUE(absl::IsDataLoss(store_->OpenClassic("c", 1).status()));
    OpenMessage folder = Open("d", 0);
    EXPECT_TRUE(absl::IsDataLoss(store_->MakeFolder(folder)));
    disk_.fault = nullptr;
    file.reset();
    other.reset();
    Restart();
    EXPECT_EQ(Resumable("other"), 0U) << "no state was written after it";
    EXPECT_EQ(Resumable("f"), 5000U) << "as far as its last checkpoint";
    for (const char* name : {"f", "other"}) Begin(Open(name, 10'000))->Discard();
  }
}

// --- Loss of power ---

/// Some transfers, and what was promised about them so far.
class PowerLossRun {
 public:
  explicit PowerLossRun(SimDisk* disk) : disk_(disk) {}

  /// Before everything: a durable file that will be replaced.
  void Prepare() {
    auto file = disk_->OpenFile("b", fs::Disk::Open::kEmpty);
    ASSERT_TRUE((*file)->WriteAt(0, AsBytes("old")).ok());
    ASSERT_TRUE((*file)->Sync(fs::DiskFile::What::kAll).ok());
    ASSERT_TRUE(disk_->SyncFolder("").ok());
  }

  /// As far as the power lasts.
  void Run() {
    const absl::Status status = Work();
    CHECK(status.ok() || absl::IsUnavailable(status), Message(status));
  }

  /// After the power is back: empty, or which promise was broken.
  std::string Check() {
    auto store = PartialStore::Open(disk_, options_, disk_->now_unix_s);
    if (!store.ok()) return "the store does not open";
    if (made_folder_ && !disk_->Exists("made").value()) return "an acknowledged folder is gone";
    for (const auto& [name, stored] : stored_) {
      const auto content = disk_->Read(name);
      if (stored && content != kContents.at(name)) return "an acknowledged file is gone: " + name;
      if (stored && disk_->ModeOf(name) != (name == "classic" ? 0666 : 0640)) {
        return "an acknowledged file has another mode: " + name;
      }
      if (!stored && content && content != kContents.at(name) &&
          !(name == "b" && content == "old")) {
        return "half a file is visible: " + name;
      }
      if (name == "b" && !content) return "a replaced file is gone";
    }
    const auto entries = disk_->List(".udp-partial");
    for (const auto& entry : *entries) {
      if (!entry.name.ends_with(".part") && !entry.name.ends_with(".state")) {
        return "something is left: " + entry.name;
      }
    }
    for (const auto& [name, promised] : promised_) {
      if (stored_[name]) continue;
      auto file = OpenReady(store->get(), Open(name, kContents.at(name).size(), true));
      if (!file.ok()) return "it cannot be resumed: " + name;
      const std::string_view content = kContents.at(name);
      // It may have got its name although nobody was told.
      if (disk_->Read(name) == content) continue;
      if ((*file)->offset() < promised) return "less than was promised can be resumed: " + name;
      if ((*file)->digest() != DigestOf(content.substr(0, (*file)->offset()))) {
        return "what would be resumed is no prefix: " + name;
      }
      if (!(*file)->Append(AsBytes(content.substr((*file)->offset())), kStart).ok() ||
          !(*file)->Matches(DigestOf(content)) || !(*file)->Complete().ok() ||
          disk_->Read(name) != content) {
        return "what was resumed is wrong: " + name;
      }
    }
    return "";
  }

 private:
  inline static const std::map<std::string, std::string> kContents = {
      {"c", Content(20'000, 3)},    {"d/e/a", Content(9000, 1)},
      {"b", Content(5000, 2)},      {"d/e/z", ""},
      {"g/1", Content(3000, 5)},    {"g/2", Content(3000, 6)},
      {"d/e/3", Content(3000, 7)},  {"k/seen", Content(4000, 8)},
      {"classic", Content(5000, 4)}};

  absl::Status Append(PartialStore::File* file, const std::string& name, std::size_t bytes,
                      bool checkpoint = false) {
    now_ += seconds(1);
    const std::uint64_t offset = file->offset();
    RETURN_IF_ERROR(file->Append(AsBytes(kContents.at(name).substr(offset, bytes)), now_));
    if (checkpoint) promised_[name] = file->offset();
    return absl::OkStatus();
  }

  absl::Status Complete(PartialStore::File* file, const std::string& name) {
    stored_.try_emplace(name, false);
    const auto stored = file->Complete();
    if (stored.ok()) stored_[name] = true;
    return stored.status();
  }

  absl::Status Work() {
    stored_["b"] = false;
    ASSIGN_OR_RETURN(const auto store, PartialStore::Open(disk_, options_, disk_->now_unix_s));
    ASSIGN_OR_RETURN(auto c, store->OpenFile(Open("c", 20'000), {}));
    RETURN_IF_ERROR(Append(c.get(), "c", 5000));  // begins the count of time
    RETURN_IF_ERROR(Append(c.get(), "c", 5000, /*checkpoint=*/true));
    RETURN_IF_ERROR(Append(c.get(), "c", 2000, /*checkpoint=*/true));
    OpenMessage folder = Open("made", 0);
    folder.kind = EntryKind::kFolder;
    RETURN_IF_ERROR(store->MakeFolder(folder));
    made_folder_ = true;
    ASSIGN_OR_RETURN(auto a, store->OpenFile(Open("d/e/a", 9000), {}));
    RETURN_IF_ERROR(Append(a.get(), "d/e/a", 9000));
    RETURN_IF_ERROR(Complete(a.get(), "d/e/a"));
    ASSIGN_OR_RETURN(auto b, store->OpenFile(Open("b", 5000), {}));
    RETURN_IF_ERROR(Append(b.get(), "b", 5000));
    RETURN_IF_ERROR(Complete(b.get(), "b"));
    ASSIGN_OR_RETURN(auto z, store->OpenFile(Open("d/e/z", 0), {}));
    RETURN_IF_ERROR(Complete(z.get(), "d/e/z"));
    // Some together, in more than one folder.
    std::vector<File> group;
    for (const char* name : {"g/1", "g/2", "d/e/3"}) {
      ASSIGN_OR_RETURN(group.emplace_back(), store->OpenFile(Open(name, 3000), {}));
      RETURN_IF_ERROR(Append(group.back().get(), name, 3000));
      stored_.try_emplace(name, false);
    }
    const auto results = store->Complete(group);
    for (const auto& result : results) {
      RETURN_IF_ERROR(result.status());
      stored_[*result] = true;
    }
    // One whose server was killed before its name was durable; the client asks again.
    RETURN_IF_ERROR(disk_->MakeFolder("k", 0777).status());
    {
      ASSIGN_OR_RETURN(auto file, disk_->OpenFile("k/seen", fs::Disk::Open::kEmpty));
      RETURN_IF_ERROR(file->WriteAt(0, AsBytes(kContents.at("k/seen"))));
      RETURN_IF_ERROR(file->SetAttributes(0640, Open("", 0).mtime_ns));
    }
    ASSIGN_OR_RETURN(auto seen, OpenReady(store.get(), Open("k/seen", 4000, true)));
    CHECK(seen->offset() == 4000);
    const auto found = seen->Complete();
    RETURN_IF_ERROR(found.status());
    stored_["k/seen"] = true;
    // Another connection takes over, and that breaks.
    ASSIGN_OR_RETURN(auto resumed, OpenReady(store.get(), Open("c", 20'000, true)));
    c.reset();
    RETURN_IF_ERROR(Append(resumed.get(), "c", 3000));
    const std::uint64_t offset = resumed->offset();
    const std::uint64_t operations = disk_->operations();
    resumed.reset();
    if (disk_->Exists("c").ok() && disk_->operations() > operations) promised_["c"] = offset;
    ASSIGN_OR_RETURN(auto classic, store->OpenClassic("classic", 5000));
    RETURN_IF_ERROR(Append(classic.get(), "classic", 5000));
    RETURN_IF_ERROR(Complete(classic.get(), "classic"));
    ASSIGN_OR_RETURN(auto last, OpenReady(store.get(), Open("c", 20'000, true)));
    RETURN_IF_ERROR(Append(last.get(), "c", 5000));
    return Complete(last.get(), "c");
  }

  SimDisk* disk_;
  PartialStore::Options options_;
  TimePoint now_ = kStart;
  std::map<std::string, std::uint64_t> promised_;  ///< resumable at least
  std::map<std::string, bool> stored_;             ///< acknowledged, or begun
  bool made_folder_ = false;
};

/// Cuts the power at every operation and looks what is left. Empty, or the first broken promise.
/// `forget`: the n-th sync of the run (from 0) does nothing. Syncs are written to `syncs`.
std::string CutEverywhere(int random_runs, std::optional<std::size_t> forget = {},
                          std::vector<std::string>* syncs = nullptr) {
  for (std::uint64_t cut = 1;; ++cut) {
    bool cut_happened = false;
    for (int survival = 0; survival < 2 + random_runs; ++survival) {
      SimDisk disk;
      Rng rng(cut * 1000 + static_cast<std::uint64_t>(survival));
      PowerLossRun run(&disk);
      run.Prepare();
      std::size_t number = 0;
      std::vector<std::string> seen;
      disk.forgotten_sync = [&](const std::string& sync) {
        seen.push_back(sync);
        return forget == number++;
      };
      disk.FailPowerAfter(cut);
      run.Run();
      cut_happened = !disk.Exists("").ok();
      disk.forgotten_sync = nullptr;
      if (syncs != nullptr) *syncs = seen;
      disk.PowerOn(survival == 0   ? SimDisk::Survival::kSynced
                   : survival == 1 ? SimDisk::Survival::kNames
                                   : SimDisk::Survival::kRandom,
                   rng);
      std::string broken = run.Check();
      if (!broken.empty()) {
        return fmt::format("{} (cut {}, survival {})", broken, cut, survival);
      }
    }
    if (!cut_happened) return "";
  }
}

TEST(PartialStorePowerLossTest, NoPromiseIsBrokenWhereverThePowerFails) {
  EXPECT_EQ(CutEverywhere(20), "");
}

TEST(PartialStorePowerLossTest, WithoutAnyOneSyncAPromiseIsBroken) {
  std::vector<std::string> syncs;
  ASSERT_EQ(CutEverywhere(0, std::nullopt, &syncs), "");
  EXPECT_GT(syncs.size(), 20U);
  for (std::size_t i = 0; i < syncs.size(); ++i) {
    EXPECT_NE(CutEverywhere(2, i), "") << "not needed: sync " << i << ", " << syncs[i];
  }
}

// --- The real disk ---

class RealStoreTest : public ::testing::Test {
 protected:
  void Open(const std::string& folder, PartialStore::Options options = {}) {
    auto disk = fs::RootedDisk::Open(folder);
    ASSERT_TRUE(disk.ok()) << disk.status();
    disk_ = std::move(*disk);
    auto store = PartialStore::Open(disk_.get(), options, kNow);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
  }

  std::unique_ptr<fs::RootedDisk> disk_;
  std::unique_ptr<PartialStore> store_;
};

TEST_F(RealStoreTest, StoresResumesAndCleans) {
  const TempDir folder;
  const std::string content = Content(20 * kMiB + 5);
  Open(folder.path());
  {
    auto file = store_->OpenFile(udp_transfer::Open("d/f", content.size()), {});
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(AsBytes(content.substr(0, 12 * kMiB)), kStart).ok());
  }
  EXPECT_EQ(std::filesystem::status(folder.path(".udp-partial")).permissions(),
            std::filesystem::perms::owner_all);
  folder.Write(".udp-partial/classic-3.tmp", "x");
  Open(folder.path());
  EXPECT_EQ(store_->removed_at_start(), 1U);
  auto file = OpenReady(store_.get(), udp_transfer::Open("d/f", content.size(), true));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->offset(), 12 * kMiB);
  ASSERT_TRUE((*file)->Append(AsBytes(content.substr(12 * kMiB)), kStart).ok());
  EXPECT_TRUE((*file)->Matches(DigestOf(content)));
  EXPECT_EQ((*file)->Complete().value(), "d/f");
  EXPECT_EQ(folder.Read("d/f"), content);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path(".udp-partial")));
}

TEST_F(RealStoreTest, ALinkOutOfTheFolderIsRefused) {
  const TempDir folder;
  const TempDir outside;
  std::filesystem::create_directory_symlink(outside.path(), folder.path("out"));
  Open(folder.path());
  const auto file = store_->OpenFile(udp_transfer::Open("out/f", 0), {});
  EXPECT_EQ(OutcomeOf(file.status()), Outcome::kRefused) << file.status();
  EXPECT_TRUE(std::filesystem::is_empty(outside.path()));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path(".udp-partial")));
}

TEST_F(RealStoreTest, WhatIsNotOursIsLeftAlone) {
  const TempDir folder;
  const TempDir outside;
  Open(folder.path());
  const std::string target = outside.Write("secret", "s");
  std::filesystem::create_symlink(target,
                                  folder.path(".udp-partial/" + std::string(32, 'a') + ".state"));
  std::filesystem::create_directory(folder.path(".udp-partial/" + std::string(32, 'b') + ".state"));
  Open(folder.path());
  EXPECT_EQ(store_->usage().waiting, 0U);
  EXPECT_EQ(outside.Read("secret"), "s");
  EXPECT_TRUE(
      std::filesystem::is_symlink(folder.path(".udp-partial/" + std::string(32, 'a') + ".state")));
}

TEST_F(RealStoreTest, LinksOfOurNamesAreLeftAlone) {
  const TempDir folder;
  const TempDir outside;
  Open(folder.path());
  const std::string target = outside.Write("secret", "s");
  for (const std::string& name : {std::string(32, 'a') + ".part", std::string("classic-1.tmp"),
                                  std::string(32, 'a') + ".state.new"}) {
    std::filesystem::create_symlink(target, folder.path(".udp-partial/" + name));
  }
  Open(folder.path());
  EXPECT_EQ(store_->removed_at_start(), 0U) << "what was there at the start";
  EXPECT_EQ(outside.Read("secret"), "s");
}

TEST_F(RealStoreTest, AHiddenFolderThatIsRemovedIsMadeAgainAndLockedAnew) {
  const TempDir folder;
  const std::string hidden = folder.path(".udp-partial");
  const std::string content = Content(3 * kMiB);
  const auto open = [&](const std::string& name, bool resume = false) {
    return OpenReady(store_.get(), udp_transfer::Open(name, content.size(), resume));
  };
  PartialStore::Options options;
  int locked = 0;
  options.lock = [&] {
    EXPECT_TRUE(std::filesystem::is_directory(hidden));
    ++locked;
    return absl::OkStatus();
  };
  Open(folder.path(), options);
  {
    auto waiting = open("waiting");
    ASSERT_TRUE((*waiting)->Append(AsBytes(content.substr(0, kMiB)), kStart).ok());
  }
  EXPECT_EQ(store_->usage().waiting, 1U);
  auto whole = open("whole");
  ASSERT_TRUE((*whole)->Append(AsBytes(content), kStart).ok());
  auto half = open("half");
  ASSERT_TRUE((*half)->Append(AsBytes(content.substr(0, kMiB)), kStart).ok());
  auto classic = store_->OpenClassic("classic", 1);
  ASSERT_TRUE((*classic)->Append(AsBytes("x"), kStart).ok());
  std::filesystem::remove_all(hidden);

  // What was under way fails once, and says why.
  for (const absl::Status& failed :
       {(*whole)->Complete().status(), (*classic)->Complete().status(),
        (*half)->Append(AsBytes(content.substr(kMiB)), kStart + seconds(5))}) {
    EXPECT_EQ(OutcomeOf(failed), Outcome::kFailed);
    EXPECT_THAT(Message(failed), HasSubstr("was removed from the server's \".udp-partial\""));
  }
  EXPECT_EQ(store_->usage().receiving, 0U);
  EXPECT_FALSE(std::filesystem::exists(hidden)) << "nobody has needed it";

  // The next ones do not notice.
  const int locked_before = std::exchange(locked, 0);
  EXPECT_GE(locked_before, 1);
  for (const char* name : {"whole", "half", "waiting"}) {
    auto file = open(name, true);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_GE(locked, 1);
    EXPECT_EQ((*file)->offset(), 0U);
    EXPECT_EQ(store_->usage().waiting, 0U);
    ASSERT_TRUE((*file)->Append(AsBytes(content), kStart).ok());
    EXPECT_EQ((*file)->Complete().value(), name);
    EXPECT_EQ(folder.Read(name), content);
  }
  EXPECT_EQ(std::filesystem::status(hidden).permissions(), std::filesystem::perms::owner_all);
}

TEST_F(RealStoreTest, NothingIsKeptOfPartsThatWentWithTheHiddenFolder) {
  const TempDir folder;
  const std::string hidden = folder.path(".udp-partial");
  const std::string content = Content(3 * kMiB);
  const auto open = [&](const std::string& name, bool resume = false) {
    return OpenReady(store_.get(), udp_transfer::Open(name, content.size(), resume));
  };
  const auto begin = [&](const std::string& name) {
    auto file = open(name);
    EXPECT_TRUE((*file)->Append(AsBytes(content.substr(0, kMiB)), kStart).ok());
    return file;
  };
  const auto hidden_files = [&] {
    return std::distance(std::filesystem::directory_iterator(hidden), {});
  };
  Open(folder.path());
  auto young = begin("young");
  auto breaks = begin("breaks");
  std::vector<absl::StatusOr<File>> old;  // with a checkpoint
  for (const char* name : {"goes on", "goes", "is taken over"}) {
    old.push_back(begin(name));
    ASSERT_TRUE((*old.back())->Append(AsBytes("x"), kStart + seconds(2)).ok());
  }
  std::filesystem::remove_all(hidden);
  auto other = open("other");  // makes it again
  ASSERT_TRUE(other.ok()) << other.status();

  for (auto* file : {&young, old.data()}) {
    const absl::Status failed = (**file)->Append(AsBytes("y"), kStart + seconds(5));
    EXPECT_EQ(OutcomeOf(failed), Outcome::kFailed);
    EXPECT_THAT(Message(failed), HasSubstr("was removed from the server's \".udp-partial\""));
  }
  breaks->reset();
  old[1]->reset();
  EXPECT_EQ(store_->usage().waiting, 0U);
  EXPECT_EQ(store_->usage().receiving, 2U);
  EXPECT_EQ(hidden_files(), 1) << "the part of the other";
  auto taken_over = open("is taken over", true);
  ASSERT_TRUE(taken_over.ok()) << taken_over.status();
  EXPECT_EQ((*taken_over)->offset(), 0U);
  EXPECT_EQ(hidden_files(), 2);
}

TEST_F(RealStoreTest, AHiddenFolderThatSomebodyElseHasIsNotUsed) {
  const TempDir folder;
  PartialStore::Options options;
  absl::Status lock;
  options.lock = [&] { return lock; };
  Open(folder.path(), options);
  lock = Error(absl::StatusCode::kFailedPrecondition, "in use by process 1");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Message(OpenReady(store_.get(), udp_transfer::Open("f", 1)).status()),
                HasSubstr("in use by process 1"));
    EXPECT_THAT(Message(store_->OpenClassic("f", 1).status()), HasSubstr("in use"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path(".udp-partial")));
  EXPECT_EQ(store_->usage().receiving, 0U);
  lock = absl::OkStatus();
  EXPECT_TRUE(OpenReady(store_.get(), udp_transfer::Open("f", 1)).ok());
}

TEST_F(RealStoreTest, ALinkInPlaceOfTheHiddenFolderLeadsNowhere) {
  const TempDir folder;
  const TempDir outside;
  const std::string hidden = folder.path(".udp-partial");
  Open(folder.path());
  std::filesystem::remove_all(hidden);
  for (const std::string& target : {outside.path(), outside.path("missing")}) {
    std::filesystem::create_directory_symlink(target, hidden);
    EXPECT_EQ(OutcomeOf(OpenReady(store_.get(), udp_transfer::Open("f", 1)).status()),
              Outcome::kRefused);
    EXPECT_FALSE(store_->OpenClassic("f", 1).ok());
    std::filesystem::remove(hidden);
  }
  EXPECT_TRUE(std::filesystem::is_empty(outside.path()));
  EXPECT_TRUE(OpenReady(store_.get(), udp_transfer::Open("f", 1)).ok()) << "it has recovered";
}

TEST_F(RealStoreTest, OnlyAFileIsTakenForOneThatIsComplete) {
  const TempDir folder;
  Open(folder.path());
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("target", folder.path("link").c_str()), 0);
  folder.Write("target", "");
  for (const char* name : {"pipe", "link", "target"}) {
    const timespec times[2] = {{0, UTIME_OMIT}, {1'234'567'890, 123'456'789}};
    ASSERT_EQ(::utimensat(AT_FDCWD, folder.path(name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  for (const char* name : {"pipe", "link", "target"}) {
    auto file = OpenReady(store_.get(), udp_transfer::Open(name, 0, true));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(store_->usage().receiving, std::string(name) == "target" ? 0U : 1U) << name;
  }
}

TEST_F(RealStoreTest, ManyConnectionsMayWantTheSameFile) {
  const TempDir folder;
  PartialStore::Options options;
  options.sync = false;  // it is about threads
  Open(folder.path(), options);
  const std::string content = Content(300'000);
  std::atomic<int> stored = 0;
  std::atomic<int> taken_over = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 20; ++i) {
          // One of their own in between.
          const std::string name = i % 4 == t ? fmt::format("own-{}", t) : "common";
          auto file = OpenReady(store_.get(), udp_transfer::Open(name, content.size(), i % 2 == 0));
          absl::Status status = file.status();
          while (status.ok() && (*file)->offset() < content.size()) {
            status = (*file)->Append(AsBytes(content.substr((*file)->offset(), 10'000)), kStart);
          }
          if (status.ok()) status = (*file)->Complete().status();
          if (status.ok()) {
            ++stored;
          } else {
            EXPECT_TRUE(absl::IsAborted(status)) << status;
            ++taken_over;
          }
        }
      });
    }
  }
  EXPECT_GT(stored, 0);
  EXPECT_EQ(stored + taken_over, 80);
  EXPECT_EQ(folder.Read("common"), content);
  EXPECT_EQ(store_->usage().receiving, 0U);
}

/// Run by the test below, where DS_SMALL_FOLDER is a file system of 2 MiB.
TEST_F(RealStoreTest, DISABLED_OnAFullFileSystem) {
  const char* const given = std::getenv("DS_SMALL_FOLDER");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(given, nullptr);
  const std::string folder = given;
  Open(folder);
  // More than there is at all: refused before anything is sent.
  const auto huge = store_->OpenFile(udp_transfer::Open("huge", 4 * kMiB), {});
  EXPECT_TRUE(absl::IsResourceExhausted(huge.status())) << huge.status();
  // Two that fit each, but not both.
  const std::string content = Content(1500 * 1024);
  auto first = store_->OpenFile(udp_transfer::Open("first", content.size()), {});
  auto second = store_->OpenClassic("second", content.size());
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  ASSERT_TRUE((*first)->Append(AsBytes(content.substr(0, kMiB)), kStart).ok());
  const absl::Status full = (*second)->Append(AsBytes(content), kStart);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(Message(full), HasSubstr("No space left on device"));
  // It has made room again, and the other one ends well.
  ASSERT_TRUE((*first)->Append(AsBytes(content.substr(kMiB)), kStart).ok());
  ASSERT_TRUE((*first)->Complete().ok());
  // A transfer of fast mode that meets a full disk leaves nothing either.
  auto third = store_->OpenFile(udp_transfer::Open("third", 400 * 1024), {});
  ASSERT_TRUE(third.ok()) << third.status();
  std::filesystem::resize_file(folder + "/first", 0);
  {
    auto filler = disk_->OpenFile("filler", fs::Disk::Open::kEmpty);
    absl::Status status;
    for (std::uint64_t at = 0; status.ok(); at += 4096) {
      status = (*filler)->WriteAt(at, AsBytes(content.substr(0, 4096)));
    }
  }
  EXPECT_TRUE(
      absl::IsResourceExhausted((*third)->Append(AsBytes(content.substr(0, 8192)), kStart)));
  EXPECT_TRUE(std::filesystem::is_empty(folder + "/.udp-partial"));
  EXPECT_EQ(store_->usage().bytes, 0U);
}

/// Run by the test below, where DS_MOUNT is a folder in which "m" is another file system.
TEST_F(RealStoreTest, DISABLED_BesideAMount) {
  const char* const folder = std::getenv("DS_MOUNT");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(folder, nullptr);
  Open(folder);
  for (const char* name : {"m/f", "m/d/f"}) {
    const auto file = store_->OpenFile(udp_transfer::Open(name, 1), {});
    EXPECT_TRUE(absl::IsPermissionDenied(file.status())) << file.status();
  }
  EXPECT_TRUE(store_->OpenFile(udp_transfer::Open("f", 1), {}).ok());
}

TEST(MountTest, ANameOnAnotherFileSystemIsRefusedBeforeItsContentIsSent) {
  const TempDir folder;
  const std::string script =
      "mkdir \"$2/m\" && mount -t tmpfs tmpfs \"$2/m\" || exit 99\n"
      "DS_MOUNT=\"$2\" exec \"$1\" --gtest_also_run_disabled_tests "
      "--gtest_filter='*DISABLED_BesideAMount'";
  const auto result = ::ds::testing::RunTool(
      "unshare", {"-Urm", "sh", "-c", script, "sh",
                  std::filesystem::read_symlink("/proc/self/exe").string(), folder.path()});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("[  PASSED  ] 1 test"));
}

TEST(SmallFileSystemTest, AFullFileSystemIsAFailureThatLeavesNothingBehind) {
  const TempDir folder;
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
}  // namespace ds::udp_transfer
