#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/endpoint.h"
#include "compute/zmq/socket.h"

namespace ds::compute::zmq {

/// A client of the classic service: a REQ socket for lines, a SUB socket for everything that is
/// published. Owned by the client; used by one thread.
class ClassicSession {
 public:
  struct Options {
    net::HostPort client_in, client_out;
    Duration timeout = std::chrono::seconds(5);  ///< of each step
    int interrupt_fd = -1;                       ///< readable: give up with kCancelled
  };
  /// Called with each publication, in order.
  using Print = std::function<void(const std::string&)>;

  /// Returns once both connections stand: the subscription is then on its way to the broker ahead
  /// of every line, so that no first answer is lost. kDeadlineExceeded: the broker is not there.
  static absl::StatusOr<ClassicSession> Open(ZmqContext* context, const Options& options);

  /// Sends the line and waits for its confirmation and for its answer, which is also the last one
  /// printed. kDeadlineExceeded: one of them did not come, but the next line may do better;
  /// kInvalidArgument: the broker refuses the line.
  absl::StatusOr<std::string> Ask(const std::string& line, const Print& print);
  /// Prints what has arrived.
  void ReadArrived(const Print& print);

 private:
  ClassicSession(ZmqContext* context, Options options, Socket publications);
  /// Makes sure that both connections stand, in their order; again after the broker was away.
  absl::Status Connect(TimePoint until);
  absl::Status WaitConnected(Socket& socket, const net::HostPort& address, TimePoint until);
  /// Waits for `socket`; nothing: the time is over.
  absl::StatusOr<std::optional<Frames>> Receive(Socket& socket, TimePoint until);

  ZmqContext* context_;
  Options options_;
  Socket publications_;
  std::optional<Socket> requests_;  ///< made while publications_ had its present connection
  int subscribed_ = 0;              ///< how many connections publications_ had had then
};

}  // namespace ds::compute::zmq
