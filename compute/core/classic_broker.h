#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/time.h"
#include "compute/core/command.h"
#include "compute/core/recent_memory.h"

namespace ds::compute {

/// The broker between classic clients and classic workers: four sockets, one frame of UTF-8 a
/// message, no ids. It knows which command lines are open, and so gives each of them one answer:
/// the first of a worker, or an error once its time is over. What comes after that is dropped.
/// Equal lines of several clients are requests of their own; an answer goes to the oldest of them.
///
/// Owned by the shell, which executes Output after each call. Single threaded.
class ClassicBroker {
 public:
  struct Options {
    Duration answer_time = std::chrono::seconds(1);  ///< that a worker has for a request
    bool echo_commands = false;                      ///< clients also see the command lines
    std::size_t line_bytes_max = 4096;               ///< of a client's line or a worker's answer
    std::size_t open_max = 10'000;                   ///< requests; one more is refused
    /// Prefixes of workers that are remembered; with more, every request counts as wanted.
    std::size_t subscriptions_max = 1024;
    /// Answered requests, for answers that come late.
    RecentMemory<bool>::Limits closed{};
    /// Answers in a form that is not ours, for their duplicates.
    RecentMemory<bool>::Limits foreign{.time = std::chrono::seconds(1)};
  };

  /// To be executed before the next input.
  struct Output {
    std::vector<std::string> to_clients;  ///< publications, in this order
    std::vector<std::string> to_workers;  ///< publications, in this order
    bool empty() const { return to_clients.empty() && to_workers.empty(); }
  };

  struct Stats {
    std::uint64_t lines = 0;         ///< of clients, whatever they said
    std::uint64_t refused = 0;       ///< lines that were not UTF-8, too long, or one too many
    std::uint64_t wrong = 0;         ///< commands with wrong operands
    std::uint64_t echoed = 0;        ///< lines that are no commands
    std::uint64_t requests = 0;      ///< commands that were opened
    std::uint64_t answered = 0;      ///< of them
    std::uint64_t timed_out = 0;     ///< of them
    std::uint64_t dropped = 0;       ///< answers: late, duplicate, not UTF-8 or too long
    std::uint64_t passed_on = 0;     ///< answers that fit no request
    std::uint64_t unremembered = 0;  ///< subscriptions beyond subscriptions_max
  };

  explicit ClassicBroker(const Options& options);

  /// A client's line; what to reply to it. "error: …": nothing will be published about it.
  std::string HandleLine(std::string_view line, TimePoint now);
  void HandleAnswer(std::string_view answer, TimePoint now);
  /// A message of an XPUB socket: a byte 1 (subscribe) or 0 (the last such one is gone), a prefix.
  /// Anything else is ignored.
  void HandleSubscription(std::string_view message, TimePoint now);

  std::optional<TimePoint> NextDeadline() const;
  /// Ends the requests whose time is over.
  void HandleTimeout(TimePoint now);

  Output TakeOutput();

  std::size_t open() const { return open_.size(); }
  const Stats& stats() const { return stats_; }

 private:
  struct Request {
    std::string line;  ///< Command::Line()
    TimePoint deadline;
    bool held;  ///< no worker was there for it yet
  };
  using Requests = std::list<Request>;  // oldest first, and so the nearest deadline

  bool WorkerSubscribed(const std::string& line) const;
  void Close(Requests::iterator request, TimePoint now);

  const Options options_;
  Requests open_;
  std::multimap<std::string, Requests::iterator> by_line_;  // equal lines: oldest first
  std::set<std::string, std::less<>> prefixes_;
  std::size_t others_ = 0;  // subscriptions in force that prefixes_ had no room for
  RecentMemory<bool> closed_;
  RecentMemory<bool> foreign_;
  Output output_;
  Stats stats_;
};

}  // namespace ds::compute
