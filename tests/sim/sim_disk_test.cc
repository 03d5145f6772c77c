#include "tests/sim/sim_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ds::sim
