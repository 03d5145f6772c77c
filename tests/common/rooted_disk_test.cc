#include "common/fs/rooted_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::ds::testing::TempDir;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class RootedDiskTest : public ::testing::Test {
 protected:
  RootedDiskTest() {
    auto disk = RootedDisk::Open(folder_.path());
    EXPECT_TRUE(disk.ok()) << disk.status();
    disk_ = std::move(*disk);
  }

  std::unique_ptr<DiskFile> Open(const std::string& name, Disk::Open open) {
    auto file = disk_->OpenFile(name, open);
    EXPECT_TRUE(file.ok()) << file.status();
    return std::move(*file);
  }

  TempDir folder_;
  std::unique_ptr<RootedDisk> disk_;
};

TEST_F(RootedDiskTest, AFileIsReadAsItWasWritten) {
  auto file = Open("f", Disk::Open::kEmpty);
  ASSERT_TRUE(file->WriteAt(0, Bytes("0123456789")).ok());
  ASSERT_TRUE(file->WriteAt(3, Bytes("abc")).ok());
  file->StartWriteOut(0, 10);
  EXPECT_TRUE(file->Sync(DiskFile::What::kContent).ok());
  EXPECT_TRUE(file->Sync(DiskFile::What::kAll).ok());
  EXPECT_EQ(file->Size().value(), 10U);
  std::string read(20, '\0');
  EXPECT_EQ(file->ReadAt(2, std::as_writable_bytes(std::span(read))).value(), 8U);
  EXPECT_EQ(read.substr(0, 8), "2abc6789");
  ASSERT_TRUE(file->Truncate(4).ok());
  EXPECT_EQ(folder_.Read("f"), "012a");
  EXPECT_EQ(Open("f", Disk::Open::kExisting)->Size().value(), 4U);
  EXPECT_EQ(Open("f", Disk::Open::kEmpty)->Size().value(), 0U);
  EXPECT_TRUE(absl::IsNotFound(disk_->OpenFile("g", Disk::Open::kExisting).status()));
}

TEST_F(RootedDiskTest, AttributesAreSetToTheNanosecondAlsoBefore1970) {
  auto file = Open("f", Disk::Open::kEmpty);
  for (const std::int64_t mtime_ns : {std::int64_t{1'600'000'000'123'456'789}, std::int64_t{-1}}) {
    ASSERT_TRUE(file->SetAttributes(0640, mtime_ns).ok());
    struct stat info {};
    ASSERT_EQ(::stat(folder_.path("f").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0640U);
    EXPECT_EQ(info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec, mtime_ns);
  }
}

TEST_F(RootedDiskTest, ARenameReplacesOrKeepsWhatIsThere) {
  folder_.Write("a", "a");
  folder_.Write("d/b", "b");
  EXPECT_TRUE(absl::IsAlreadyExists(disk_->Rename("a", "d/b", Disk::Target::kKeep)));
  EXPECT_EQ(folder_.Read("d/b"), "b");
  ASSERT_TRUE(disk_->Rename("a", "d/b", Disk::Target::kReplace).ok());
  EXPECT_EQ(folder_.Read("d/b"), "a");
  EXPECT_FALSE(folder_.Exists("a"));
  ASSERT_TRUE(disk_->Rename("d/b", "c", Disk::Target::kKeep).ok());
  EXPECT_EQ(folder_.Read("c"), "a");
  EXPECT_TRUE(absl::IsFailedPrecondition(disk_->Rename("c", "d", Disk::Target::kReplace)));
  EXPECT_TRUE(absl::IsNotFound(disk_->Rename("none", "x", Disk::Target::kReplace)));
}

TEST_F(RootedDiskTest, FoldersAreMadeListedAndSynced) {
  EXPECT_TRUE(disk_->MakeFolder("d", 0700).value());
  EXPECT_FALSE(disk_->MakeFolder("d", 0700).value());
  EXPECT_TRUE(disk_->MakeFolder("d/e", 0700).value());
  folder_.Write("d/f", "abc");
  EXPECT_TRUE(absl::IsFailedPrecondition(disk_->MakeFolder("d/f", 0700).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(disk_->MakeFolder("d/f/g", 0700).status()));
  EXPECT_TRUE(disk_->SyncFolder("").ok());
  EXPECT_TRUE(disk_->SyncFolder("d").ok());
  const auto entries = disk_->List("d");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].name, "e");
  EXPECT_TRUE((*entries)[0].folder);
  EXPECT_EQ((*entries)[1].name, "f");
  EXPECT_EQ((*entries)[1].bytes, 3U);
  EXPECT_GT((*entries)[1].modified_unix_s, 1'500'000'000);
  EXPECT_TRUE(disk_->Exists("d/f").value());
  EXPECT_TRUE(disk_->Remove("d/f").ok());
  EXPECT_FALSE(disk_->Exists("d/f").value());
  EXPECT_TRUE(absl::IsNotFound(disk_->Remove("d/f")));
  EXPECT_GT(disk_->FreeBytes().value(), 0U);
}

TEST_F(RootedDiskTest, NoNameLeadsOutOfIt) {
  const TempDir outside;
  outside.Write("f", "outside");
  ASSERT_EQ(::symlink(outside.path().c_str(), folder_.path("out").c_str()), 0);
  folder_.Write("mine", "mine");
  for (const std::string prefix : {"out/", "../", "mine/../../"}) {
    const std::string name = prefix + "f";
    EXPECT_FALSE(disk_->OpenFile(name, Disk::Open::kEmpty).ok()) << name;
    EXPECT_FALSE(disk_->Rename("mine", name, Disk::Target::kReplace).ok()) << name;
    EXPECT_FALSE(disk_->Rename(name, "stolen", Disk::Target::kReplace).ok()) << name;
    EXPECT_FALSE(disk_->Remove(name).ok()) << name;
    EXPECT_FALSE(disk_->MakeFolder(prefix + "d", 0777).ok()) << name;
    EXPECT_FALSE(disk_->Exists(name).ok()) << name;
  }
  EXPECT_TRUE(absl::IsPermissionDenied(disk_->Rename("mine", "out/f", Disk::Target::kReplace)));
  EXPECT_EQ(outside.Read("f"), "outside");
  EXPECT_EQ(folder_.Read("mine"), "mine");
}

TEST_F(RootedDiskTest, ALinkAtTheEndOfANameIsReplacedNotFollowed) {
  const TempDir outside;
  const std::string target = outside.Write("f", "outside");
  folder_.Write("mine", "mine");
  ASSERT_EQ(::symlink(target.c_str(), folder_.path("link").c_str()), 0);
  EXPECT_FALSE(disk_->OpenFile("link", Disk::Open::kEmpty).ok());
  ASSERT_TRUE(disk_->Rename("mine", "link", Disk::Target::kReplace).ok());
  EXPECT_EQ(folder_.Read("link"), "mine");
  EXPECT_EQ(outside.Read("f"), "outside");
}

TEST_F(RootedDiskTest, AProcessWithoutDescriptorsIsNotAFullDisk) {
  folder_.Write("f", "content");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status opened = disk_->OpenFile("f", Disk::Open::kExisting).status();
  const absl::Status created = disk_->OpenFile("g", Disk::Open::kEmpty).status();
  const absl::Status synced = disk_->SyncFolder("");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(absl::IsUnavailable(opened)) << opened;
  EXPECT_TRUE(absl::IsUnavailable(created)) << created;
  EXPECT_TRUE(absl::IsUnavailable(synced)) << synced;
}

}  // namespace
}  // namespace ds::fs
