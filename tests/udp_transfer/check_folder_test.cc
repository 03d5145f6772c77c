#include "udp_transfer/server/check_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "common/fs/file_lock.h"
#include "common/fs/rooted_disk.h"
#include "tests/harness/temp_dir.h"
#include "tests/udp_transfer/hex.h"
#include "udp_transfer/server/partial_store.h"

namespace ds::udp_transfer {
namespace {

using ::ds::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

/// Leaves 2'500'000 of 3'000'000 bytes of "d/f"; its part's name without ending.
std::string LeavePartial(const TempDir& folder) {
  auto disk = fs::RootedDisk::Open(folder.path());
  auto store = PartialStore::Open(disk->get(), {}, 1'000'000'000);
  EXPECT_TRUE(store.ok()) << store.status();
  OpenMessage open;
  open.name = "d/f";
  open.size = 3'000'000;
  auto file = (*store)->OpenFile(open, {});
  EXPECT_TRUE((*file)->Append(AsBytes(std::string(2'500'000, 'x')), TimePoint()).ok());
  file->reset();
  for (const auto& entry : std::filesystem::directory_iterator(folder.path(".udp-partial"))) {
    if (entry.path().extension() == ".part") return entry.path().stem().string();
  }
  ADD_FAILURE() << "no partial file";
  return "";
}

TEST(CheckFolderTest, AFolderThatNoServerHasUsedIsInOrderAndStaysSo) {
  const TempDir folder;
  const auto report = CheckFolder(folder.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->lines, IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_FALSE(CheckFolder(folder.path("none")).ok());
}

TEST(CheckFolderTest, EachUnfinishedFileHasItsLineAndIsLeftAlone) {
  const TempDir folder;
  const std::string key = LeavePartial(folder);
  const std::string part = ".udp-partial/" + key + ".part";
  const std::string content = folder.Read(part);
  folder.Write(part, content + "what came after the last checkpoint");
  folder.Write(".udp-partial/classic-0.tmp", "x");
  const auto report = CheckFolder(folder.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->damaged, 0U);
  EXPECT_THAT(report->lines, UnorderedElementsAre(AllOf(HasSubstr(key + " ok: 2500000 of 3000000"),
                                                        EndsWith("\"d/f\"")),
                                                  HasSubstr("classic-0.tmp left over")));
  EXPECT_TRUE(std::filesystem::exists(folder.path(".udp-partial/classic-0.tmp")));
}

TEST(CheckFolderTest, DamageIsFoundWhereverItIs) {
  const auto lines_after = [](const char* ending, void (*change)(std::string*)) {
    const TempDir folder;
    const std::string path = ".udp-partial/" + LeavePartial(folder) + ending;
    std::string bytes = folder.Read(path);
    change(&bytes);
    folder.Write(path, bytes);
    const auto report = CheckFolder(folder.path());
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->damaged, 1U);
    EXPECT_EQ(folder.Read(path), bytes);
    return report->lines;
  };
  EXPECT_THAT(lines_after(".part", [](std::string* bytes) { bytes->at(2'400'000) ^= 1; }),
              ElementsAre(HasSubstr("damaged: its durable bytes have another digest")));
  EXPECT_THAT(lines_after(".part", [](std::string* bytes) { bytes->resize(1'500'000); }),
              ElementsAre(HasSubstr("only 1500000 of 2500000")));
  EXPECT_THAT(lines_after(".state", [](std::string* bytes) { bytes->at(20) ^= 1; }),
              ElementsAre(HasSubstr("wrong checksum")));
  EXPECT_THAT(lines_after(".state", [](std::string* bytes) { ++bytes->at(8); }),
              ElementsAre(HasSubstr("newer version")));
}

TEST(CheckFolderTest, AFolderThatAServerHoldsIsRefused) {
  const TempDir folder;
  LeavePartial(folder);
  const auto disk = fs::RootedDisk::Open(folder.path());
  ASSERT_TRUE(disk.ok()) << disk.status();
  const auto lock = fs::FolderLock::Acquire((*disk)->root(), ".udp-partial");
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckFolder(folder.path()).status()));
}

}  // namespace
}  // namespace ds::udp_transfer
