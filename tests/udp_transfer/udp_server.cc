#include "tests/udp_transfer/udp_server.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"

namespace ds::udp_transfer {
namespace {

namespace stdfs = std::filesystem;

DaemonProcess::Options Program(const std::string& folder, const std::vector<std::string>& flags) {
  DaemonProcess::Options options{.program = "udp-server",
                                 .arguments = {"0", "--dir", folder, "--metrics", "127.0.0.1:0"}};
  options.arguments.insert(options.arguments.end(), flags.begin(), flags.end());
  return options;
}

/// The arguments of a client that sends no faster than a busy machine takes it.
std::vector<std::string> FastClient(const std::string& address, const std::string& path,
                                    const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {address,  path,   "big",          "--json",
                                        "--mode", "fast", "--rate-limit", "400"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

std::string Address(std::uint16_t port) { return fmt::format("127.0.0.1:{}", port); }

std::string Content(std::size_t size, unsigned seed) {
  Rng rng(seed);
  std::string content(size, '\0');
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const std::uint64_t word = rng.Next();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, &content[i]);
  }
  for (; i < size; ++i) content[i] = static_cast<char>(rng.Next());
  return content;
}

UdpServer::UdpServer(const std::vector<std::string>& flags)
    : process_(Program(folder_.path(), flags)) {
  const absl::Status ready = process_.StartAndWaitReady();
  CHECK(ready.ok(), Message(ready) + "\n" + process_.stderr_text());
}

std::string UdpServer::address() const { return Address(port()); }

double UdpServer::Metric(const std::string& series) const {
  const auto at = net::HostPort::Parse(process_.Key("metrics"));
  CHECK(at.ok(), Message(at.status()));
  const std::string page =
      testing::RawPeer::Exchange(at->host, at->port, "GET /metrics HTTP/1.0\r\n\r\n").bytes;
  const std::size_t begin = page.rfind("\n" + series + " ");
  if (begin == std::string::npos) return -1;
  return std::strtod(page.c_str() + begin + 1 + series.size(), nullptr);
}

std::vector<std::string> UdpServer::Files() const {
  std::vector<std::string> files;
  for (const auto& entry : stdfs::directory_iterator(folder_.path())) {
    const std::string name = entry.path().filename().string();
    if (name != ".udp-partial") files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::size_t UdpServer::HiddenFiles() const {
  std::size_t count = 0;
  for (const auto& entry : stdfs::directory_iterator(folder_.path(".udp-partial"))) {
    if (entry.path().filename() != "LOCK") ++count;
  }
  return count;
}

ToolResult RunClient(const std::vector<std::string>& arguments) {
  return testing::RunTool("udp-client", arguments);
}

nlohmann::json Send(const std::string& address, const std::string& path, const std::string& name,
                    const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {address, path, name, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const ToolResult result = RunClient(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  if (result.exit_code != 0) return nullptr;
  return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
}

HeldClient::HeldClient(const UdpServer& server, const std::string& path,
                       const std::vector<std::string>& more)
    : server_(&server),
      proxy_(server.port()),
      pass_bytes_(kHeldPassedBytes),
      process_("udp-client", FastClient(Address(proxy_.port()), path, more)) {
  proxy_.PassNoMoreThan(pass_bytes_);
}

::testing::AssertionResult HeldClient::Start() {
  if (const absl::Status started = process_.Start(); !started.ok()) {
    return ::testing::AssertionFailure() << Message(started);
  }
  return testing::Eventually(kDeadline, "the server has a part", [&] {
    return server_->Metric("udp_fast_content_bytes_total") >= static_cast<double>(kHeldBytes);
  });
}

void HeldClient::LetPass(std::size_t bytes) {
  pass_bytes_ += bytes;
  proxy_.PassNoMoreThan(pass_bytes_);
}

int HeldClient::Interrupt() {
  process_.Pause();  // the signal is there before anything else can be sent
  LetGo();
  EXPECT_TRUE(process_.Signal(SIGINT));
  process_.Resume();
  return process_.Wait().exit_code;
}

void HeldClient::Kill() {
  EXPECT_TRUE(process_.Signal(SIGKILL));
  EXPECT_EQ(Wait().exit_code, 137);
}

}  // namespace ds::udp_transfer
