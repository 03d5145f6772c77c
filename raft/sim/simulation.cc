#include "raft/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "common/base/check.h"
#include "raft/sim/clients.h"
#include "raft/sim/invariants.h"
#include "raft/sim/member.h"
#include "tests/sim/linearizability.h"
#include "tests/sim/network.h"
#include "tests/sim/scheduler.h"

namespace ds::raft {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using NodeNumber = sim::NetworkFaults::NodeNumber;

// After the last fault: a write must be done within kLivenessBound, and when clients have stopped
// all members must be equal within kConvergenceBound. Several election timeouts and snapshots.
constexpr Duration kLivenessBound = seconds(3);
constexpr Duration kConvergenceBound = seconds(5);
// A removed member may not know it, and is left running for a while to disturb, if it can.
constexpr Duration kRetirement = seconds(2);
constexpr std::uint64_t kMembersMax = 24;
// Clients that have begun too few operations when the time is over are given as much again and
// this.
constexpr Duration kLateness = seconds(5);
// In peace one of a client's takes some 8 ms with its pause; with settings that slow a cluster
// down, and members that catch up, up to 13.
constexpr Duration kOperationMax = milliseconds(20);
// Where stale reads may happen, clients are quick.
constexpr Duration kHurry = milliseconds(100);

NodeNumber Number(NodeId id) { return static_cast<NodeNumber>(id.value()); }

std::string Context(NodeId id) { return fmt::format("n{}", id); }

Duration HealAt(const SimulationOptions& options) { return options.length * 5 / 6; }
/// From then on it is a failure that too few operations were begun.
Duration LateAt(const SimulationOptions& options) { return options.length * 2 + kLateness; }

NodeOptions DrawNodeOptions(const SimulationOptions& options, std::uint64_t seed, Rng& rng) {
  NodeOptions node;
  node.lease_reads = LeasesOf(seed) != Leases::kNone;
  node.pre_vote = !rng.Bernoulli(0.2);
  // One entry a message makes long intervals between what a new leader has and what it has sent.
  constexpr std::array<std::uint64_t, 4> kAppendBytes = {1, 1, 200, 1 << 20};
  node.append_bytes_max = kAppendBytes.at(rng.Below(kAppendBytes.size()));
  constexpr std::array<std::uint32_t, 3> kInFlight = {1, 4, 64};
  node.append_in_flight_max = kInFlight.at(rng.Below(kInFlight.size()));
  node.snapshot_part_bytes = 16 + rng.Below(64);  // of some 50 to 100 bytes
  node.snapshot_bytes_per_tick = rng.Bernoulli(0.3) ? 1 + rng.Below(16) : 0;
  node.snapshot_retry_ticks = 100;
  // From numbers of their own: the others stay what they were.
  Rng more(seed ^ 0x11a17edULL);
  if (!node.lease_reads && more.Bernoulli(0.2)) node.check_quorum = false;
  if (more.Bernoulli(0.25)) {
    // Entries have 16 bytes and more; four clients ask one thing at a time.
    node.uncommitted_bytes_max = 20 + more.Below(40);
    node.append_in_flight_bytes_max = 10 + more.Below(100);
    node.reads_max = static_cast<std::uint32_t>(1 + more.Below(3));
  }
  // A slow disk's writes take up to 400.
  constexpr std::array<std::uint32_t, 3> kDiskStall = {60, 300, 3000};
  node.disk_stall_max_ticks = kDiskStall.at(more.Below(kDiskStall.size()));
  node.planted_bug = options.planted_bug;
  return node;
}

class Simulation {
 public:
  Simulation(const SimulationOptions& options, std::uint64_t seed, const std::vector<Fault>& faults,
             const std::function<void(const std::string&)>& print)
      : options_(options),
        print_(print),
        scheduler_(seed),
        seed_(seed),
        rng_(seed ^ 0x5eed0f7e57a7e5ULL),
        more_rng_(seed ^ 0x57ea35ULL),
        node_options_(DrawNodeOptions(options, seed, rng_)),
        network_(
            scheduler_, static_cast<NodeNumber>(options.nodes), {},
            [this](NodeNumber from, NodeNumber to, Message message) {
              Deliver(from, to, std::move(message));
            },
            [this](NodeNumber from, NodeNumber to) {
              if (network_.state(to) == sim::NetworkFaults::NodeState::kUp) {
                ++totals_[Total::kRefusedConnections];
              }
              members_[from]->ConnectionRefused(NodeId(to));
            }),
        cluster_{scheduler_,
                 network_,
                 invariants_,
                 totals_,
                 40 + rng_.Below(160),
                 rng_.Below(40),
                 [this](const std::string& line) { Trace(line); },
                 [this](NodeId id, const Event& event) { Happened(id, event); },
                 [this](NodeId from, const Envelope& envelope) { Left(from, envelope); },
                 [this](NodeId id) { WriteBegins(id); }},
        clients_(scheduler_, members_,
                 {.operations = options.operations, .end = scheduler_.now() + options.length},
                 totals_, rng_.Next()) {
    Configuration initial;
    for (std::uint64_t i = 0; i < options.nodes; ++i) {
      initial.voters.insert(NodeId(i));
      initial.contexts[NodeId(i)] = Context(NodeId(i));
    }
    for (std::uint64_t i = 0; i < options.nodes; ++i) AddMember(initial);
    for (const auto& member : members_) member->Start();
    begin_ = scheduler_.now();
    for (const Fault& fault : faults) {
      scheduler_.At(begin_ + fault.at, [this, &fault] {
        if (!healed_) Inflict(fault);
      });
    }
    scheduler_.At(begin_ + HealAt(options), [this] { Heal(); });
  }

  SimulationResult Run();

 private:
  using MemberPtr = std::unique_ptr<Member>;

  // --- The world ---

  void Trace(const std::string& line) {
    scheduler_.Trace("{}", line);
    if (print_) print_(fmt::format("{:.6f} {}", ToSeconds(scheduler_.now() - begin_), line));
  }
  void Fold(std::uint64_t value) {
    digest_ = (digest_ ^ value) * 0x9e3779b97f4a7c15;
    digest_ ^= digest_ >> 29U;
  }
  void Deliver(NodeNumber from, NodeNumber to, Message message) {
    Fold(static_cast<std::uint64_t>(scheduler_.now().time_since_epoch().count()));
    Fold((std::uint64_t{from} << 40U) | (std::uint64_t{to} << 32U) | (message.body.index() << 24U));
    Fold(message.term.value());
    if (print_) {
      print_(fmt::format("{:.6f} {} -> {}: {}", ToSeconds(scheduler_.now() - begin_), from, to,
                         ToString(message)));
    }
    members_[to]->Receive(NodeId(from), std::move(message));
  }
  void Happened(NodeId id, const Event& event);
  void Left(NodeId from, const Envelope& envelope);
  void WriteBegins(NodeId id);

  Member& AddMember(const Configuration& initial);
  /// The leader of the highest term, if one is up.
  Member* Leader();
  Member* Choose(Victim victim, std::uint64_t pick);

  // --- Faults ---

  void Inflict(const Fault& fault);
  void After(const Fault& fault, std::function<void()> end) {
    scheduler_.After(fault.duration, [this, end = std::move(end)] {
      if (!healed_) end();
    });
  }
  void SetNetwork();
  void Partition(const Fault& fault);
  void OneWay(const Fault& fault);
  void Refuse(const Fault& fault);
  /// What runs from each of `a` to each of `b` and back is found to be broken.
  void BreakStreams(const std::vector<NodeNumber>& a, const std::vector<NodeNumber>& b);
  void BreakStreamsTo(const Member& member);
  void NoticeBrokenStream(NodeNumber at, NodeNumber peer);
  void Crash(Member& member, bool power, Duration duration);
  void Heal();

  // --- Membership ---

  /// Tries until a leader takes it in. `draw` makes a change of its configuration; none: there is
  /// nothing to do any more.
  struct PendingChange {
    std::function<std::optional<ConfigurationChange>(const Configuration&)> make;
    std::uint64_t attempts = 0;
  };
  void BeginChange(const Fault& fault);
  void TryChange(const std::shared_ptr<PendingChange>& pending);
  NodeId Fresh();
  void RetireRemoved(const std::set<NodeId>& removed);
  void Promote(NodeId learner);

  // --- The end ---

  void AwaitPeace();
  void Judge();
  bool Converged() const;
  void Check() {
    if (invariants_.violation() && !scheduler_.failed()) scheduler_.Fail(*invariants_.violation());
  }

  const SimulationOptions& options_;
  const std::function<void(const std::string&)>& print_;
  sim::Scheduler scheduler_;
  const std::uint64_t seed_;
  Rng rng_;
  Rng more_rng_;  ///< whose leases, when streams break
  const NodeOptions node_options_;
  sim::Network<Message> network_;
  Invariants invariants_;
  Totals totals_;
  std::vector<MemberPtr> members_;
  Cluster cluster_;
  Clients clients_;
  TimePoint begin_;
  bool healed_ = false;
  std::uint64_t digest_ = 0;
  std::uint64_t candidates_ = 0;
  std::multiset<double> losses_;
  std::multiset<double> duplications_;
  std::multiset<double> reorderings_;
  std::vector<Fault> for_voters_;   ///< to befall whoever votes next
  std::vector<Fault> for_writers_;  ///< … writes next
  std::vector<Fault> for_leaders_;  ///< … leads next
  std::vector<std::shared_ptr<PendingChange>> changes_;
  std::optional<NodeId> transfer_;
  Term last_leader_term_;
  std::optional<Duration> violated_at_;
};

Member& Simulation::AddMember(const Configuration& initial) {
  const NodeId id(members_.size());
  if (id.value() >= network_.nodes()) network_.AddNode();
  // Within what lease reads are promised for.
  const auto drift = static_cast<std::int64_t>(rng_.Below(100'001)) - 50'000;
  NodeOptions node_options = node_options_;
  // No leader counts on those without; who has them keeps them for life.
  if (LeasesOf(seed_) == Leases::kSome) node_options.lease_reads = more_rng_.Bernoulli(0.7);
  members_.push_back(
      std::make_unique<Member>(cluster_, id, node_options, initial, drift, rng_.Next()));
  return *members_.back();
}

Member* Simulation::Leader() {
  Member* leader = nullptr;
  for (const MemberPtr& member : members_) {
    if (!member->up() || member->node().role() != Node::Role::kLeader) continue;
    if (leader == nullptr || member->node().term() > leader->node().term()) leader = member.get();
  }
  return leader;
}

Member* Simulation::Choose(Victim victim, std::uint64_t pick) {
  Member* leader = Leader();
  if (victim == Victim::kLeader && leader != nullptr) return leader;
  std::vector<Member*> choice;
  for (const MemberPtr& member : members_) {
    if (!member->up() || (victim == Victim::kFollower && member.get() == leader)) continue;
    choice.push_back(member.get());
  }
  return choice.empty() ? nullptr : choice[pick % choice.size()];
}

void Simulation::Happened(NodeId id, const Event& event) {
  constexpr std::array<std::string_view, 9> kNames = {"is a follower",
                                                      "takes the leader for dead",
                                                      "is a candidate",
                                                      "votes",
                                                      "has a majority",
                                                      "leads",
                                                      "has another configuration",
                                                      "gives up a transfer",
                                                      "gives up: its disk hangs"};
  const std::string_view name = kNames.at(static_cast<std::size_t>(event.kind));
  Trace(event.node ? fmt::format("node {} {} for {}, term {}", id, name, *event.node, event.term)
                   : fmt::format("node {} {}, term {}", id, name, event.term));
  if (event.kind == Event::Kind::kCandidate) ++candidates_;
  if (event.kind == Event::Kind::kDiskStalled) ++totals_[Total::kStalledLeaders];
  if (event.kind != Event::Kind::kLeader) return;
  ++totals_[Total::kElections];
  if (transfer_ == id) ++totals_[Total::kTransfers];
  transfer_.reset();
  if (!for_leaders_.empty()) {
    Fault fault = for_leaders_.back();
    for_leaders_.pop_back();
    fault.victim = Victim::kLeader;
    const auto wait = microseconds(static_cast<std::int64_t>(fault.strength * 8000));
    scheduler_.After(wait, [this, fault] {
      if (!healed_) Inflict(fault);
    });
  }
  // Operators are impatient: a change is asked for the moment there is a leader.
  for (const auto& pending : changes_) {
    scheduler_.After(milliseconds(0), [this, pending] { TryChange(pending); });
  }
}

void Simulation::Left(NodeId from, const Envelope& envelope) {
  if (for_voters_.empty()) return;
  const auto* vote = std::get_if<VoteResponse>(&envelope.message.body);
  if (vote == nullptr || vote->pre || !vote->granted) return;
  const Fault fault = for_voters_.back();
  for_voters_.pop_back();
  scheduler_.After(Duration::zero(), [this, from, fault] {
    if (healed_ || !members_[from.value()]->up()) return;
    Crash(*members_[from.value()], fault.kind == FaultKind::kPowerLoss, fault.duration);
  });
}

void Simulation::WriteBegins(NodeId id) {
  if (for_writers_.empty()) return;
  // The leader writes first; the others are to be hit, too.
  if (for_writers_.back().pick % 4 != 0) {
    --for_writers_.back().pick;
    return;
  }
  const Fault fault = for_writers_.back();
  for_writers_.pop_back();
  scheduler_.After(kWriteMin / 2, [this, id, fault] {
    if (healed_ || !members_[id.value()]->up()) return;
    Crash(*members_[id.value()], fault.kind == FaultKind::kPowerLoss, fault.duration);
  });
}

void Simulation::SetNetwork() {
  const auto strongest = [](const std::multiset<double>& of) {
    return of.empty() ? 0.0 : *of.rbegin();
  };
  sim::NetworkFaults::Options& network = network_.options();
  network.loss = strongest(losses_);
  network.duplication = strongest(duplications_);
  network.reordering = strongest(reorderings_);
  network.long_delay = network.reordering / 4;
  network.long_delay_max = milliseconds(80);
  clients_.set_loss(network.loss / 4);
}

void Simulation::Crash(Member& member, bool power, Duration duration) {
  ++totals_[power ? Total::kPowerLosses : Total::kKills];
  Trace(fmt::format("node {} {}", member.id(), power ? "loses power" : "is killed"));
  if (power) {
    member.LosePower();
  } else {
    member.Kill();
    // Its machine says so at once.
    BreakStreamsTo(member);
  }
  scheduler_.After(duration, [this, &member, power] {
    if (healed_) return;
    member.Start();
    if (power) BreakStreamsTo(member);  // only now does it answer what the others send
  });
}

void Simulation::BreakStreams(const std::vector<NodeNumber>& a, const std::vector<NodeNumber>& b) {
  for (const NodeNumber one : a) {
    for (const NodeNumber other : b) {
      if (one == other) continue;
      NoticeBrokenStream(one, other);
      NoticeBrokenStream(other, one);
    }
  }
}

void Simulation::BreakStreamsTo(const Member& member) {
  for (const MemberPtr& other : members_) {
    if (other.get() != &member) NoticeBrokenStream(Number(other->id()), Number(member.id()));
  }
}

void Simulation::NoticeBrokenStream(NodeNumber at, NodeNumber peer) {
  const auto soon = [this] {
    return more_rng_.Between(Duration(microseconds(100)), Duration(milliseconds(2)));
  };
  scheduler_.After(soon(), [this, at, peer, soon] {
    if (!network_.IsCut(peer, at)) members_[at]->Unreachable(NodeId(peer));
    scheduler_.After(soon(), [this, at, peer] {
      if (!network_.IsCut(peer, at)) members_[at]->Connected(NodeId(peer));
    });
  });
}

void Simulation::Partition(const Fault& fault) {
  std::vector<NodeNumber> a;
  std::vector<NodeNumber> b;
  const Member* victim = Choose(fault.victim, fault.pick);
  for (const MemberPtr& member : members_) {
    const bool with_victim =
        member.get() == victim || ((fault.pick >> (2 * member->id().value())) & 3U) == 0;
    (with_victim ? a : b).push_back(Number(member->id()));
  }
  if (a.empty() || b.empty()) return;
  ++totals_[Total::kPartitions];
  Trace(fmt::format("partition: {} | {}", fmt::join(a, " "), fmt::join(b, " ")));
  network_.CutBoth(a, b);
  if (fault.pick % 4 == 0) clients_.Hurry(kHurry);
  After(fault, [this, a, b] {
    Trace("partition heals");
    network_.HealBoth(a, b);
    BreakStreams(a, b);
  });
}

void Simulation::OneWay(const Fault& fault) {
  const Member* victim = Choose(fault.victim, fault.pick);
  if (victim == nullptr) return;
  const std::vector<NodeNumber> one = {Number(victim->id())};
  std::vector<NodeNumber> others;
  const bool all = fault.pick % 2 == 0;
  for (const MemberPtr& member : members_) {
    const bool meant = all || ((fault.pick >> (8 + member->id().value())) & 1U) != 0;
    if (member.get() != victim && meant) others.push_back(Number(member->id()));
  }
  if (others.empty()) return;
  ++totals_[Total::kOneWayCuts];
  const bool mute = (fault.pick & 2U) != 0;
  Trace(fmt::format("node {} {} {}", one[0], mute ? "is not heard by" : "does not hear",
                    fmt::join(others, " ")));
  if (mute) {
    network_.Cut(one, others);
  } else {
    network_.Cut(others, one);
  }
  After(fault, [this, one, others, mute] {
    if (mute) {
      network_.Heal(one, others);
    } else {
      network_.Heal(others, one);
    }
    BreakStreams(one, others);
  });
}

void Simulation::Refuse(const Fault& fault) {
  const Member* victim = Choose(fault.victim, fault.pick);
  if (victim == nullptr) return;
  std::vector<NodeNumber> from;
  for (const MemberPtr& member : members_) {
    const bool meant = fault.strength < 0.7 || ((fault.pick >> member->id().value()) & 1U) != 0;
    if (member.get() != victim && meant) from.push_back(Number(member->id()));
  }
  const NodeNumber to = Number(victim->id());
  Trace(fmt::format("connections to node {} are refused to {}", to, fmt::join(from, " ")));
  for (const NodeNumber one : from) network_.Refuse(one, to);
  clients_.Hurry(kHurry);
  After(fault, [this, from, to] {
    for (const NodeNumber one : from) network_.Accept(one, to);
  });
}

void Simulation::Inflict(const Fault& fault) {
  if (fault.victim == Victim::kNewLeader) {
    for_leaders_.push_back(fault);
    return;
  }
  const auto shared = [&](std::multiset<double>* strengths) {
    Trace(fmt::format("{} of {:.2f} begins", Name(fault.kind), fault.strength));
    strengths->insert(fault.strength);
    SetNetwork();
    After(fault, [this, strengths, strength = fault.strength] {
      strengths->erase(strengths->find(strength));
      SetNetwork();
    });
  };
  switch (fault.kind) {
    case FaultKind::kLoss:
      return shared(&losses_);
    case FaultKind::kDuplication:
      return shared(&duplications_);
    case FaultKind::kReordering:
      return shared(&reorderings_);
    case FaultKind::kPartition:
      return Partition(fault);
    case FaultKind::kOneWay:
      return OneWay(fault);
    case FaultKind::kRefused:
      return Refuse(fault);
    case FaultKind::kMembership:
      return BeginChange(fault);
    default:
      break;
  }
  if (fault.victim == Victim::kVoter) {
    for_voters_.push_back(fault);
    return;
  }
  if (fault.victim == Victim::kWriter) {
    for_writers_.push_back(fault);
    return;
  }
  Member* victim = Choose(fault.victim, fault.pick);
  if (victim == nullptr) return;
  switch (fault.kind) {
    case FaultKind::kPowerLoss:
    case FaultKind::kKill:
      Crash(*victim, fault.kind == FaultKind::kPowerLoss, fault.duration);
      break;
    case FaultKind::kPause:
      ++totals_[Total::kPauses];
      Trace(fmt::format("node {} stands still", victim->id()));
      victim->Pause();
      // Just before it goes on, so that operations of both lie close together.
      scheduler_.After(std::max<Duration>(fault.duration - kHurry / 2, Duration::zero()),
                       [this] { clients_.Hurry(kHurry); });
      After(fault, [this, victim] {
        Trace(fmt::format("node {} goes on", victim->id()));
        victim->Resume();
      });
      break;
    case FaultKind::kSlowDisk: {
      ++totals_[Total::kSlowDisks];
      Trace(fmt::format("node {}'s disk is slower by {:.0f}", victim->id(), fault.strength));
      victim->latency().options().sync_mean =
          Duration(static_cast<Duration::rep>(fault.strength * 1e6));
      After(fault, [victim] { victim->latency().options().sync_mean = microseconds(800); });
      break;
    }
    case FaultKind::kDiskFull:
      Trace(fmt::format("node {}'s disk is full", victim->id()));
      victim->SetDiskFull(true);
      victim->set_restart_delay(milliseconds(20));
      After(fault, [victim] { victim->SetDiskFull(false); });
      break;
    case FaultKind::kFailedSync:
      Trace(fmt::format("node {}'s next sync fails", victim->id()));
      victim->set_restart_delay(fault.duration);
      victim->FailNextSync();
      break;
    case FaultKind::kDrift: {
      ++totals_[Total::kDriftChanges];
      // Up to what NodeOptions::clock_drift allows.
      const auto drift = static_cast<std::int64_t>((2 * fault.strength - 1) * 100'000);
      Trace(fmt::format("node {}'s clock gains {} us a second", victim->id(), drift));
      victim->SetDrift(drift);
      After(fault, [victim] { victim->SetDrift(0); });
      break;
    }
    case FaultKind::kTransfer: {
      Member* leader = Leader();
      if (leader == nullptr) return;
      Member* target = Choose(Victim::kFollower, fault.pick);
      if (target == nullptr) return;
      const ProposeResult result = leader->TransferTo(target->id());
      Trace(fmt::format("node {} is to hand over to {}{}", leader->id(), target->id(),
                        std::holds_alternative<Accepted>(result) ? "" : ": refused"));
      if (std::holds_alternative<Accepted>(result)) transfer_ = target->id();
      break;
    }
    case FaultKind::kSnapshot:
      if (fault.strength < 0.5) {
        victim->Compact(false);
      } else {
        for (const MemberPtr& member : members_) member->Compact(false);
      }
      break;
    default:
      CHECK(false, "all kinds are here");
  }
}

NodeId Simulation::Fresh() {
  Member& member = AddMember({});
  member.Start();
  return member.id();
}

void Simulation::BeginChange(const Fault& fault) {
  if (members_.size() + 2 > kMembersMax) return;
  const auto pending = std::make_shared<PendingChange>();
  const std::uint64_t nodes = options_.nodes;
  const std::uint64_t pick = fault.pick;
  const auto nth = [](const std::set<NodeId>& ids, std::uint64_t n) {
    return *std::next(ids.begin(), static_cast<std::ptrdiff_t>(n % ids.size()));
  };
  // Those of one change are made once, though it may be tried several times.
  const auto made = std::make_shared<std::vector<NodeId>>();
  const auto fresh = [this, made](std::size_t i) {
    while (made->size() <= i) made->push_back(Fresh());
    return (*made)[i];
  };
  pending->make = [=](const Configuration& now) -> std::optional<ConfigurationChange> {
    ConfigurationChange change;
    const bool many = now.voters.size() > nodes;
    const bool few = now.voters.size() < std::max<std::uint64_t>(3, nodes - 1);
    switch (few ? 4 : pick % 7) {
      case 0: {  // a learner, which is made a voter later
        change.add_learners[fresh(0)] = Context(fresh(0));
        break;
      }
      case 1:  // replaced at once
        change.add_voters[fresh(0)] = Context(fresh(0));
        change.remove.insert(nth(now.voters, pick / 7));
        break;
      case 2:  // the leader's too
        if (now.voters.size() <= 2) return std::nullopt;
        change.remove.insert(nth(now.voters, pick / 7));
        break;
      case 3:  // two for two
        if (now.voters.size() < 3) return std::nullopt;
        for (const std::size_t i : {std::size_t{0}, std::size_t{1}})
          change.add_voters[fresh(i)] = Context(fresh(i));
        change.remove.insert(nth(now.voters, pick / 7));
        change.remove.insert(nth(now.voters, pick / 7 + 1));
        break;
      case 4:  // one more
        if (many) return std::nullopt;
        change.add_voters[fresh(0)] = Context(fresh(0));
        break;
      case 5:  // a voter becomes a learner
        if (now.voters.size() <= 2) return std::nullopt;
        change.add_learners[nth(now.voters, pick / 7)] = Context(nth(now.voters, pick / 7));
        break;
      default:  // all learners go, or become voters
        if (now.learners.empty()) return std::nullopt;
        for (const NodeId id : now.learners) {
          if (many) {
            change.remove.insert(id);
          } else {
            change.add_voters[id] = Context(id);
          }
        }
        break;
    }
    return change;
  };
  changes_.push_back(pending);
  TryChange(pending);
}

void Simulation::TryChange(const std::shared_ptr<PendingChange>& pending) {
  const auto stands = std::find(changes_.begin(), changes_.end(), pending);
  if (stands == changes_.end()) return;
  if (healed_ || ++pending->attempts > 60) {
    changes_.erase(stands);
    return;
  }
  Member* leader = Leader();
  if (leader != nullptr) {
    const std::optional<ConfigurationChange> change = pending->make(leader->node().configuration());
    if (!change) {
      changes_.erase(stands);
      return;
    }
    const ProposeResult result = leader->Change(*change);
    if (std::holds_alternative<Accepted>(result)) {
      ++totals_[Total::kMembershipChanges];
      Trace(fmt::format("node {} changes the membership", leader->id()));
      changes_.erase(std::find(changes_.begin(), changes_.end(), pending));
      for (const auto& [id, context] : change->add_learners) Promote(id);
      RetireRemoved(change->remove);
      return;
    }
    const auto why = std::get<Refused>(result).why;
    if (why == Refused::Why::kInvalidChange) {
      Trace(fmt::format("node {} refuses a change: {}", leader->id(),
                        std::get<Refused>(result).detail));
      pending->attempts += 10;
    }
  }
  scheduler_.After(milliseconds(40), [this, pending] { TryChange(pending); });
}

void Simulation::Promote(NodeId learner) {
  const auto pending = std::make_shared<PendingChange>();
  pending->make = [learner](const Configuration& now) -> std::optional<ConfigurationChange> {
    if (!now.learners.contains(learner)) return std::nullopt;
    ConfigurationChange change;
    change.add_voters[learner] = Context(learner);
    return change;
  };
  scheduler_.After(milliseconds(300), [this, pending] {
    changes_.push_back(pending);
    TryChange(pending);
  });
}

void Simulation::RetireRemoved(const std::set<NodeId>& removed) {
  if (removed.empty()) return;
  scheduler_.After(kRetirement, [this, removed] {
    for (const NodeId id : removed) {
      if (invariants_.committed_configuration().Contains(id)) continue;
      Trace(fmt::format("node {} is switched off", id));
      members_[id.value()]->Retire();
    }
  });
}

void Simulation::Heal() {
  Trace("everything heals");
  healed_ = true;
  for (NodeNumber from = 0; from < network_.nodes(); ++from) {
    for (NodeNumber to = 0; to < network_.nodes(); ++to) {
      if (from != to && network_.IsCut(from, to)) BreakStreams({from}, {to});
    }
  }
  network_.HealAll();
  losses_.clear();
  duplications_.clear();
  reorderings_.clear();
  SetNetwork();
  changes_.clear();
  for_voters_.clear();
  for_writers_.clear();
  for_leaders_.clear();
  for (const MemberPtr& member : members_) {
    member->SetDiskFull(false);
    member->latency().options().sync_mean = microseconds(800);
    member->latency().Restart();
    if (member->state() == Member::State::kPaused) member->Resume();
    member->Start();
  }
  const TimePoint healed_at = scheduler_.now();
  scheduler_.After(kLivenessBound, [this, healed_at] {
    if (!clients_.newest_write() || *clients_.newest_write() < healed_at) {
      scheduler_.Fail(fmt::format("liveness: no write in the {} s after everything healed",
                                  ToSeconds(kLivenessBound)));
    }
  });
}

bool Simulation::Converged() const {
  const Configuration& now = invariants_.committed_configuration();
  if (now.joint()) return false;
  std::optional<std::uint64_t> digest;
  for (const NodeId id : now.Members()) {
    const Member& member = *members_[id.value()];
    if (!member.up() || member.machine_applied() != invariants_.committed()) return false;
    if (member.node().last().index != invariants_.committed()) return false;
    if (digest && *digest != member.machine().digest()) return false;
    digest = member.machine().digest();
  }
  return invariants_.acknowledged() <= invariants_.committed();
}

void Simulation::Judge() {
  const sim::LinearizabilityResult result = sim::CheckLinearizablePerKey(clients_.history());
  if (result.verdict == sim::Verdict::kUnknown) ++totals_[Total::kNotJudged];
  if (result.verdict == sim::Verdict::kNotLinearizable) {
    violated_at_ = *result.refuted_at - begin_;
    scheduler_.Fail("linearizability: " + result.explanation);
  }
}

void Simulation::AwaitPeace() {
  const auto check = [this] { Check(); };
  // Faults may have left the clients behind.
  const TimePoint late = begin_ + LateAt(options_);
  while (!scheduler_.failed() && clients_.invoked() < options_.operations &&
         scheduler_.now() < late) {
    scheduler_.Run(scheduler_.now() + milliseconds(50), UINT64_MAX, check);
  }
  if (!scheduler_.failed() && clients_.invoked() < options_.operations) {
    scheduler_.Fail(fmt::format("liveness: clients began {} operations of {}", clients_.invoked(),
                                options_.operations));
  }
  clients_.Stop();
  const TimePoint deadline = scheduler_.now() + kConvergenceBound;
  while (!scheduler_.failed() && !Converged()) {
    if (scheduler_.now() >= deadline) {
      scheduler_.Fail(fmt::format("liveness: members are not equal {} s after the last operation",
                                  ToSeconds(kConvergenceBound)));
      break;
    }
    scheduler_.Run(scheduler_.now() + milliseconds(50), UINT64_MAX, check);
  }
}

SimulationResult Simulation::Run() {
  clients_.Start();
  const Duration end = std::min(options_.until.value_or(options_.length), options_.length);
  scheduler_.Run(begin_ + end, UINT64_MAX, [this] { Check(); });
  if (end == options_.length) AwaitPeace();
  if (scheduler_.failed()) violated_at_ = scheduler_.now() - begin_;
  // Operations that are still open end as unknown by their own deadlines, or stay open.
  if (!scheduler_.failed()) Judge();

  for (const MemberPtr& member : members_) {
    if (member->state() == Member::State::kDown) continue;
    totals_[Total::kTerms] = std::max(totals_[Total::kTerms], member->node().term().value());
  }
  totals_[Total::kSplitVotes] = candidates_ - std::min(candidates_, totals_[Total::kElections]);
  totals_[Total::kTruncations] = invariants_.truncations();
  totals_[Total::kConfigurations] = invariants_.configurations();
  const sim::NetworkFaults::Counters& network = network_.counters();
  totals_[Total::kLost] = network.lost;
  totals_[Total::kDuplicated] = network.duplicated;
  totals_[Total::kReordered] = network.reordered;
  for (std::size_t i = 0; i < kTotals; ++i) Fold(totals_[static_cast<Total>(i)]);

  const sim::RunResult run = scheduler_.Result();
  Fold(run.digest);
  return {run.failure, violated_at_, run.steps, digest_, run.trace_tail, totals_};
}

}  // namespace

Leases LeasesOf(std::uint64_t seed) {
  if (seed % 2 == 0) return Leases::kNone;
  return seed % 8 == 5 ? Leases::kSome : Leases::kAll;
}

absl::Status SimulationOptions::Validate() const {
  if (nodes < 1 || nodes > 9) {
    return InvalidArgument(fmt::format("nodes: {} is not within 1 and 9", nodes));
  }
  if (length < seconds(1) || length > seconds(3600)) {
    return InvalidArgument(fmt::format("seconds: {} is not within 1 and 3600", ToSeconds(length)));
  }
  if (operations > OperationsMax()) {
    return InvalidArgument(
        fmt::format("operations: {} are more than the {} that the clients are sure to begin in a "
                    "run of {} s",
                    operations, OperationsMax(), ToSeconds(length)));
  }
  return absl::OkStatus();
}

std::uint64_t SimulationOptions::OperationsMax() const {
  // While there are faults all of them may be in vain, and then a leader must be found.
  const Duration peace = LateAt(*this) - HealAt(*this) - kLivenessBound;
  const auto in_peace = static_cast<std::uint64_t>(peace / kOperationMax);
  return std::min<std::uint64_t>(in_peace * Clients::Options().clients, 100'000);
}

std::vector<Fault> FaultsOf(const SimulationOptions& options, std::uint64_t seed) {
  Rng rng(~seed);
  return DrawFaults(options.faults, HealAt(options), rng);
}

SimulationResult Simulate(const SimulationOptions& options, std::uint64_t seed,
                          const std::vector<Fault>& faults,
                          const std::function<void(const std::string&)>& print) {
  return Simulation(options, seed, faults, print).Run();
}

}  // namespace ds::raft
