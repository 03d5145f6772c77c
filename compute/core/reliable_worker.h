#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "compute/core/reliable_message.h"

namespace ds::compute {

/// A worker's side of the reliable service: says READY, and again to a new connection when the
/// broker was silent for three heartbeats, or on the same one when the broker says that it does not
/// know it. Work of an earlier READY is forgotten: the broker has given it to another one.
///
/// Owned by the shell, which executes Output after each call. Single threaded.
class ReliableWorker {
 public:
  struct Options {
    std::string service{};
    std::uint8_t capacity = 16;  ///< requests at a time
    Duration heartbeat = std::chrono::milliseconds(500);
    int liveness = 3;  ///< heartbeats of the broker that may be missed
  };

  /// In the order of execution.
  struct Output {
    bool reconnect = false;  ///< drop the connection, with what waits in it, and make a new one
    std::vector<ReliableMessage> to_broker;
    std::vector<WorkMessage> work;  ///< to be computed; the results by Finish()
    bool empty() const { return !reconnect && to_broker.empty() && work.empty(); }
  };

  ReliableWorker(Options options, TimePoint now);

  void HandleFrames(const Frames& frames, TimePoint now);
  /// The result of a piece of work; ignored when it is not wanted any more.
  void Finish(ResultMessage result);
  /// Says goodbye; what is unfinished goes to another worker.
  void Stop();
  std::optional<TimePoint> NextDeadline() const;
  void HandleTimeout(TimePoint now);
  Output TakeOutput();

  /// The broker has answered the last READY.
  bool registered() const { return registered_; }
  /// The broker speaks another version: there is no hope.
  bool other_version() const { return other_version_; }

 private:
  void SayReady(TimePoint now);

  const Options options_;
  bool registered_ = false;
  bool other_version_ = false;
  TimePoint heard_;          ///< the broker, or the begin of the connection
  TimePoint heartbeat_due_;  ///< while registered
  TimePoint ready_said_;
  bool ready_again_ = false;      ///< a heartbeat after ready_said_
  std::set<std::uint64_t> tags_;  ///< handed out as work
  Output output_;
};

}  // namespace ds::compute
