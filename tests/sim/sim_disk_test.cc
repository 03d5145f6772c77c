#include "tests/sim/sim_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <span>
#include <string>
#include <string_view>

namespace ds::sim {
namespace {

using ::testing::ElementsAre;
using Open = fs::Disk::Open;
using Target = fs::Disk::Target;
using What = fs::DiskFile::What;

/// A file with this content; synced or not.
void Write(SimDisk* disk, const std::string& name, std::string_view content, bool sync) {
  auto file = disk->OpenFile(name, Open::kEmpty);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(0, std::as_bytes(std::span(content))).ok());
  if (sync) {
    ASSERT_TRUE((*file)->Sync(What::kContent).ok());
  }
}

TEST(SimDiskTest, WhatIsNotSyncedIsLostWithThePower) {
  Rng rng(1);
  for (const bool content : {false, true}) {
    for (const bool name : {false, true}) {
      SimDisk disk;
      Write(&disk, "f", "content", content);
      if (name) {
        ASSERT_TRUE(disk.SyncFolder("").ok());
      }
      EXPECT_EQ(disk.Read("f"), "content");
      disk.PowerOn(SimDisk::Survival::kSynced, rng);
      if (!name) {
        EXPECT_EQ(disk.Read("f"), std::nullopt);
      } else {
        EXPECT_EQ(disk.Read("f"), content ? "content" : "");
      }
    }
  }
}

TEST(SimDiskTest, ARenameIsAtomicHoweverItSurvives) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    SimDisk disk;
    ASSERT_TRUE(disk.MakeFolder("d", 0777).ok());
    Write(&disk, "f", "new", true);
    Write(&disk, "d/f", "old", true);
    ASSERT_TRUE(disk.SyncFolder("").ok());
    ASSERT_TRUE(disk.SyncFolder("d").ok());
    ASSERT_TRUE(disk.Rename("f", "d/f", Target::kReplace).ok());
    const bool synced = rng.Bernoulli(0.3);
    if (synced) {
      ASSERT_TRUE(disk.SyncFolder("d").ok());
    }
    disk.PowerOn(SimDisk::Survival::kRandom, rng);
    const bool renamed = disk.Read("d/f") == "new";
    EXPECT_EQ(disk.Read("d/f"), renamed ? "new" : "old");
    EXPECT_EQ(disk.Read("f").has_value(), !renamed);
    EXPECT_TRUE(renamed || !synced);
  }
}

TEST(SimDiskTest, WhatIsInAFolderIsLostWithItsName) {
  Rng rng(1);
  SimDisk disk;
  ASSERT_TRUE(disk.MakeFolder("d", 0777).ok());
  Write(&disk, "d/f", "content", true);
  ASSERT_TRUE(disk.SyncFolder("d").ok());
  disk.PowerOn(SimDisk::Survival::kSynced, rng);
  EXPECT_THAT(disk.Names(), ElementsAre());
}

TEST(SimDiskTest, AttributesNeedASyncOfAll) {
  Rng rng(1);
  for (const What what : {What::kContent, What::kAll}) {
    SimDisk disk;
    Write(&disk, "f", "content", false);
    auto file = disk.OpenFile("f", Open::kExisting);
    ASSERT_TRUE((*file)->SetAttributes(0600, 5).ok());
    ASSERT_TRUE((*file)->Sync(what).ok());
    ASSERT_TRUE(disk.SyncFolder("").ok());
    disk.PowerOn(SimDisk::Survival::kSynced, rng);
    EXPECT_EQ(disk.Read("f"), "content");
    EXPECT_EQ(disk.ModeOf("f"), what == What::kAll ? 0600U : 0666U);
  }
}

TEST(SimDiskTest, NamesMaySurviveWithoutTheirContent) {
  Rng rng(1);
  SimDisk disk;
  Write(&disk, "f", "content", false);
  disk.PowerOn(SimDisk::Survival::kNames, rng);
  EXPECT_EQ(disk.Read("f"), "");
}

TEST(SimDiskTest, PagesOfWhatIsNotSyncedSurviveEachByItself) {
  Rng rng(1);
  bool mixed = false;
  for (int run = 0; run < 50; ++run) {
    SimDisk disk;
    Write(&disk, "f", std::string(8192, 'o'), true);
    ASSERT_TRUE(disk.SyncFolder("").ok());
    auto file = disk.OpenFile("f", Open::kExisting);
    const std::string fresh(8192, 'n');
    ASSERT_TRUE((*file)->WriteAt(0, std::as_bytes(std::span(fresh))).ok());
    disk.PowerOn(SimDisk::Survival::kRandom, rng);
    const std::string content = *disk.Read("f");
    ASSERT_EQ(content.size(), 8192U);
    mixed |= content[0] != content[8191];
  }
  EXPECT_TRUE(mixed);
}

TEST(SimDiskTest, WithoutPowerNothingIsDone) {
  Rng rng(1);
  SimDisk disk;
  Write(&disk, "a", "content", true);  // three operations
  ASSERT_TRUE(disk.SyncFolder("").ok());
  EXPECT_EQ(disk.operations(), 4U);
  auto file = disk.OpenFile("a", Open::kExisting);
  disk.FailPowerAfter(2);
  EXPECT_TRUE(disk.MakeFolder("d", 0777).ok());
  EXPECT_TRUE(absl::IsUnavailable(disk.SyncFolder("")));
  EXPECT_TRUE(absl::IsUnavailable((*file)->Truncate(0)));
  EXPECT_TRUE(absl::IsUnavailable(disk.List("").status()));
  disk.PowerOn(SimDisk::Survival::kSynced, rng);
  EXPECT_THAT(disk.Names(), ElementsAre("a"));
  EXPECT_EQ(disk.Read("a"), "content");
  EXPECT_TRUE(absl::IsUnavailable((*file)->Truncate(0))) << "opened before";
}

/// Writes `content` at `offset` of an open file.
absl::Status WriteAt(fs::DiskFile& file, std::uint64_t offset, std::string_view content) {
  return file.WriteAt(offset, std::as_bytes(std::span(content)));
}

TEST(SimDiskTest, WhatWasAppendedIsTornAnywhere) {
  std::set<std::size_t> sizes;
  std::uint64_t torn = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    SimDisk disk;
    Write(&disk, "f", std::string(1000, 'o'), true);
    ASSERT_TRUE(disk.SyncFolder("").ok());
    auto file = disk.OpenFile("f", Open::kExisting);
    ASSERT_TRUE(WriteAt(**file, 1000, std::string(100, 'n')).ok());
    disk.PowerOn(SimDisk::Survival::kTorn, rng);
    const std::string content = *disk.Read("f");
    EXPECT_EQ(content.substr(0, 1000), std::string(1000, 'o')) << "what was synced stays";
    const std::string tail = content.substr(1000);
    EXPECT_LE(tail.size(), 100U);
    sizes.insert(tail.size());
    torn += disk.torn();
    const bool expected = !tail.empty() && tail != std::string(100, 'n');
    EXPECT_EQ(disk.torn(), expected ? 1U : 0U);
  }
  EXPECT_GT(sizes.size(), 50U);
  EXPECT_GT(torn, 100U);
}

TEST(SimDiskTest, PagesThatAreMixedCountAsTorn) {
  Rng rng(1);
  std::uint64_t torn = 0;
  for (int run = 0; run < 50; ++run) {
    SimDisk disk;
    Write(&disk, "f", std::string(8192, 'o'), true);
    ASSERT_TRUE(disk.SyncFolder("").ok());
    auto file = disk.OpenFile("f", Open::kExisting);
    ASSERT_TRUE(WriteAt(**file, 0, std::string(8192, 'n')).ok());
    disk.PowerOn(SimDisk::Survival::kRandom, rng);
    const std::string content = *disk.Read("f");
    EXPECT_EQ(disk.torn(), content[0] != content[8191] ? 1U : 0U);
    torn += disk.torn();
  }
  EXPECT_GT(torn, 0U);
}

TEST(SimDiskTest, TheNthSyncFails) {
  SimDisk disk;
  disk.FailSync(3);
  Write(&disk, "f", "content", true);
  EXPECT_TRUE(disk.SyncFolder("").ok());
  auto file = disk.OpenFile("f", Open::kExisting);
  EXPECT_TRUE(absl::IsDataLoss((*file)->Sync(What::kAll)));
  EXPECT_EQ(disk.failed_syncs(), 1U);
  EXPECT_TRUE((*file)->Sync(What::kAll).ok()) << "told once";
  disk.FailSync(1);
  EXPECT_TRUE(absl::IsDataLoss(disk.SyncFolder("")));
}

TEST(SimDiskTest, ALaterSyncDoesNotSaveWhatAFailedOneGaveUp) {
  Rng rng(1);
  for (const bool again : {false, true}) {
    SimDisk disk;
    Write(&disk, "f", std::string(8192, 'o'), true);
    ASSERT_TRUE(disk.SyncFolder("").ok());
    auto file = disk.OpenFile("f", Open::kExisting);
    ASSERT_TRUE(WriteAt(**file, 4096, std::string(8192, 'n')).ok());
    disk.FailSync(1);
    EXPECT_TRUE(absl::IsDataLoss((*file)->Sync(What::kContent)));
    EXPECT_EQ(disk.Read("f")->substr(4096), std::string(8192, 'n')) << "read as before";
    if (again) {
      ASSERT_TRUE(WriteAt(**file, 4096, std::string(4096, 'a')).ok());
    }
    EXPECT_TRUE((*file)->Sync(What::kContent).ok());
    disk.PowerOn(SimDisk::Survival::kSynced, rng);
    EXPECT_EQ(disk.Read("f"), std::string(4096, 'o') + std::string(4096, again ? 'a' : 'o') +
                                  std::string(4096, '\0'));
  }
}

TEST(SimDiskTest, AFullDiskTakesThePartThatFits) {
  SimDisk disk;
  disk.capacity_bytes = 10;
  Write(&disk, "a", "1234", false);
  EXPECT_EQ(*disk.FreeBytes(), 6U);
  auto file = disk.OpenFile("b", Open::kEmpty);
  ASSERT_TRUE(WriteAt(**file, 0, "abc").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(WriteAt(**file, 1, "bcdefgh")));
  EXPECT_EQ(disk.Read("b"), "abcdef");
  EXPECT_EQ(*disk.FreeBytes(), 0U);
  EXPECT_TRUE(absl::IsResourceExhausted(WriteAt(**file, 8, "x")));
  EXPECT_EQ(disk.Read("b"), "abcdef") << "no hole without a byte behind it";
  EXPECT_TRUE(WriteAt(**file, 0, "ABCDEF").ok()) << "what is there can be overwritten";
  ASSERT_TRUE(disk.Remove("a").ok());
  EXPECT_TRUE(WriteAt(**file, 6, "gh").ok());
  disk.capacity_bytes.reset();
  EXPECT_TRUE(WriteAt(**file, 8, "and more").ok());
}

}  // namespace
}  // namespace ds::sim
