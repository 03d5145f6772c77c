#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "compute/core/reliable_message.h"

namespace ds::compute {

/// A client's side of the reliable service: asks again with the same id until there is an answer or
/// its time is over, on a new connection if the broker was silent meanwhile. Each request has one
/// result.
///
/// Owned by the shell, which executes Output after each call. Single threaded.
class ReliableClient {
 public:
  struct Options {
    Duration request_time = std::chrono::seconds(10);  ///< after which there is no answer
    Duration retry_delay = std::chrono::milliseconds(1500);
    std::size_t open_max = 4096;  ///< requests
  };

  struct Result {
    std::uint64_t number = 0;  ///< of Ask()
    /// Nothing: no answer came in time. Nobody knows then whether it was computed.
    std::optional<AnswerStatus> status;
    std::string body{};  ///< the answer, or what went wrong
  };

  /// In the order of execution.
  struct Output {
    bool reconnect = false;  ///< drop the connection, with what waits in it, and make a new one
    std::vector<ReliableMessage> to_broker;
    std::vector<Result> results;
    bool empty() const { return !reconnect && to_broker.empty() && results.empty(); }
  };

  /// `nonce`: 8 random bytes, so that no two clients use the same ids.
  ReliableClient(const Options& options, std::string_view nonce, TimePoint now);

  /// The number of the request. kInvalidArgument: service or body is too long. kResourceExhausted:
  /// open_max.
  absl::StatusOr<std::uint64_t> Ask(std::string_view service, std::string_view body, TimePoint now);
  void HandleFrames(const Frames& frames, TimePoint now);
  std::optional<TimePoint> NextDeadline() const;
  void HandleTimeout(TimePoint now);
  Output TakeOutput();

  std::size_t open() const { return requests_.size(); }
  /// The broker speaks another version: there is no hope.
  bool other_version() const { return other_version_; }

 private:
  struct Request {
    RequestMessage message;
    TimePoint deadline;
    TimePoint retry_due;
    TimePoint Due() const { return deadline < retry_due ? deadline : retry_due; }
  };
  using Requests = std::map<std::uint64_t, Request>;

  void Send(std::uint64_t number, Request& request, TimePoint now);
  void End(Requests::iterator request, std::optional<AnswerStatus> status, std::string body);

  const Options options_;
  const std::string nonce_;
  std::uint64_t next_number_ = 1;
  Requests requests_;
  std::unordered_map<std::string, std::uint64_t> number_of_id_;  // never iterated
  std::set<std::pair<TimePoint, std::uint64_t>> due_;
  TimePoint heard_;  ///< the broker, or the begin of the connection
  bool other_version_ = false;
  Output output_;
};

}  // namespace ds::compute
