#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "raft/core/node.h"

namespace ds::raft {

// Values of tests in few letters.
inline LogPosition At(std::uint64_t term, std::uint64_t index) {
  return {Term(term), LogIndex(index)};
}
EntryPtr Command(std::uint64_t term, std::uint64_t index, std::string data);
EntryPtr Noop(std::uint64_t term, std::uint64_t index);
EntryPtr ConfigurationEntry(std::uint64_t term, std::uint64_t index, const Configuration& value);
/// Commands `t<term>i<index>` of these terms, from index `first` on.
std::vector<EntryPtr> LogOf(std::initializer_list<std::uint64_t> terms, std::uint64_t first = 1);
/// Each voter's context is "m<id>".
Configuration VotersOnly(std::initializer_list<std::uint64_t> voters);
/// The terms of entries, for comparisons: "1 1 2".
std::string Terms(const std::vector<EntryPtr>& entries);

// Messages of a peer that is played by the test.
Message Vote(std::uint64_t term, LogPosition last);
Message PreVote(std::uint64_t term, LogPosition last);
Message TransferVote(std::uint64_t term, LogPosition last);
Message Granted(std::uint64_t term);
Message PreGranted(std::uint64_t term);
Message Denied(std::uint64_t term);
Message Append(std::uint64_t term, LogPosition previous, std::vector<EntryPtr> entries = {},
               std::uint64_t committed = 0, std::uint64_t round = 1);
Message AppendAnswer(std::uint64_t term, bool accepted, LogPosition match, std::uint64_t round = 0);
Message Part(std::uint64_t term, const SnapshotMeta& meta, std::uint64_t offset, std::string data);

/// Timers small enough to count by hand: 10 to 20 ticks, heartbeats each 3.
NodeOptions QuickOptions();

/// Members of one cluster in one process, moved by hand: nothing happens but what a test asks for.
/// Each input is followed by the execution of its output. The rules of Figure 3, and that nobody
/// says what his disk does not know yet, are checked at each step; a breach fails the test when the
/// group dies, unless TakeBreaches() was called. Single threaded.
class Group {
 public:
  enum class Rule {
    kOwn,  ///< what a member does with its own disk, state and promises, whoever its peers are
    kAgreement,  ///< of several members, and only while all of them are honest
    kProgress,   ///< something that the test waits for does not come
  };
  struct Breach {
    Rule rule = Rule::kOwn;
    std::string what;
  };

  /// What survives a crash.
  struct DiskState {
    HardState hard_state;
    SnapshotMeta snapshot;
    std::string snapshot_bytes;
    std::map<std::uint64_t, EntryPtr> entries;

    std::vector<EntryPtr> Log() const;
  };
  struct Options {
    NodeOptions node = QuickOptions();
    std::uint64_t seed = 1;
    std::uint64_t voters = 3;                         ///< 1, 2, …, unless configuration is given
    std::optional<Configuration> configuration = {};  ///< of the start
    std::map<std::uint64_t, std::vector<EntryPtr>> logs = {};
    std::map<std::uint64_t, HardState> hard_states = {};  ///< else the term of the last entry
    std::function<void(const std::string&)> trace =
        {};  ///< is given a line for each thing that happens
  };
  struct Packet {
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    Message message;
  };
  using Predicate = std::function<bool(const Packet&)>;

  explicit Group(Options options);
  explicit Group(std::uint64_t voters = 3);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  /// REQUIRES: the member runs.
  Node& node(std::uint64_t id);
  Node& operator[](std::uint64_t id) { return node(id); }
  bool running(std::uint64_t id) const;
  std::vector<std::uint64_t> ids() const;

  /// A member that knows nothing; it waits to be sent a configuration.
  void AddEmpty(std::uint64_t id);

  // --- Inputs ---

  void Tick(std::uint64_t id, std::uint64_t ticks = 1);
  /// Each running member by one tick, then Deliver(), `ticks` times.
  void Run(std::uint64_t ticks);
  /// Ticks the member until its election timer runs out; nothing is delivered.
  void Campaign(std::uint64_t id);
  /// Campaign and delivery until it leads. The others' timers are made nearly to run out first.
  void Elect(std::uint64_t id);
  ProposeResult Propose(std::uint64_t id, std::string command);
  ProposeResult Change(std::uint64_t id, const ConfigurationChange& change);
  ProposeResult Transfer(std::uint64_t id, std::uint64_t target);
  std::optional<Refused> Read(std::uint64_t id, ReadId read);
  void ConnectionRefused(std::uint64_t id, std::uint64_t peer);
  void Unreachable(std::uint64_t id, std::uint64_t peer);
  void Connected(std::uint64_t id, std::uint64_t peer);
  /// Makes a snapshot of what has been applied and forgets the entries up to `keep_after` (default:
  /// all of them).
  void Compact(std::uint64_t id, std::optional<std::uint64_t> keep_after = std::nullopt);
  /// The message reaches `to` at once, cut or not.
  void Inject(std::uint64_t from, std::uint64_t to, Message message);
  /// Executes what the member has to do: for inputs made on node() itself.
  void Pump(std::uint64_t id);

  // --- Network ---

  /// Everything that is under way, and what follows from it.
  void Deliver();
  /// The same among these members only; the rest stays under way.
  void DeliverAmong(const std::set<std::uint64_t>& members);
  /// The same from one to another only.
  void DeliverFrom(std::uint64_t from, std::uint64_t to);
  /// The oldest message. False: none.
  bool DeliverOne();
  /// What is under way (from `from` only), taken away.
  std::vector<Packet> Take(std::optional<std::uint64_t> from = std::nullopt);
  const std::deque<Packet>& under_way() const { return under_way_; }
  void Cut(std::uint64_t a, std::uint64_t b);
  void CutOneWay(std::uint64_t from, std::uint64_t to);
  void Isolate(std::uint64_t id);
  void Heal();
  /// Messages of which this is true are lost. None: no message.
  void SetDrop(Predicate drop) { drop_ = std::move(drop); }

  // --- Disks ---

  /// False: batches wait for MakeDurable().
  void SetAutomatic(std::uint64_t id, bool automatic);
  /// The next `batches` that wait, all by default.
  void MakeDurable(std::uint64_t id, std::size_t batches = SIZE_MAX);
  std::size_t unwritten(std::uint64_t id) const { return members_.at(id).unwritten.size(); }
  const DiskState& disk(std::uint64_t id) const { return members_.at(id).disk; }
  /// What was not durable is lost, and what is under way from it stays so.
  void Crash(std::uint64_t id);
  void Restart(std::uint64_t id);
  /// Its snapshot's bytes cannot be read for the next parts.
  void SetSnapshotUnreadable(std::uint64_t id, bool value) {
    members_.at(id).snapshot_unreadable = value;
  }

  // --- What was seen ---

  /// Commands in the member's state machine.
  const std::vector<std::string>& state(std::uint64_t id) const { return members_.at(id).state; }
  const std::vector<Event>& events(std::uint64_t id) const { return members_.at(id).events; }
  std::size_t Count(std::uint64_t id, Event::Kind kind) const;
  /// Answers of Read(), in their order.
  const std::vector<Output::Read>& reads(std::uint64_t id) const { return members_.at(id).reads; }
  /// The terms of the member's log, durable or not, from the first in memory on: "1 1 2".
  std::string Log(std::uint64_t id);
  /// The one member that leads in the highest term of all.
  std::optional<std::uint64_t> Leader();
  /// Snapshots that members have received and installed.
  std::uint64_t installs() const { return installs_; }
  /// The first few broken rules of each kind, one line each; they do not fail the test then.
  std::vector<Breach> TakeBreaches();

 private:
  struct Write {
    std::uint64_t batch = 0;
    std::optional<HardState> hard_state;
    std::optional<Output::ReceivedPart> snapshot_part;
    std::optional<SnapshotMeta> install;
    std::vector<EntryPtr> entries;
  };
  struct Member {
    std::unique_ptr<Rng> rng;
    std::unique_ptr<Node> node;
    bool automatic = true;
    bool snapshot_unreadable = false;
    DiskState disk;
    std::optional<SnapshotMeta> receiving;
    std::string received;
    std::deque<Write> unwritten;
    std::vector<Envelope> waiting;
    std::uint64_t durable_batch = 0;
    std::uint64_t newest_batch = 0;
    std::vector<std::string> state;
    std::uint64_t applied = 0;
    std::vector<Event> events;
    std::vector<Output::Read> reads;
    std::optional<LogPosition> led_to;  ///< term and last index when it last was seen leading
  };

  void Trace(const std::string& line) const;
  void Broken(Rule rule, std::string what);
  void Start(std::uint64_t id);
  void Execute(std::uint64_t id, Output output);
  void Send(std::uint64_t id, Envelope envelope);
  void WriteFirst(std::uint64_t id);
  void Apply(std::uint64_t id, const EntryPtr& entry);
  void CheckNewLeader(std::uint64_t id, Term term);
  void CheckPromise(std::uint64_t id, const Envelope& envelope);
  void CheckLogs();
  bool DeliverFirst(const Predicate& which);
  std::optional<Term> DurableTermAt(const Member& member, std::uint64_t index) const;

  Options options_;
  std::map<std::uint64_t, Member> members_;
  std::deque<Packet> under_way_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> cut_;
  Predicate drop_;
  std::map<std::uint64_t, std::uint64_t> leaders_;  ///< of each term
  std::map<std::uint64_t, Entry> applied_;          ///< by any member, at each index
  std::uint64_t installs_ = 0;
  std::vector<Breach> breaches_;
};

/// The newest message of this kind that `from` has sent to `to`; takes all that are under way.
template <typename Body>
struct Said {
  std::uint64_t term = 0;
  Body body;
};
template <typename Body>
std::optional<Said<Body>> LastSaid(Group& group, std::uint64_t from, std::uint64_t to) {
  std::optional<Said<Body>> said;
  for (Group::Packet& packet : group.Take()) {
    auto* body = std::get_if<Body>(&packet.message.body);
    if (body != nullptr && packet.from == from && packet.to == to) {
      said = Said<Body>{packet.message.term.value(), std::move(*body)};
    }
  }
  return said;
}

/// The result as a word: "2/5" (term/index), or why it was refused.
std::string ToString(const ProposeResult& result);
std::string ToString(Refused::Why why);
std::string ToString(const Event& event);

}  // namespace ds::raft
