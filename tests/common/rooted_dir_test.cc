#include "common/fs/rooted_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "common/base/unique_fd.h"
#include "tests/harness/temp_dir.h"

namespace ds::fs {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

/// root/ with files and folders, and outside/ with what must not be reached.
class RootedDirTest : public ::testing::Test {
 protected:
  RootedDirTest() {
    outer_.Write("root/file", "inside");
    outer_.Write("root/folder/file", "deep inside");
    outer_.Write("outside/secret", "secret");
    auto root = RootedDir::Open(outer_.path("root"));
    EXPECT_TRUE(root.ok()) << root.status();
    root_ = std::make_unique<RootedDir>(*std::move(root));
  }

  void Link(const std::string& target, const std::string& name) {
    ASSERT_EQ(::symlink(target.c_str(), outer_.path("root/" + name).c_str()), 0);
  }

  /// The content of a file below the root, or the negative errno in brackets.
  std::string Read(const char* name) {
    const int fd = root_->OpenBeneath(name, O_RDONLY);
    if (fd < 0) return "[" + std::to_string(fd) + "]";
    const UniqueFd owned(fd);
    std::string text(64, '\0');
    const ssize_t n = ::read(fd, text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  static std::string Refused(int error) { return "[" + std::to_string(-error) + "]"; }

  testing::TempDir outer_;
  std::unique_ptr<RootedDir> root_;
};

TEST_F(RootedDirTest, FilesBelowTheRootAreOpened) {
  EXPECT_EQ(Read("file"), "inside");
  EXPECT_EQ(Read("folder/file"), "deep inside");
  EXPECT_EQ(Read("./folder/./file"), "deep inside");
}

TEST_F(RootedDirTest, LeadingSlashesMeanTheRoot) {
  EXPECT_EQ(Read("/file"), "inside");
  EXPECT_EQ(Read("///folder//file"), "deep inside");
}

TEST_F(RootedDirTest, EmptyNameIsTheRoot) {
  for (const char* name : {"", "/", "."}) {
    const UniqueFd fd(root_->OpenBeneath(name, O_PATH | O_DIRECTORY));
    ASSERT_TRUE(fd) << name;
    EXPECT_EQ(::faccessat(fd.get(), "folder", F_OK, 0), 0) << name;
  }
}

TEST_F(RootedDirTest, MissingFileIsEnoent) { EXPECT_EQ(Read("nothing"), Refused(ENOENT)); }

TEST_F(RootedDirTest, FileIsNoFolder) { EXPECT_EQ(Read("file/x"), Refused(ENOTDIR)); }

TEST_F(RootedDirTest, DotDotInsideTheRootWorks) { EXPECT_EQ(Read("folder/../file"), "inside"); }

TEST_F(RootedDirTest, DotDotBeyondTheRootIsRefused) {
  for (const char* name : {"..", "../outside/secret", "/../outside/secret",
                           "folder/../../outside/secret", "../root/file"}) {
    EXPECT_EQ(Read(name), Refused(EXDEV)) << name;
  }
}

TEST_F(RootedDirTest, SymlinkInsideTheRootIsFollowed) {
  Link("folder/file", "link");
  Link("folder", "way");
  Link("../file", "folder/up");
  EXPECT_EQ(Read("link"), "deep inside");
  EXPECT_EQ(Read("way/file"), "deep inside");
  EXPECT_EQ(Read("folder/up"), "inside");
}

TEST_F(RootedDirTest, RelativeSymlinkOutOfTheRootIsRefused) {
  Link("../outside/secret", "link");
  Link("../outside", "way");
  EXPECT_EQ(Read("link"), Refused(EXDEV));
  EXPECT_EQ(Read("way/secret"), Refused(EXDEV));
}

TEST_F(RootedDirTest, AbsoluteSymlinkIsRefusedWhereverItPoints) {
  Link(outer_.path("outside/secret"), "out");
  Link(outer_.path("root/file"), "in");
  EXPECT_EQ(Read("out"), Refused(EXDEV));
  EXPECT_EQ(Read("in"), Refused(EXDEV));
}

TEST_F(RootedDirTest, SymlinkLoopIsRefused) {
  Link("b", "a");
  Link("a", "b");
  EXPECT_EQ(Read("a"), Refused(ELOOP));
}

TEST_F(RootedDirTest, MagicLinkIsRefused) {
  auto process = RootedDir::Open("/proc/self");
  ASSERT_TRUE(process.ok()) << process.status();
  for (const char* name : {"root", "cwd", "exe", "fd/0", "root/etc/passwd"}) {
    EXPECT_THAT(process->OpenBeneath(name, O_PATH), AnyOf(-ELOOP, -EXDEV)) << name;
  }
}

TEST_F(RootedDirTest, FifoIsOpenedWithoutAWriterWhenAskedNotToBlock) {
  ASSERT_EQ(::mkfifo(outer_.path("root/fifo").c_str(), 0600), 0);
  const UniqueFd fd(root_->OpenBeneath("fifo", O_RDONLY | O_NONBLOCK));
  ASSERT_TRUE(fd);
  struct stat info {};
  ASSERT_EQ(::fstat(fd.get(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST_F(RootedDirTest, DescriptorsAreClosedOnExec) {
  const UniqueFd fd(root_->OpenBeneath("file", O_RDONLY));
  EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(root_->fd(), F_GETFD), FD_CLOEXEC);
}

TEST_F(RootedDirTest, RootIsTheFolderNotItsName) {
  ASSERT_EQ(::rename(outer_.path("root").c_str(), outer_.path("moved").c_str()), 0);
  EXPECT_EQ(Read("file"), "inside");
}

TEST_F(RootedDirTest, FileOrNothingIsNoRoot) {
  EXPECT_EQ(RootedDir::Open(outer_.path("nothing")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(RootedDir::Open(outer_.path("root/file")).ok());
}

TEST_F(RootedDirTest, MakeFoldersCreatesWhatIsMissing) {
  auto made = root_->MakeFolders("folder/a//b/./c/");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(outer_.Exists("root/folder/a/b/c"));
  const UniqueFd file(::openat(made->get(), "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  EXPECT_TRUE(file);
  EXPECT_TRUE(outer_.Exists("root/folder/a/b/c/new"));
}

TEST_F(RootedDirTest, MakeFoldersOpensWhatIsThere) {
  for (const char* name : {"", "/", "folder", "/folder/"}) {
    EXPECT_TRUE(root_->MakeFolders(name).ok()) << name;
  }
}

TEST_F(RootedDirTest, MakeFoldersGoesThroughAnInnerSymlink) {
  Link("folder", "way");
  ASSERT_TRUE(root_->MakeFolders("way/new").ok());
  EXPECT_TRUE(outer_.Exists("root/folder/new"));
}

TEST_F(RootedDirTest, MakeFoldersRefusesToLeaveTheRoot) {
  Link("../outside", "relative");
  Link(outer_.path("outside"), "absolute");
  for (const char* name : {"relative/new", "absolute/new", "..", "../outside/new", "/../new",
                           "folder/../../outside/new", "relative"}) {
    const auto made = root_->MakeFolders(name);
    ASSERT_FALSE(made.ok()) << name;
  }
  EXPECT_FALSE(outer_.Exists("outside/new"));
  EXPECT_FALSE(outer_.Exists("new"));
}

TEST_F(RootedDirTest, MakeFoldersRefusesADanglingSymlink) {
  Link("../outside/missing", "outer");
  Link("missing", "inner");
  EXPECT_FALSE(root_->MakeFolders("outer/new").ok());
  EXPECT_FALSE(root_->MakeFolders("inner/new").ok());
  EXPECT_FALSE(outer_.Exists("outside/missing"));
}

TEST_F(RootedDirTest, MakeFoldersRefusesAFileInTheWay) {
  const auto made = root_->MakeFolders("file/new");
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(Message(made.status()), HasSubstr("\"file"));
}

}  // namespace
}  // namespace ds::fs
