#include "common/shm/memfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace ds::shm {
namespace {

using Access = Memfd::Access;
using ::testing::HasSubstr;

constexpr std::size_t kSize = 3 * 4096 + 5;
constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr int kReadSeals = kSizeSeals | F_SEAL_FUTURE_WRITE;

Memfd Create(Access access) {
  auto memfd = Memfd::Create("memfd_test", kSize, access);
  EXPECT_TRUE(memfd.ok()) << memfd.status();
  return *std::move(memfd);
}

/// As a peer gets it.
UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

absl::StatusOr<Memfd> Adopt(const Memfd& memfd, Access access) {
  return Memfd::Adopt(Duplicate(memfd.fd()), access, {.max = kSize});
}

std::size_t OpenDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

/// Of files that this test made.
int Mappings() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:memfd_test") != std::string::npos) ++count;
  }
  return count;
}

/// A file as a hostile peer makes it.
UniqueFd RawMemfd(off_t bytes, int seals, unsigned flags = 0) {
  UniqueFd fd(::memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
  if (!fd) return fd;
  EXPECT_EQ(::ftruncate(fd.get(), bytes), 0) << ErrnoText(errno);
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0) << ErrnoText(errno);
  }
  return fd;
}

TEST(MemfdTest, MakerMayWriteAndBeginsWithZeros) {
  const Memfd memfd = Create(Access::kRead);
  ASSERT_EQ(memfd.size(), kSize);
  EXPECT_TRUE(std::ranges::all_of(memfd.bytes(), [](std::byte b) { return b == std::byte{0}; }));
  std::ranges::fill(memfd.writable_bytes(), std::byte{7});
  EXPECT_EQ(memfd.bytes().back(), std::byte{7});
}

TEST(MemfdTest, ReceiverSeesWhatIsWrittenAfterItMappedTheFile) {
  const Memfd memfd = Create(Access::kRead);
  const auto received = Adopt(memfd, Access::kRead);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_FALSE(received->writable());
  memfd.writable_bytes()[kSize - 1] = std::byte{42};
  EXPECT_EQ(received->bytes()[kSize - 1], std::byte{42});
}

TEST(MemfdTest, ReceiverOfAReadOnlyFileCannotWriteByAnyMeans) {
  const Memfd memfd = Create(Access::kRead);
  const auto received = Adopt(memfd, Access::kRead);
  ASSERT_TRUE(received.ok()) << received.status();
  const int fd = received->fd();
  EXPECT_EQ(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  auto* address = const_cast<std::byte*>(received->bytes().data());
  EXPECT_EQ(::mprotect(address, kSize, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(::madvise(address, 4096, MADV_REMOVE), -1);
  EXPECT_EQ(::pwrite(fd, "x", 1, 0), -1);
  EXPECT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(::ftruncate(fd, 0), -1);
  EXPECT_EQ(::ftruncate(fd, 2 * kSize), -1);
  EXPECT_EQ(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
  const UniqueFd reopened(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(::pwrite(reopened.get(), "x", 1, 0), -1);
  EXPECT_EQ(memfd.bytes()[0], std::byte{0});
}

TEST(MemfdTest, BothSidesMayWriteAFileForBothButNotResizeIt) {
  const Memfd memfd = Create(Access::kReadWrite);
  const auto received = Adopt(memfd, Access::kReadWrite);
  ASSERT_TRUE(received.ok()) << received.status();
  received->writable_bytes()[0] = std::byte{1};
  EXPECT_EQ(memfd.bytes()[0], std::byte{1});
  EXPECT_EQ(::ftruncate(received->fd(), 0), -1);
}

TEST(MemfdTest, FileIsNotExecutableWhereTheKernelKnowsThat) {
  if (const UniqueFd known(::memfd_create("probe", MFD_CLOEXEC | MFD_NOEXEC_SEAL)); !known) {
    GTEST_SKIP() << "an older kernel";
  }
  const Memfd memfd = Create(Access::kRead);
  struct stat status {};
  ASSERT_EQ(::fstat(memfd.fd(), &status), 0);
  EXPECT_EQ(status.st_mode & 0111U, 0U);
  EXPECT_EQ(::fchmod(memfd.fd(), 0700), -1);
}

TEST(MemfdTest, ItsDescriptorDoesNotReachOtherPrograms) {
  const Memfd memfd = Create(Access::kRead);
  EXPECT_EQ(::fcntl(memfd.fd(), F_GETFD), FD_CLOEXEC);
}

TEST(MemfdTest, SpansStayValidWhenTheObjectIsMoved) {
  Memfd first = Create(Access::kRead);
  const std::span<std::byte> bytes = first.writable_bytes();
  Memfd second = std::move(first);
  Memfd third = Create(Access::kRead);
  third = std::move(second);
  bytes[0] = std::byte{9};
  EXPECT_EQ(third.bytes()[0], std::byte{9});
}

TEST(MemfdTest, NothingIsLeftWhenItGoes) {
  const std::size_t before = OpenDescriptors();
  {
    Memfd memfd = Create(Access::kRead);
    const auto received = Adopt(memfd, Access::kRead);
    memfd = Create(Access::kReadWrite);
    EXPECT_EQ(OpenDescriptors(), before + 2);
    EXPECT_EQ(Mappings(), 2);
  }
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(Mappings(), 0);
}

TEST(MemfdTest, SizeThatNoMachineHasIsAnError) {
  EXPECT_FALSE(Memfd::Create("huge", SIZE_MAX, Access::kRead).ok());
  EXPECT_FALSE(Memfd::Create("huge", SIZE_MAX / 4, Access::kRead).ok());
}

struct Refusal {
  const char* name;
  UniqueFd (*make)();
  Access access;
  const char* why;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class MemfdRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(MemfdRefusalTest, IsRefusedAndClosed) {
  const std::size_t before = OpenDescriptors();
  UniqueFd fd = GetParam().make();
  if (!fd) GTEST_SKIP() << "this machine has no such file";
  const auto received = Memfd::Adopt(std::move(fd), GetParam().access, {.min = 4096, .max = 8192});
  EXPECT_EQ(received.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(received.status()), HasSubstr(GetParam().why));
  EXPECT_EQ(OpenDescriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(
    Table, MemfdRefusalTest,
    ::testing::Values(
        Refusal{"Directory", [] { return UniqueFd(::open("/", O_RDONLY | O_CLOEXEC)); },
                Access::kRead, "not a memfd"},
        Refusal{"Device", [] { return UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)); },
                Access::kReadWrite, "not a memfd"},
        Refusal{"FileOnTmpfs",
                [] { return UniqueFd(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)); },
                Access::kReadWrite, "seals"},
        Refusal{"Unsealed", [] { return RawMemfd(4096, 0); }, Access::kReadWrite, "seals"},
        Refusal{"MayShrink", [] { return RawMemfd(4096, F_SEAL_GROW); }, Access::kReadWrite,
                "seals"},
        Refusal{"MayGrow", [] { return RawMemfd(4096, F_SEAL_SHRINK); }, Access::kReadWrite,
                "seals"},
        Refusal{"OthersMayWrite", [] { return RawMemfd(4096, kSizeSeals); }, Access::kRead,
                "seals"},
        Refusal{"Empty", [] { return RawMemfd(0, kReadSeals); }, Access::kRead, "0 bytes"},
        Refusal{"TooSmall", [] { return RawMemfd(4095, kReadSeals); }, Access::kRead, "4095 bytes"},
        Refusal{"TooLarge", [] { return RawMemfd(8193, kReadSeals); }, Access::kRead, "8193 bytes"},
        Refusal{"HugePages", [] { return RawMemfd(2 << 20, kReadSeals, MFD_HUGETLB); },
                Access::kRead, "not on tmpfs"}),
    [](const auto& test) { return test.param.name; });

TEST(MemfdTest, NoDescriptorAtAllIsRefused) {
  EXPECT_FALSE(Memfd::Adopt(UniqueFd(), Access::kRead, {.max = 4096}).ok());
}

TEST(MemfdTest, WriterThatForbidsWritingIsNotMappedWritable) {
  const auto received = Memfd::Adopt(RawMemfd(4096, kReadSeals), Access::kReadWrite, {.max = 4096});
  EXPECT_FALSE(received.ok());
}

}  // namespace
}  // namespace ds::shm
