#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/harness/daemon_process.h"
#include "tests/harness/deadline.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"
#include "tests/udp_transfer/udp_proxy.h"

// What the integration tests of udp_transfer share. Nothing of the product is linked.

namespace ds::udp_transfer {

using testing::DaemonProcess;
using testing::kDeadline;
using testing::ToolResult;

inline constexpr std::size_t kMiB = std::size_t{1} << 20U;

/// "127.0.0.1:<port>"
std::string Address(std::uint16_t port);

/// `size` bytes, all values among them, determined by `seed`.
std::string Content(std::size_t size, unsigned seed = 1);

/// A udp-server on a free port with a folder of its own.
class UdpServer {
 public:
  /// `flags` are put behind `0 --dir <folder> --metrics 127.0.0.1:0`. Ends the test program if the
  /// server does not get ready.
  explicit UdpServer(const std::vector<std::string>& flags = {});

  DaemonProcess& process() { return process_; }
  const testing::TempDir& folder() const { return folder_; }
  std::uint16_t port() const { return process_.port(); }
  /// "127.0.0.1:<port>"
  std::string address() const;

  /// One value of the metrics page, by name and labels as they stand there; -1 if it is not there.
  double Metric(const std::string& series) const;
  /// The names of what anybody can see in the folder, sorted.
  std::vector<std::string> Files() const;
  /// How many files are in the hidden folder, the lock left out.
  std::size_t HiddenFiles() const;

 private:
  testing::TempDir folder_;
  DaemonProcess process_;
};

/// Runs udp-client with `arguments`.
ToolResult RunClient(const std::vector<std::string>& arguments);
/// Sends `path` as `name` with `more` flags, and parses the result. Null if the exit code is not 0,
/// which fails the test.
nlohmann::json Send(const std::string& address, const std::string& path, const std::string& name,
                    const std::vector<std::string>& more = {});

/// A client in fast mode that sends `path`, of kHeldSourceBytes at least, as "big" and cannot get
/// to its end before LetGo(): behind kHeldPassedBytes what it sends is lost on its way. What the
/// server says still comes to it.
class HeldClient {
 public:
  HeldClient(const UdpServer& server, const std::string& path,
             const std::vector<std::string>& more = {});

  /// Waits until the server has kHeldBytes of content.
  ::testing::AssertionResult Start();
  void LetGo() { proxy_.PassAgain(); }
  /// From now on some bytes more come through.
  void LetPass(std::size_t bytes);
  /// SIGINT, of which the server hears. The exit code.
  int Interrupt();
  /// SIGKILL, and waits for its end.
  void Kill();

  UdpProxy& proxy() { return proxy_; }
  testing::ToolProcess& process() { return process_; }
  ToolResult Wait() { return process_.Wait(); }

 private:
  const UdpServer* const server_;
  UdpProxy proxy_;
  std::size_t pass_bytes_;
  testing::ToolProcess process_;
};
/// What is lost and repeated on the way to the server, and headers, are far less than half of it.
inline constexpr std::size_t kHeldPassedBytes = 20 * kMiB;
inline constexpr std::size_t kHeldBytes = 8 * kMiB;
inline constexpr std::size_t kHeldSourceBytes = 32 * kMiB;

}  // namespace ds::udp_transfer
