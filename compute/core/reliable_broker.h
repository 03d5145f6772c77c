#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/time.h"
#include "compute/core/recent_memory.h"
#include "compute/core/reliable_message.h"

namespace ds::compute {

/// A message and who gets it, or has sent it: the routing id of a ROUTER socket.
struct Envelope {
  std::string peer;
  ReliableMessage message;
};

/// The broker of the reliable service. A request waits in the queue of its service, goes to one
/// worker, and when that dies (silent for three heartbeats, or its connection gone) to another one,
/// until there is an answer, its time is over or too many have died of it. An id has one answer;
/// whoever sends the id again gets the same one from memory. A worker that sits on a request for
/// longer than a request's whole time has to say READY again before it gets more. Nothing survives
/// a restart: clients send again, workers are told to say READY again.
///
/// Owned by the shell, which sends what TakeOutput() has after each call. Single threaded.
class ReliableBroker {
 public:
  struct Options {
    Duration heartbeat = std::chrono::milliseconds(500);
    int liveness = 3;  ///< heartbeats that may be missed
    Duration request_time = std::chrono::seconds(5);
    int attempts_max = 3;           ///< workers that may die of a request
    std::size_t open_max = 10'000;  ///< requests, of all services
    std::size_t workers_max = 1024;
    /// Of the first request. Random, below 2^63: results for an earlier life of the broker are then
    /// not taken for ones of this life.
    std::uint64_t first_tag = 1;
    RecentMemory<AnswerMessage>::Limits answers{};
  };

  struct Stats {
    std::uint64_t requests = 0;      ///< that were opened
    std::uint64_t repeated = 0;      ///< of an id that is open
    std::uint64_t remembered = 0;    ///< of an id that was answered, and so answered again
    std::uint64_t busy = 0;          ///< refused: the queue is full
    std::uint64_t answered = 0;      ///< by a worker, wrong operands included
    std::uint64_t failed = 0;        ///< no worker, time-out, workers died
    std::uint64_t retried = 0;       ///< given to another worker
    std::uint64_t workers_lost = 0;  ///< died; not those that said goodbye
    std::uint64_t workers_refused = 0;
    std::uint64_t results_dropped = 0;  ///< late, duplicate, or of nobody who was asked
    std::uint64_t malformed = 0;
    std::uint64_t other_version = 0;
  };

  explicit ReliableBroker(const Options& options);

  void HandleFrames(const std::string& peer, const Frames& frames, TimePoint now);
  /// No message can be sent to this one any more.
  void HandlePeerGone(const std::string& peer, TimePoint now);
  std::optional<TimePoint> NextDeadline() const;
  void HandleTimeout(TimePoint now);
  /// From now on new requests are refused as kBusy.
  void StopAccepting() { accepting_ = false; }

  /// To be sent in this order.
  std::vector<Envelope> TakeOutput();

  std::size_t open() const { return requests_.size(); }
  std::size_t workers() const { return workers_.size(); }
  const Stats& stats() const { return stats_; }

 private:
  /// In the order of their arrival, and so of their deadlines. Its number is its tag.
  struct Request {
    RequestMessage message;
    std::string client;  ///< who has asked last
    TimePoint deadline;
    int deaths = 0;
    std::string worker{};  ///< who has it; empty: it is queued
  };
  struct Worker {
    std::string service;
    std::size_t capacity;
    TimePoint heard;                            ///< when it last said something
    std::map<std::uint64_t, TimePoint> tags{};  ///< what it works on, since when
  };
  struct Service {
    std::set<std::uint64_t> queue{};  ///< tags; the oldest first
    std::list<std::string> free{};    ///< workers that can take more, longest waiting first
  };
  using Workers = std::map<std::string, Worker>;

  void Handle(const std::string& peer, RequestMessage message, TimePoint now);
  void Handle(const std::string& peer, const ReadyMessage& message, TimePoint now);
  void Handle(const std::string& peer, ResultMessage message, TimePoint now);
  void Handle(const std::string& peer, const HeartbeatMessage& message, TimePoint now);
  void Handle(const std::string& peer, const DisconnectMessage& message, TimePoint now);
  // What only a broker says.
  void Handle(const std::string&, const AnswerMessage&, TimePoint) { ++stats_.malformed; }
  void Handle(const std::string&, const WorkMessage&, TimePoint) { ++stats_.malformed; }
  void Handle(const std::string&, const VersionMessage&, TimePoint) { ++stats_.malformed; }

  void Send(const std::string& peer, ReliableMessage message) {
    output_.push_back({peer, std::move(message)});
  }
  /// The worker, which is alive; null, and it is told so, when there is none of this name.
  Worker* Heard(const std::string& peer, TimePoint now);
  enum class Loss { kGoodbye, kDeath };
  void RemoveWorker(Workers::iterator worker, Loss loss, TimePoint now);
  void Sweep(TimePoint now);
  void Dispatch(const std::string& service, TimePoint now);
  void DropServiceIfEmpty(const std::string& service);
  void Finish(std::uint64_t tag, AnswerStatus status, std::string body, TimePoint now);

  const Options options_;
  bool accepting_ = true;
  std::uint64_t next_tag_;
  std::map<std::uint64_t, Request> requests_;
  std::unordered_map<std::string, std::uint64_t> tag_of_id_;  // never iterated
  std::map<std::string, Service> services_;
  Workers workers_;
  std::optional<TimePoint> sweep_due_;  ///< heartbeats, and who has missed too many; with workers
  RecentMemory<AnswerMessage> answers_;
  std::vector<Envelope> output_;
  Stats stats_;
};

}  // namespace ds::compute
