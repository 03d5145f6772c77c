#include "common/fs/file_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::testing::HasSubstr;

TEST(FileLockTest, SecondDescriptorIsRefused) {
  const testing::TempDir folder;
  const std::string path = folder.Write("file", "");
  UniqueFd first(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const UniqueFd second(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(LockFile(first.get(), "file").ok());
  const absl::Status refused = LockFile(second.get(), "file");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(refused), HasSubstr("\"file\""));
  first.Reset();
  EXPECT_TRUE(LockFile(second.get(), "file").ok());
}

TEST(FileLockTest, BadDescriptorIsAnotherError) {
  const absl::Status status = LockFile(-1, "file");
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.code(), absl::StatusCode::kFailedPrecondition);
}

class FolderLockTest : public ::testing::Test {
 protected:
  FolderLockTest() {
    std::filesystem::create_directory(data_);
    auto root = RootedDir::Open(folder_.path());
    EXPECT_TRUE(root.ok()) << root.status();
    root_.emplace(*std::move(root));
  }
  absl::StatusOr<FolderLock> Acquire() const { return FolderLock::Acquire(*root_, "data"); }
  absl::StatusOr<FolderLock> AcquireToRead() const {
    return FolderLock::AcquireToRead(*root_, "data");
  }

  const testing::TempDir folder_;
  const std::string data_ = folder_.path("data");
  std::optional<RootedDir> root_;
};

TEST_F(FolderLockTest, SecondHolderIsToldThePidOfTheFirst) {
  const auto first = Acquire();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(folder_.Read("data/LOCK"), std::to_string(::getpid()) + "\n");
  const auto second = Acquire();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(second.status()), HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_THAT(Message(second.status()), HasSubstr("\"data\""));
}

TEST_F(FolderLockTest, AReaderIsToldOfTheHolderAndLeavesNothing) {
  EXPECT_TRUE(AcquireToRead().ok());
  EXPECT_FALSE(folder_.Exists("data/LOCK"));
  {
    const auto holder = Acquire();
    ASSERT_TRUE(holder.ok()) << holder.status();
    const auto reader = AcquireToRead();
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(reader.status()), HasSubstr("process " + std::to_string(::getpid())));
  }
  folder_.Write("data/LOCK", "7\n");
  const auto reader = AcquireToRead();
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(folder_.Read("data/LOCK"), "7\n");
  EXPECT_FALSE(Acquire().ok());
}

TEST_F(FolderLockTest, AFolderThatIsRemovedTakesItsLockWithIt) {
  const auto first = Acquire();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->InPlace(*root_));
  std::filesystem::remove_all(data_);
  EXPECT_FALSE(first->InPlace(*root_));
  std::filesystem::create_directory(data_);
  EXPECT_FALSE(first->InPlace(*root_));
  const auto second = Acquire();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->InPlace(*root_));
  EXPECT_FALSE(first->InPlace(*root_));
}

TEST_F(FolderLockTest, ARootThatIsMovedTakesItsLockWithIt) {
  const testing::TempDir outer;
  const std::string path = outer.path("root");
  std::filesystem::create_directories(path + "/data");
  const auto root = RootedDir::Open(path);
  ASSERT_TRUE(root.ok()) << root.status();
  const auto first = FolderLock::Acquire(*root, "data");
  ASSERT_TRUE(first.ok()) << first.status();
  std::filesystem::rename(path, path + ".old");
  EXPECT_TRUE(first->InPlace(*root));
  std::filesystem::create_directories(path + "/data");
  EXPECT_TRUE(first->InPlace(*root));
  EXPECT_FALSE(FolderLock::Acquire(*root, "data").ok());
  EXPECT_FALSE(outer.Exists("root/data/LOCK"));
}

TEST_F(FolderLockTest, ALinkThatLeavesTheRootIsNotFollowed) {
  const auto first = Acquire();
  ASSERT_TRUE(first.ok()) << first.status();
  const testing::TempDir outside;
  std::filesystem::rename(data_, outside.path("data"));
  std::filesystem::create_directory_symlink(outside.path("data"), data_);
  EXPECT_FALSE(first->InPlace(*root_));
  std::filesystem::remove(outside.path("data/LOCK"));
  EXPECT_FALSE(Acquire().ok());
  EXPECT_FALSE(AcquireToRead().ok());
  EXPECT_FALSE(outside.Exists("data/LOCK"));
}

TEST_F(FolderLockTest, APidThatIsNobodysIsNotToldForTheHolders) {
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
  for (const std::string& left : {std::to_string(gone) + "\n", std::string("0\n"), std::string(),
                                  std::string("99999999999999999999\n")}) {
    folder_.Write("data/LOCK", left);
    const auto holder = AcquireToRead();
    ASSERT_TRUE(holder.ok()) << holder.status();
    const absl::Status refused = AcquireToRead().status();
    EXPECT_THAT(Message(refused), HasSubstr("in use by another process")) << left;
  }
}

TEST_F(FolderLockTest, LockGoesWithItsHolder) {
  { ASSERT_TRUE(Acquire().ok()); }
  EXPECT_TRUE(Acquire().ok());
}

TEST_F(FolderLockTest, LockGoesWithItsProcessHoweverThatEnds) {
  int locked[2];
  int hold[2];
  ASSERT_EQ(::pipe2(locked, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(hold, O_CLOEXEC), 0);
  const UniqueFd locked_read(locked[0]);
  UniqueFd locked_write(locked[1]);
  UniqueFd hold_read(hold[0]);
  UniqueFd hold_write(hold[1]);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    hold_write.Reset();
    const auto lock = Acquire();
    if (!lock.ok() || ::write(locked_write.get(), "x", 1) != 1) ::_exit(1);
    // Until it is killed, or this test has ended without doing so.
    char byte = 0;
    [[maybe_unused]] const ssize_t n = ::read(hold_read.get(), &byte, 1);
    ::_exit(1);
  }
  locked_write.Reset();
  char byte = 0;
  ASSERT_EQ(::read(locked_read.get(), &byte, 1), 1) << "the child has no lock";

  const auto refused = Acquire();
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(Message(refused.status()), HasSubstr("process " + std::to_string(child)));

  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(Acquire().ok());
}

TEST_F(FolderLockTest, LongerPidOfAnEarlierHolderLeavesNoTrace) {
  folder_.Write("data/LOCK", "999999999999999\n");
  const auto lock = Acquire();
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_EQ(folder_.Read("data/LOCK"), std::to_string(::getpid()) + "\n");
}

TEST_F(FolderLockTest, MissingFolderIsNamed) {
  const auto lock = FolderLock::Acquire(*root_, "missing");
  EXPECT_EQ(lock.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(lock.status()), HasSubstr("\"missing/LOCK\""));
}

TEST_F(FolderLockTest, LockFileIsNotFollowedElsewhere) {
  folder_.Write("elsewhere", "precious");
  ASSERT_EQ(::symlink("../elsewhere", folder_.path("data/LOCK").c_str()), 0);
  EXPECT_FALSE(Acquire().ok());
  EXPECT_EQ(folder_.Read("elsewhere"), "precious");
}

}  // namespace
}  // namespace ds::fs
