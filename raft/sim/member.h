#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "raft/core/node.h"
#include "raft/sim/invariants.h"
#include "raft/sim/kv_machine.h"
#include "raft/sim/totals.h"
#include "raft/storage/raft_store.h"
#include "tests/sim/disk_latency.h"
#include "tests/sim/drifting_clock.h"
#include "tests/sim/network.h"
#include "tests/sim/scheduler.h"
#include "tests/sim/sim_disk.h"

namespace ds::raft {

/// What a member answers a client.
struct Answer {
  enum class Kind {
    kDone,
    kRefused,        ///< not taken in: may be asked elsewhere, at `leader` if known
    kNeverExecuted,  ///< taken in, and another term's entry came in its place
  };
  Kind kind = Kind::kRefused;
  sim::KvResult result;
  std::optional<NodeId> leader;
};
using AnswerTo = std::function<void(const Answer&)>;

inline constexpr Duration kWriteMin = std::chrono::microseconds(200);

/// What the members of one simulated cluster share. The simulation owns it.
struct Cluster {
  sim::Scheduler& scheduler;
  sim::Network<Message>& network;
  Invariants& invariants;
  Totals& totals;
  std::uint64_t compact_every = 100;  ///< entries
  std::uint64_t compact_trailing = 20;
  /// Something worth a line in the trace.
  std::function<void(const std::string&)> trace;
  std::function<void(NodeId, const Event&)> on_event;
  /// A message has left.
  std::function<void(NodeId from, const Envelope&)> on_sent;
  /// A write has begun; it takes kWriteMin at least.
  std::function<void(NodeId)> on_write;
};

/// One member: a machine with a disk and a clock, and a process on it that drives a Node and a
/// RaftStore as raft-server does: writes beside everything else, with group commit. Single
/// threaded.
class Member {
 public:
  enum class State { kDown, kUp, kPaused };

  /// A machine that is off. `node_options` hold for all its lives, since a promise of a lease must.
  /// `seed` of the node's timers and of what its disk loses.
  Member(Cluster& cluster, NodeId id, const NodeOptions& node_options, Configuration initial,
         std::int64_t drift_ppm, std::uint64_t seed);
  ~Member();

  NodeId id() const { return id_; }
  State state() const { return state_; }
  bool up() const { return state_ == State::kUp; }
  /// REQUIRES: not down.
  const Node& node() const { return *node_; }
  const KvMachine& machine() const { return machine_; }
  LogIndex machine_applied() const { return applied_.index; }
  /// All that was committed has reached the state machine.
  bool settled() const { return applying_.empty(); }

  // --- Faults ---

  /// Starts the process. A disk that is full is tried again until it is not.
  void Start();
  /// kill -9, maybe within a write.
  void Kill();
  /// The machine is off: what was not synced is lost.
  void LosePower();
  void Pause();
  void Resume();
  /// For good.
  void Retire();
  void SetDrift(std::int64_t drift_ppm);
  void SetDiskFull(bool full) { disk_full_ = full; }
  /// Also ends the process that meets it; it is started again after `restart`.
  void FailNextSync() { fail_sync_ = true; }
  void set_restart_delay(Duration delay) { restart_delay_ = delay; }
  sim::DiskLatency& latency() { return latency_; }
  /// Compacts all that can be.
  void Compact(bool keep_trailing);

  // --- Inputs; those to a stopped process wait, those to a dead one are lost ---

  void Receive(NodeId from, Message message);
  void ConnectionRefused(NodeId peer);
  /// A stream to the peer broke.
  void Unreachable(NodeId peer);
  /// There is a new one.
  void Connected(NodeId peer);
  /// A get, put or compare-and-swap; `answer` is called at most once. False: nobody listens.
  bool Ask(std::uint64_t client, const sim::KvOp& op, AnswerTo answer);
  /// What an operator asks for. REQUIRES: up().
  ProposeResult Change(const ConfigurationChange& change);
  ProposeResult TransferTo(NodeId target);

 private:
  struct Applying {
    std::uint64_t after_batch = 0;  ///< 0: may be applied now
    std::optional<SnapshotMeta> install;
    std::vector<EntryPtr> committed;
    std::vector<Output::Read> reads;
  };
  struct Asked {
    Term term;
    AnswerTo answer;
  };
  struct AskedRead {
    std::string key;
    bool at_once = true;  ///< no other input has come since
    AnswerTo answer;
  };

  /// `event` is an input of `source`; one source's inputs keep their order.
  void Do(std::uint64_t source, std::function<void()> event);
  void BringTime();
  /// Executes what the node has to say, and plans its next tick.
  void Pump();
  void Execute(Output output);
  void Send(const Envelope& envelope);
  void RunApplying();
  void CountLimit(const Refused& refused);
  void Apply(const EntryPtr& entry);
  void AnswerRead(const Output::Read& read);
  void StartWrite();
  /// Gives the store what is in the write under way.
  absl::Status WriteGathered();
  void FinishWrite();
  void PlanTimer();
  void MaybeCompact();
  bool SaveSnapshot(bool keep_trailing);
  /// The process ends. `power`: with its machine.
  void Die(bool power);
  /// The store has failed: the process ends itself, and is started again.
  void DieOf(const absl::Status& status);
  void PlanRestart(Duration delay);
  absl::Status DiskFault(const std::string& operation);
  bool Load(const SnapshotMeta& meta);

  Cluster& cluster_;
  const NodeId id_;
  const NodeOptions node_options_;
  const Configuration initial_;
  Rng rng_;       ///< of the node
  Rng disk_rng_;  ///< of what befalls the disk
  sim::SimDisk disk_;
  sim::DiskLatency latency_;
  sim::DriftingClock clock_;
  State state_ = State::kDown;
  bool retired_ = false;
  std::uint64_t life_ = 0;
  bool disk_full_ = false;
  bool fail_sync_ = false;
  std::optional<std::uint64_t> disk_operations_left_;  ///< until a kill -9
  Duration restart_delay_ = std::chrono::milliseconds(20);

  // Of the process.
  std::unique_ptr<RaftStore> store_;
  std::unique_ptr<Node> node_;
  KvMachine machine_;
  LogPosition applied_;
  TimePoint ticked_;  ///< local time up to which the node has been told of
  std::optional<sim::Scheduler::EventId> timer_;
  std::optional<sim::Scheduler::EventId> write_;
  std::deque<Output> writes_;
  std::size_t writing_ = 0;  ///< of those, in the write under way
  std::uint64_t durable_batch_ = 0;
  std::deque<Envelope> held_;  ///< until their batch is durable
  std::deque<Applying> applying_;
  std::map<LogIndex, Asked> asked_;
  std::map<ReadId, AskedRead> reads_;
  ReadId next_read_ = 1;
  LogIndex snapshot_;
  bool pumping_ = false;
  struct Waiting {
    std::uint64_t source = 0;
    std::function<void()> event;
  };
  std::vector<Waiting> waiting_;
};

}  // namespace ds::raft
