#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/raw_peer.h"

// What the integration tests of the prime service share. Nothing of the product is linked.

namespace ds::compute {

/// A prime-server with two workers on a free port of 127.0.0.1 and [::1], with a metrics page.
class PrimeServer {
 public:
  /// Ends the test program if the server does not get ready. `flags`: in addition.
  explicit PrimeServer(std::vector<std::string> flags = {},
                       testing::DaemonProcess::Options process = {});

  testing::DaemonProcess& process() { return process_; }
  std::string address() const;
  /// Ends the test program if the server cannot be reached.
  testing::RawPeer Connect(const testing::RawPeer::ConnectOptions& options = {}) const;
  /// Of a series of the metrics page; -1 if it is not there.
  double Metric(const std::string& series) const;
  std::size_t LinesBeginningWith(const std::string& start) const;

 private:
  testing::DaemonProcess process_;
};

/// A classic server, with plain sockets: one recv for a number, one answer without newline, one
/// connection at a time.
class ClassicServer {
 public:
  enum class Answers { kWhole, kByteByByte, kNulEnded };
  /// `answers_max`: closes a connection after so many; 0: never.
  explicit ClassicServer(Answers answers, int answers_max = 0);
  ~ClassicServer();
  std::string address() const;
  /// Ends the server, and says what each recv returned.
  const std::vector<std::string>& EndAndTakeReceived();

 private:
  void Serve();

  const Answers answers_;
  const int answers_max_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  const UniqueFd stop_;
  std::vector<std::string> received_;
  std::jthread thread_;
};

}  // namespace ds::compute
