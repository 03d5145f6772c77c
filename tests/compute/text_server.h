#pragma once

#include <string>
#include <vector>

#include "common/base/check.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/raw_peer.h"

namespace ds::compute {

/// A text-server that runs, and its metrics.
class TextServer {
 public:
  explicit TextServer(std::vector<std::string> flags = {}, const std::string& port = "0")
      : process_({.program = "text-server", .arguments = Arguments(std::move(flags), port)}) {
    const absl::Status ready = process_.StartAndWaitReady();
    CHECK(ready.ok(), Message(ready));
  }

  testing::DaemonProcess& process() { return process_; }
  std::string address() const { return process_.address().ToString(); }

  /// One value of the metrics page, by name and labels as they stand there; -1: it is not there.
  double Metric(const std::string& series) const {
    const auto at = net::HostPort::Parse(process_.Key("metrics"));
    CHECK(at.ok());
    const std::string page =
        testing::RawPeer::Exchange(at->host, at->port, "GET /metrics HTTP/1.0\r\n\r\n").bytes;
    const std::size_t line = page.find("\n" + series + " ");
    return line == std::string::npos ? -1 : std::stod(page.substr(line + series.size() + 2));
  }

 private:
  static std::vector<std::string> Arguments(std::vector<std::string> flags,
                                            const std::string& port) {
    flags.insert(flags.begin(), {port, "--metrics", "127.0.0.1:0"});
    return flags;
  }

  testing::DaemonProcess process_;
};

}  // namespace ds::compute
