#pragma once

#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/endpoint.h"
#include "compute/core/reliable_client.h"
#include "compute/zmq/socket.h"

namespace ds::compute::zmq {

/// A ReliableClient on a DEALER socket. Owned by the client; used by one thread.
class ReliableSession {
 public:
  ReliableSession(ZmqContext* context, net::HostPort broker, const ReliableClient::Options& options,
                  int interrupt_fd);

  ReliableClient& core() { return core_; }
  /// Executes what the core wants, waits for one thing to happen, at most until `until`, and tells
  /// the core. kCancelled: interrupt_fd is readable; kUnavailable: there is no hope.
  absl::StatusOr<std::vector<ReliableClient::Result>> Turn(
      std::optional<TimePoint> until = std::nullopt);

  /// Asks for the command, and waits for its answer. kInvalidArgument: the worker refuses it;
  /// kDeadlineExceeded, kUnavailable, kResourceExhausted: there is none.
  absl::StatusOr<std::string> Ask(const std::string& line);

 private:
  absl::Status Execute(ReliableClient::Output& output);

  ZmqContext* context_;
  net::HostPort broker_address_;
  int interrupt_fd_;
  ReliableClient core_;
  std::optional<Socket> broker_;
};

}  // namespace ds::compute::zmq
