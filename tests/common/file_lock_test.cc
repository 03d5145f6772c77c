#include "common/fs/file_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
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

TEST(FolderLockTest, SecondHolderIsToldThePidOfTheFirst) {
  const testing::TempDir folder;
  const auto first = FolderLock::Acquire(folder.path());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(folder.Read("LOCK"), std::to_string(::getpid()) + "\n");
  const auto second = FolderLock::Acquire(folder.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(second.status()), HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_THAT(Message(second.status()), HasSubstr(folder.path()));
}

TEST(FolderLockTest, AReaderIsToldOfTheHolderAndLeavesNothing) {
  const testing::TempDir folder;
  EXPECT_TRUE(FolderLock::AcquireToRead(folder.path()).ok());
  EXPECT_FALSE(folder.Exists("LOCK"));
  {
    const auto holder = FolderLock::Acquire(folder.path());
    ASSERT_TRUE(holder.ok()) << holder.status();
    const auto reader = FolderLock::AcquireToRead(folder.path());
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(reader.status()), HasSubstr("process " + std::to_string(::getpid())));
  }
  folder.Write("LOCK", "7\n");
  const auto reader = FolderLock::AcquireToRead(folder.path());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(folder.Read("LOCK"), "7\n");
  EXPECT_FALSE(FolderLock::Acquire(folder.path()).ok());
}

TEST(FolderLockTest, AFolderThatIsRemovedTakesItsLockWithIt) {
  const testing::TempDir folder;
  const std::string data = folder.path("data");
  std::filesystem::create_directory(data);
  const auto first = FolderLock::Acquire(data);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->InPlace());
  std::filesystem::remove_all(data);
  EXPECT_FALSE(first->InPlace());
  std::filesystem::create_directory(data);
  EXPECT_FALSE(first->InPlace());
  const auto second = FolderLock::Acquire(data);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->InPlace());
  EXPECT_FALSE(first->InPlace());
}

TEST(FolderLockTest, APidThatIsNobodysIsNotToldForTheHolders) {
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
  for (const std::string& left : {std::to_string(gone) + "\n", std::string("0\n"), std::string(),
                                  std::string("99999999999999999999\n")}) {
    const testing::TempDir folder;
    folder.Write("LOCK", left);
    const auto holder = FolderLock::AcquireToRead(folder.path());
    ASSERT_TRUE(holder.ok()) << holder.status();
    const absl::Status refused = FolderLock::AcquireToRead(folder.path()).status();
    EXPECT_THAT(Message(refused), HasSubstr("in use by another process")) << left;
  }
}

TEST(FolderLockTest, LockGoesWithItsHolder) {
  const testing::TempDir folder;
  { ASSERT_TRUE(FolderLock::Acquire(folder.path()).ok()); }
  EXPECT_TRUE(FolderLock::Acquire(folder.path()).ok());
}

TEST(FolderLockTest, LockGoesWithItsProcessHoweverThatEnds) {
  const testing::TempDir folder;
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
    const auto lock = FolderLock::Acquire(folder.path());
    if (!lock.ok() || ::write(locked_write.get(), "x", 1) != 1) ::_exit(1);
    // Until it is killed, or this test has ended without doing so.
    char byte = 0;
    [[maybe_unused]] const ssize_t n = ::read(hold_read.get(), &byte, 1);
    ::_exit(1);
  }
  locked_write.Reset();
  char byte = 0;
  ASSERT_EQ(::read(locked_read.get(), &byte, 1), 1) << "the child has no lock";

  const auto refused = FolderLock::Acquire(folder.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(Message(refused.status()), HasSubstr("process " + std::to_string(child)));

  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(FolderLock::Acquire(folder.path()).ok());
}

TEST(FolderLockTest, LongerPidOfAnEarlierHolderLeavesNoTrace) {
  const testing::TempDir folder;
  folder.Write("LOCK", "999999999999999\n");
  const auto lock = FolderLock::Acquire(folder.path());
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_EQ(folder.Read("LOCK"), std::to_string(::getpid()) + "\n");
}

TEST(FolderLockTest, MissingFolderIsNamed) {
  const testing::TempDir folder;
  const auto lock = FolderLock::Acquire(folder.path("missing"));
  EXPECT_EQ(lock.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(lock.status()), HasSubstr(folder.path("missing")));
}

TEST(FolderLockTest, LockFileIsNotFollowedElsewhere) {
  const testing::TempDir folder;
  const std::string elsewhere = folder.Write("elsewhere", "precious");
  folder.Write("data/x", "");
  ASSERT_EQ(::symlink(elsewhere.c_str(), folder.path("data/LOCK").c_str()), 0);
  EXPECT_FALSE(FolderLock::Acquire(folder.path("data")).ok());
  EXPECT_EQ(folder.Read("elsewhere"), "precious");
}

}  // namespace
}  // namespace ds::fs
