#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>

#include "common/base/unique_fd.h"
#include "tests/harness/eventually.h"
#include "tests/udp_transfer/udp_server.h"

// A file that is larger than the memory of either end may be.

namespace ds::udp_transfer {
namespace {

using testing::Eventually;
using testing::TempDir;
using testing::ToolProcess;

/// The most that the process has had in memory so far; 0 if it has ended.
std::uint64_t PeakResidentBytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

/// The same of a client until shortly before its end.
std::uint64_t PeakWhileItRuns(ToolProcess& client) {
  std::uint64_t peak = 0;
  EXPECT_TRUE(Eventually(4 * kDeadline, "the client has ended", [&] {
    peak = std::max(peak, PeakResidentBytes(client.pid()));
    return !client.running();
  }));
  EXPECT_GT(peak, 0U);
  return peak;
}

/// Sanitizers have a smaller one: what they would find is not a matter of the size.
constexpr off_t kSize = (off_t{1} << (testing::kSlowdown == 1 ? 32 : 28)) + 12'345;

TEST(FastModeLargeTest, AFileBeyond4GiBArrivesWholeAndTakesLittleMemoryAtBothEnds) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  const std::string source = folder.path("sparse");
  {
    const UniqueFd fd(::open(source.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
    ASSERT_EQ(::ftruncate(fd.get(), kSize), 0);
    ASSERT_EQ(::pwrite(fd.get(), "begin", 5, 0), 5);
    ASSERT_EQ(::pwrite(fd.get(), "end", 3, kSize - 3), 3);
  }
  ToolProcess client("udp-client", {server.address(), source, "name", "--json"});
  ASSERT_TRUE(client.Start().ok());
  const std::uint64_t client_peak = PeakWhileItRuns(client);
  const ToolResult result = client.Wait();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out)["bytes"], kSize);
  if (testing::kSlowdown == 1) {
    EXPECT_LT(client_peak, 64 * kMiB);
    EXPECT_LT(PeakResidentBytes(server.process().pid()), 64 * kMiB);
  }
  const UniqueFd fd(::open(server.folder().path("name").c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  ASSERT_EQ(::fstat(fd.get(), &info), 0);
  EXPECT_EQ(info.st_size, kSize);
  std::array<char, 5> begin{};
  std::array<char, 3> end{};
  EXPECT_EQ(::pread(fd.get(), begin.data(), begin.size(), 0), 5);
  EXPECT_EQ(::pread(fd.get(), end.data(), end.size(), kSize - 3), 3);
  EXPECT_EQ(std::string(begin.data(), begin.size()), "begin");
  EXPECT_EQ(std::string(end.data(), end.size()), "end");
}

}  // namespace
}  // namespace ds::udp_transfer
