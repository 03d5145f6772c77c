#include "common/fs/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Durability = AtomicFile::Durability;

class AtomicFileTest : public ::testing::TestWithParam<Durability> {
 protected:
  AtomicFileTest() : folder_fd_(::open(folder_.path().c_str(), O_PATH | O_CLOEXEC)) {}

  AtomicFile Create(const std::string& name) const {
    auto file = AtomicFile::Create(folder_fd_.get(), name);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  /// Every name in the folder, hidden ones too.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  /// Without O_TMPFILE a file is written under a temporary name of its own, and the one that others
  /// take for a replacement plays no part. These tests are run both ways.
  bool HasTmpfile() const {
    return UniqueFd(::open(folder_.path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600))
        .
        operator bool();
  }

  testing::TempDir folder_;
  UniqueFd folder_fd_;
};

TEST_P(AtomicFileTest, FileAppearsWithCommitAndNotBefore) {
  AtomicFile file = Create("name");
  ASSERT_TRUE(file.Write("one ").ok());
  ASSERT_TRUE(file.Write("two").ok());
  EXPECT_FALSE(folder_.Exists("name"));
  ASSERT_TRUE(file.Commit(GetParam()).ok());
  EXPECT_EQ(folder_.Read("name"), "one two");
  EXPECT_THAT(Names(), ElementsAre("name"));
}

TEST_P(AtomicFileTest, OnlyWithoutTmpfileThereIsAHiddenNameMeanwhile) {
  AtomicFile file = Create("name");
  ASSERT_TRUE(file.Write("text").ok());
  const auto hidden = ::testing::StartsWith(".tmp-");
  if (HasTmpfile()) {
    EXPECT_THAT(Names(), IsEmpty());
  } else {
    EXPECT_THAT(Names(), ElementsAre(hidden));
  }
  ASSERT_TRUE(file.Commit(GetParam()).ok());
  EXPECT_THAT(Names(), ElementsAre("name"));
}

TEST_P(AtomicFileTest, NothingRemainsWithoutCommit) {
  {
    AtomicFile file = Create("name");
    ASSERT_TRUE(file.Write("text").ok());
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_P(AtomicFileTest, OlderFileIsReplacedAtCommit) {
  folder_.Write("name", "an older and longer text");
  AtomicFile file = Create("name");
  ASSERT_TRUE(file.Write("new").ok());
  EXPECT_EQ(folder_.Read("name"), "an older and longer text");
  ASSERT_TRUE(file.Commit(GetParam()).ok());
  EXPECT_EQ(folder_.Read("name"), "new");
  EXPECT_THAT(Names(), ElementsAre("name"));
}

TEST_P(AtomicFileTest, NamesLeftByACrashDoNotStandInTheWay) {
  folder_.Write("name", "old");
  for (int i = 0; i < 50; ++i) {
    folder_.Write(".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(i), "stale");
  }
  // What a crash between link and rename leaves.
  const std::string hash = fmt::format("{:016x}", std::hash<std::string>{}("name"));
  folder_.Write(".name." + hash + ".tmp", "stale");
  AtomicFile first = Create("name");
  ASSERT_TRUE(first.Write("new").ok());
  ASSERT_TRUE(first.Commit(GetParam()).ok());
  EXPECT_EQ(folder_.Read("name"), "new");
  EXPECT_EQ(folder_.Exists(".name." + hash + ".tmp"), !HasTmpfile()) << "cleaned up on the way";
}

TEST_P(AtomicFileTest, OlderFileStaysWithoutCommit) {
  folder_.Write("name", "old");
  {
    AtomicFile file = Create("name");
    ASSERT_TRUE(file.Write("new").ok());
  }
  EXPECT_EQ(folder_.Read("name"), "old");
  EXPECT_THAT(Names(), ElementsAre("name"));
}

TEST_P(AtomicFileTest, SymlinkIsReplacedAndItsTargetLeftAlone) {
  folder_.Write("target", "target");
  ASSERT_EQ(::symlink("target", folder_.path("name").c_str()), 0);
  AtomicFile file = Create("name");
  ASSERT_TRUE(file.Write("new").ok());
  ASSERT_TRUE(file.Commit(GetParam()).ok());
  EXPECT_EQ(folder_.Read("name"), "new");
  EXPECT_EQ(folder_.Read("target"), "target");
}

TEST_P(AtomicFileTest, FolderUnderTheNameIsAnErrorAndLeavesNothing) {
  ASSERT_EQ(::mkdir(folder_.path("name").c_str(), 0755), 0);
  {
    AtomicFile file = Create("name");
    ASSERT_TRUE(file.Write("new").ok());
    const absl::Status status = file.Commit(GetParam());
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(Message(status), HasSubstr("\"name\""));
  }
  EXPECT_THAT(Names(), ElementsAre("name"));
}

TEST_P(AtomicFileTest, ConcurrentWritersLeaveOneWholeFile) {
  constexpr int kWriters = 8;
  constexpr int kRounds = 20;
  {
    std::vector<std::jthread> writers;
    writers.reserve(kWriters);
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([this, i] {
        const std::string text(10'000, static_cast<char>('a' + i));
        for (int round = 0; round < kRounds; ++round) {
          AtomicFile file = Create("name");
          EXPECT_TRUE(file.Write(text).ok());
          EXPECT_TRUE(file.Commit(GetParam()).ok());
        }
      });
    }
  }
  EXPECT_THAT(Names(), ElementsAre("name"));
  const std::string text = folder_.Read("name");
  EXPECT_EQ(text, std::string(10'000, text.front()));
}

INSTANTIATE_TEST_SUITE_P(Durabilities, AtomicFileTest,
                         ::testing::Values(Durability::kCached, Durability::kSynced),
                         [](const auto& durability) {
                           return durability.param == Durability::kCached ? "Cached" : "Synced";
                         });

TEST_F(AtomicFileTest, ModeIsThatAskedForLessTheUmask) {
  const mode_t umask_before = ::umask(027);
  auto file = AtomicFile::Create(folder_fd_.get(), "name", 0666);
  ::umask(umask_before);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Commit(Durability::kCached).ok());
  struct stat info {};
  ASSERT_EQ(::stat(folder_.path("name").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0640U);
}

TEST_F(AtomicFileTest, MovedFileIsCommittedOnce) {
  AtomicFile first = Create("name");
  ASSERT_TRUE(first.Write("text").ok());
  AtomicFile second(std::move(first));
  ASSERT_TRUE(second.Commit(Durability::kCached).ok());
  EXPECT_EQ(folder_.Read("name"), "text");
}

TEST_F(AtomicFileTest, FolderThatIsGoneIsAnError) {
  ASSERT_EQ(::rmdir(folder_.path().c_str()), 0);
  EXPECT_FALSE(AtomicFile::Create(folder_fd_.get(), "name").ok());
}

}  // namespace
}  // namespace ds::fs
