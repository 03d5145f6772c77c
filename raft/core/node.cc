#include "raft/core/node.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "raft/core/log.h"
#include "raft/core/progress.h"
#include "raft/core/quorum.h"

namespace ds::raft {
namespace {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
// Far above what can be reached, far below where adding to it could wrap.
constexpr Term kTermMax(1ULL << 62);
constexpr LogIndex kIndexMax(1ULL << 62);
// A snapshot's transfer is over when no part was taken for so many times the retry.
constexpr std::uint64_t kTransferRetries = 4;
// One Output has not much more than this of committed data; the rest follows in the next.
constexpr std::uint64_t kCommittedBytesMax = 4 << 20;
// Reads that come while so many rounds are under way wait for one of them to be confirmed.
constexpr std::size_t kReadRoundsMax = 2;
// An entry counts at least so much against uncommitted_bytes_max.
constexpr std::uint64_t kEntryBytesMin = 16;

std::uint64_t BytesOf(const Entry& entry) {
  return std::max<std::uint64_t>(entry.data.size(), kEntryBytesMin);
}

std::uint64_t BytesOf(const std::vector<EntryPtr>& entries) {
  std::uint64_t bytes = 0;
  for (const EntryPtr& entry : entries) bytes += entry->data.size();
  return bytes;
}

bool NotOlder(LogPosition a, LogPosition b) {
  return a.term != b.term ? a.term > b.term : a.index >= b.index;
}

// What can be seen in the message alone: entries follow `previous`, terms do not fall nor exceed
// the leader's, configurations can be decoded.
bool WellFormed(Term term, const AppendRequest& request) {
  LogPosition before = request.previous;
  if (before.index > kIndexMax) return false;
  for (const EntryPtr& entry : request.entries) {
    if (entry == nullptr || entry->position.index != before.index + 1) return false;
    const Term made_in = entry->position.term;
    if (made_in == Term() || made_in < before.term || made_in > term) return false;
    if (entry->kind > Entry::Kind::kConfiguration) return false;
    if (entry->kind == Entry::Kind::kConfiguration && !DecodeConfiguration(entry->data).ok()) {
      return false;
    }
    before = entry->position;
  }
  return true;
}

bool WellFormed(Term term, const SnapshotPart& part) {
  return part.meta.last.index > LogIndex() && part.meta.last.index <= kIndexMax &&
         part.meta.last.term <= term && part.length == part.data.size() &&
         part.offset <= part.meta.bytes && part.length <= part.meta.bytes - part.offset &&
         part.meta.configuration.Validate().ok();
}

// --- What belongs to one role. In the order of Node::Role. ---

struct ForwardedReads {
  std::vector<ReadId> ids;
  std::uint64_t deadline = 0;
  std::optional<LogIndex> index;  // the leader's answer
};
struct FollowerRole {
  std::optional<NodeId> leader;
  bool gave_way = false;        // to another's trial, since its leader's connection was refused
  bool announced_dead = false;  // kLeaderDead was given before the timer ran out
  std::map<std::uint64_t, ForwardedReads> reads;           // by batch; deadlines rise
  std::set<std::pair<LogIndex, std::uint64_t>> confirmed;  // batches that wait to be applied
};
struct PreCandidateRole {
  std::map<NodeId, bool> votes;
  std::uint64_t ask_again = 0;  // tick
  bool first = true;            // no trial of the same search for a leader has failed before
};
struct CandidateRole {
  std::map<NodeId, bool> votes;
  std::uint64_t ask_again = 0;  // tick
  bool transfer = false;        // its leader told it to
};
// Reads that wait for an answer of a quorum to `round`.
struct ReadRound {
  std::uint64_t round = 0;
  LogIndex index;
  std::uint64_t deadline = 0;
  std::vector<ReadId> own;
  std::vector<std::pair<NodeId, std::uint64_t>> forwarded;  // asker and its batch
};
// A read of this member that waits until the state machine has `index`.
struct ConfirmedRead {
  ReadId id = 0;
  LogIndex index;
  std::uint64_t deadline = 0;
};
struct Transfer {
  NodeId target;
  std::uint64_t deadline = 0;
  bool told = false;
};
// The configuration at `index` is committed without some that were followers before.
struct Leaving {
  LogIndex index;
  std::uint64_t round = 0;  // requests of it and later ones say that it is committed
  std::uint64_t deadline = 0;
};
struct LeaderRole {
  // Members of the configuration in use, and who is leaving: they are counted nowhere.
  std::map<NodeId, Progress> followers;
  std::map<NodeId, std::string> contexts;  // theirs
  std::optional<Leaving> leaving;
  LogIndex noop;                        // first entry of the term
  LogIndex counted;                     // committed and durable here
  std::uint64_t uncommitted_bytes = 0;  // of entries in (counted, last]
  std::uint64_t heartbeat_at = 0;       // tick
  std::uint64_t check_quorum_at = 0;    // the quorum cannot be lost before
  std::uint64_t round = 0;
  // (round, tick at which it began), without gaps, as long as a lease could count from it.
  std::deque<std::pair<std::uint64_t, std::uint64_t>> round_starts;
  std::vector<std::pair<NodeId, std::uint64_t>> forwarded;  // reads of others without round yet
  std::deque<ReadRound> read_rounds;
  std::optional<Transfer> transfer;
  bool lease_given_up = false;       // somebody was told to campaign in spite of it
  std::int64_t snapshot_credit = 0;  // bytes that may be sent
  bool must_replicate = false;       // there may be something to send
};

}  // namespace

absl::Status NodeOptions::Validate() const {
  if (election_timeout_min_ticks == 0) {
    return InvalidArgument("election_timeout_min_ticks must not be 0");
  }
  if (election_timeout_max_ticks < election_timeout_min_ticks) {
    return InvalidArgument("election_timeout_max_ticks is below election_timeout_min_ticks");
  }
  if (heartbeat_ticks == 0 || heartbeat_ticks >= election_timeout_min_ticks) {
    return InvalidArgument("heartbeat_ticks must be above 0 and below election_timeout_min_ticks");
  }
  if (lease_reads && !check_quorum) return InvalidArgument("lease_reads needs check_quorum");
  if (!(clock_drift >= 0 && clock_drift < 1)) {
    return InvalidArgument("clock_drift must be in [0, 1)");
  }
  if (append_bytes_max == 0 || append_in_flight_max == 0 || append_in_flight_bytes_max == 0 ||
      uncommitted_bytes_max == 0 || proposal_bytes_max == 0 || reads_max == 0 ||
      snapshot_part_bytes == 0 || snapshot_retry_ticks == 0) {
    return InvalidArgument("a limit of sizes, numbers or the snapshot's retry is 0");
  }
  return absl::OkStatus();
}

bool Output::empty() const {
  return events.empty() && messages.empty() && batch == 0 && !hard_state && !snapshot_part &&
         !install && entries.empty() && committed.empty() && reads.empty();
}

class Node::Impl {
 public:
  Impl(NodeId id, const NodeOptions& options, Restored restored, Rng& rng);

  void Tick(std::uint64_t ticks);
  std::uint64_t TicksToNext() const;
  void Step(NodeId from, Message message);
  void Persisted(std::uint64_t batch);
  void ConnectionRefused(NodeId peer);
  void Unreachable(NodeId peer);
  void Connected(NodeId peer);
  ProposeResult Propose(std::string command);
  ProposeResult ProposeChange(const ConfigurationChange& change);
  ProposeResult TransferTo(NodeId target);
  std::optional<Refused> Read(ReadId id);
  void Compact(const SnapshotMeta& meta, LogIndex keep_after);
  std::optional<SnapshotMeta> SnapshotAt(LogIndex index) const;
  void SnapshotUnavailable(NodeId peer);
  bool SnapshotInTransfer() const;
  bool HasOutput() const;
  Output TakeOutput();

  NodeId id() const { return id_; }
  Role role() const { return static_cast<Role>(role_.index()); }
  Term term() const { return term_; }
  std::optional<NodeId> vote() const { return vote_; }
  std::optional<NodeId> leader() const;
  LogIndex committed() const { return committed_; }
  LogIndex applied() const { return applied_; }
  const Log& log() const { return log_; }
  LogPosition snapshot() const { return snapshot_.last; }
  const Configuration& configuration() const { return log_.configuration(); }
  bool HasLease() const;
  std::vector<Node::Follower> followers() const;
  std::map<NodeId, std::string> Peers() const;

 private:
  bool Broken(PlantedBug bug) const { return options_.planted_bug == bug; }
  FollowerRole* AsFollower() { return std::get_if<FollowerRole>(&role_); }
  const FollowerRole* AsFollower() const { return std::get_if<FollowerRole>(&role_); }
  LeaderRole* AsLeader() { return std::get_if<LeaderRole>(&role_); }
  const LeaderRole* AsLeader() const { return std::get_if<LeaderRole>(&role_); }

  void Note(Event::Kind kind, std::optional<NodeId> node = std::nullopt) {
    output_.events.push_back({kind, term_, node});
  }

  // Role changes and elections.
  void BecomeFollower(Term term, std::optional<NodeId> leader);
  void BecomePreCandidate(bool first);
  void BecomeCandidate(bool transfer);
  void BecomeLeader();
  void LeaveRole();
  void StartElection(bool first);
  void AskForTrialVotes(PreCandidateRole& trial);
  void AskForVotes(CandidateRole& candidate);
  std::vector<NodeId> OtherVoters() const;
  void CountElection();
  bool CanCampaign() const;
  bool HearsLeader() const;
  bool MayVoteFor(NodeId candidate) const;
  std::uint64_t AskAgainTicks() const { return std::max(options_.heartbeat_ticks / 4, 1U); }
  void DrawElectionTimeout();
  void ResetElectionTimer() { election_at_ = now_ + election_timeout_; }
  bool TimerRuns() const;

  // Time.
  void ElectionTimerExpired();
  void TickLeader(LeaderRole& leader, std::uint64_t ticks);
  bool IsActive(const Progress& progress) const {
    return now_ - progress.heard < options_.election_timeout_max_ticks;
  }
  bool QuorumIsLost(LeaderRole& leader) const;
  std::uint64_t DiskDeadline() const;
  void RefillSnapshotCredit(LeaderRole& leader, std::uint64_t ticks) const;
  std::uint64_t SnapshotDue(const LeaderRole& leader, const Progress& progress) const;

  // One function for each kind of message.
  void Handle(NodeId from, Term term, const VoteRequest& request);
  void HandlePreVote(NodeId from, Term term, const VoteRequest& request);
  void Handle(NodeId from, Term term, const VoteResponse& response);
  void Handle(NodeId from, Term term, const AppendRequest& request);
  void Handle(NodeId from, Term term, const AppendResponse& response);
  void Handle(NodeId from, Term term, SnapshotPart& part);
  void Handle(NodeId from, Term term, const SnapshotPartResponse& response);
  void Handle(NodeId from, Term term, const TimeoutNow& order);
  void Handle(NodeId from, Term term, const ReadRequest& request);
  void Handle(NodeId from, Term term, const ReadResponse& response);
  bool HearFromLeader(NodeId from, Term term, bool well_formed);
  bool IsFromMember(NodeId from, Term term);

  // Follower: the log.
  bool MatchesPrevious(LogPosition previous) const;
  bool Extend(const std::vector<EntryPtr>& entries);
  void CutFrom(LogIndex first);
  void CommitTo(LogIndex index);
  void TakePart(NodeId from, SnapshotPart& part);
  void Install(const SnapshotMeta& meta);
  void ConfigurationChanged();

  // Leader: replication and commit.
  ProposeResult Refuse(Refused::Why why, std::string detail = {}) const;
  LogPosition AppendOwn(LeaderRole& leader, Entry::Kind kind, std::string data);
  void BeginRound(LeaderRole& leader);
  void Replicate(LeaderRole& leader);
  void SendEntries(NodeId to, LeaderRole& leader, Progress& progress);
  void SendHeartbeat(NodeId to, LeaderRole& leader, Progress& progress);
  void SendSnapshotPart(NodeId to, LeaderRole& leader, Progress& progress);
  void SyncFollowers(LeaderRole& leader);
  void DropLeavers(LeaderRole& leader);
  void TellLeavers(LeaderRole& leader);
  Progress* NoteAnswer(LeaderRole& leader, NodeId from, std::uint64_t round, bool honours_lease);
  void MaybeCommit();
  void LeaderCommitted();
  void CountDelivered(LeaderRole& leader);
  void HandOver(LeaderRole& leader);
  void FailTransfer(LeaderRole& leader);
  void MaybeOrderTransfer(LeaderRole& leader);
  void OrderToCampaign(LeaderRole& leader, NodeId target);
  std::uint64_t LeaseTicks() const;

  // Reads.
  void FailRead(ReadId id);
  void NoteReadDeadline();
  void ExpireReads(LeaderRole& leader);
  void ExpireConfirmed();
  void FailForwarded(FollowerRole& follower);
  void ExpireForwarded(FollowerRole& follower);
  void StartReads();
  void StartReads(LeaderRole& leader);
  void Forward(FollowerRole& follower);
  void ConfirmReads(LeaderRole& leader);
  void Confirm(ReadRound&& reads);
  void CollectReads();
  bool ReadsCanStart() const;
  bool ReadsCanFinish() const;

  // Output.
  template <typename Body>
  void AddMessage(NodeId to, Term term, Body body, std::uint64_t after_batch) {
    Envelope& envelope = output_.messages.emplace_back();
    envelope.to = to;
    envelope.message.term = term;
    envelope.message.body.template emplace<Body>(std::move(body));
    envelope.after_batch = after_batch;
  }
  template <typename Body>
  void Send(NodeId to, Body body, std::uint64_t after_batch = 0) {
    AddMessage(to, term_, std::move(body), after_batch);
  }
  template <typename Body>
  void SendDurable(NodeId to, Body body, LogIndex index);
  std::uint64_t AfterBatch(LogIndex index) const;
  bool HardStateIsDurable() const {
    return !hard_state_unsaved_ && hard_state_batch_ <= persisted_;
  }
  void SealBatch();
  void CollectCommitted();
  // A snapshot that is being installed is the embedder's state when it is durable.
  LogIndex Readable() const { return install_batch_ <= persisted_ ? applied_ : LogIndex(); }
  LogIndex Deliverable() const { return std::min(committed_, log_.durable()); }

  const NodeId id_;
  const NodeOptions options_;
  Rng* rng_;

  Term term_;
  std::optional<NodeId> vote_;
  Log log_;
  SnapshotMeta snapshot_;
  LogIndex committed_;
  LogIndex applied_;
  std::variant<FollowerRole, PreCandidateRole, CandidateRole, LeaderRole> role_;

  std::uint64_t now_ = 0;
  std::uint64_t election_timeout_ = 0;
  std::uint64_t election_at_ = 0;
  // Tick at which a leader was heard last. Outlives its term: with lease reads the promise does
  // too.
  std::optional<std::uint64_t> leader_heard_at_;

  struct Receiving {
    SnapshotMeta meta;
    Term term;  // of the leader that sends it
    std::uint64_t next_offset = 0;
  };
  std::optional<Receiving> receiving_;

  std::uint64_t last_batch_ = 0;
  std::uint64_t persisted_ = 0;
  bool hard_state_unsaved_ = false;
  std::uint64_t hard_state_batch_ = 0;
  std::uint64_t install_batch_ = 0;
  // Tick at which the oldest batch under way was given out, or the disk last finished one.
  std::uint64_t disk_busy_since_ = 0;

  std::vector<ReadId> new_reads_;              // own, not asked for yet
  std::uint64_t reads_deadline_ = 0;           // of those, and of a leader's forwarded ones
  std::deque<ConfirmedRead> confirmed_reads_;  // own; neither indexes nor deadlines fall
  std::vector<ReadId> failed_reads_;
  std::uint64_t reads_waiting_ = 0;  // all of this member and those forwarded to it
  std::uint64_t read_batch_;

  std::map<NodeId, std::string>
      departed_;  // until the next leader is heard of: peers of the one that this was; contexts
  Output output_;
};

Node::Impl::Impl(NodeId id, const NodeOptions& options, Restored restored, Rng& rng)
    : id_(id),
      options_(options),
      rng_(&rng),
      term_(restored.hard_state.term),
      vote_(restored.hard_state.vote),
      // Nobody asks for a configuration before the snapshot: all up to it has been applied.
      log_(restored.base.value_or(restored.snapshot.last), restored.snapshot.configuration,
           restored.entries),
      snapshot_(std::move(restored.snapshot)),
      committed_(snapshot_.last.index),
      applied_(snapshot_.last.index),
      // The answer to a question of this member's former life must not be taken for one of this.
      read_batch_(rng.Next()) {
  CHECK(options_.Validate().ok());
  CHECK(term_ <= kTermMax);
  if (Broken(PlantedBug::kForgetVote)) vote_.reset();
  if (log_.last().term > term_) {
    term_ = log_.last().term;
    vote_.reset();
    hard_state_unsaved_ = true;
  }
  DrawElectionTimeout();
  ResetElectionTimer();
  Note(Event::Kind::kFollower);
}

std::optional<NodeId> Node::Impl::leader() const {
  if (AsLeader() != nullptr) return id_;
  const FollowerRole* follower = AsFollower();
  return follower == nullptr ? std::nullopt : follower->leader;
}

// --- Role changes (Figure 4) ---

// Takes along what waits for this role.
void Node::Impl::LeaveRole() {
  if (FollowerRole* follower = AsFollower()) FailForwarded(*follower);
  if (LeaderRole* leader = AsLeader()) {
    departed_ = std::move(leader->contexts);  // it may have said a last word to them
    reads_waiting_ -= leader->forwarded.size();
    for (const ReadRound& round : leader->read_rounds) {
      for (const ReadId read : round.own) FailRead(read);
      reads_waiting_ -= round.forwarded.size();
    }
  }
}

void Node::Impl::BecomeFollower(Term term, std::optional<NodeId> leader) {
  const Role before = role();
  LeaveRole();
  if (term > term_) {
    term_ = term;
    vote_.reset();
    hard_state_unsaved_ = true;
  }
  role_.emplace<FollowerRole>().leader = leader;
  if (before == Role::kCandidate) DrawElectionTimeout();
  if (before == Role::kCandidate || before == Role::kLeader) {
    ResetElectionTimer();
    Note(Event::Kind::kFollower);
  }
}

// A trial whether an election could be won, that disturbs nobody (thesis §9.6).
void Node::Impl::BecomePreCandidate(bool first) {
  LeaveRole();
  PreCandidateRole& trial = role_.emplace<PreCandidateRole>();
  trial.votes.emplace(id_, true);
  trial.first = first;
  ResetElectionTimer();
  AskForTrialVotes(trial);
  CountElection();
}

// §5.2. The own vote is counted when it is durable.
void Node::Impl::BecomeCandidate(bool transfer) {
  if (term_ >= kTermMax) return;
  LeaveRole();
  ++term_;
  vote_ = id_;
  hard_state_unsaved_ = true;
  CandidateRole& candidate = role_.emplace<CandidateRole>();
  candidate.transfer = transfer;
  ResetElectionTimer();
  Note(Event::Kind::kCandidate);
  Note(Event::Kind::kVoted, id_);
  AskForVotes(candidate);
}

void Node::Impl::BecomeLeader() {
  Note(Event::Kind::kVotesReceived);
  LeaveRole();
  LeaderRole& leader = role_.emplace<LeaderRole>();
  departed_.clear();
  Note(Event::Kind::kLeader);
  leader.counted = std::max(Deliverable(), log_.base().index);
  for (LogIndex index = leader.counted + 1; index <= log_.last().index; ++index) {
    leader.uncommitted_bytes += BytesOf(*log_.Find(index));
  }
  leader.check_quorum_at = now_ + options_.election_timeout_max_ticks;
  leader.snapshot_credit = static_cast<std::int64_t>(options_.snapshot_part_bytes);
  SyncFollowers(leader);
  // §8: only an entry of its own term tells the leader what is committed.
  leader.noop = AppendOwn(leader, Entry::Kind::kNoop, {}).index;
  BeginRound(leader);
}

void Node::Impl::StartElection(bool first) {
  if (options_.pre_vote) {
    BecomePreCandidate(first);
  } else {
    BecomeCandidate(false);
  }
}

// Those who have not granted yet: an answer may have been lost, and a refused trial may succeed
// when more members miss the leader.
void Node::Impl::AskForTrialVotes(PreCandidateRole& trial) {
  trial.ask_again = now_ + AskAgainTicks();
  for (const NodeId peer : OtherVoters()) {
    if (const auto vote = trial.votes.find(peer); vote != trial.votes.end() && vote->second)
      continue;
    AddMessage(peer, term_ + 1, VoteRequest{.pre = true, .last = log_.last()}, 0);
  }
}

// Those who have not answered. Not before term and own vote are durable: after a restart it must
// not ask again in this term, with another log.
void Node::Impl::AskForVotes(CandidateRole& candidate) {
  candidate.ask_again = now_ + AskAgainTicks();
  const std::uint64_t batch = AfterBatch(log_.last().index);
  for (const NodeId peer : OtherVoters()) {
    if (candidate.votes.contains(peer)) continue;
    Send(peer, VoteRequest{.transfer = candidate.transfer, .last = log_.last()}, batch);
  }
}

std::vector<NodeId> Node::Impl::OtherVoters() const {
  std::vector<NodeId> voters;
  for (const NodeId id : configuration().Members()) {
    if (id != id_ && configuration().IsVoter(id)) voters.push_back(id);
  }
  return voters;
}

void Node::Impl::CountElection() {
  if (auto* trial = std::get_if<PreCandidateRole>(&role_)) {
    if (CountVotes(configuration(), trial->votes) == VoteOutcome::kWon) BecomeCandidate(false);
    return;
  }
  auto* real = std::get_if<CandidateRole>(&role_);
  if (real == nullptr) return;
  switch (CountVotes(configuration(), real->votes)) {
    case VoteOutcome::kWon:
      BecomeLeader();
      break;
    case VoteOutcome::kLost:
      BecomeFollower(term_, std::nullopt);
      break;
    case VoteOutcome::kPending:
      break;
  }
}

// A voter of its newest configuration. And one that an entry removes which is not known to be
// committed: nobody else may have the log that is needed (thesis §4.2.2).
bool Node::Impl::CanCampaign() const {
  if (configuration().IsVoter(id_)) return true;
  const LogIndex index = log_.configuration_index();
  if (index <= committed_ || index <= log_.base().index) return false;
  return log_.ConfigurationAt(index - 1).IsVoter(id_);
}

// A leader is alive, so that a vote for another would only disturb (thesis §4.2.3). With lease
// reads it is a promise, which a new term does not end.
bool Node::Impl::HearsLeader() const {
  if (AsLeader() != nullptr) return true;
  if (!leader_heard_at_) return false;
  if (now_ - *leader_heard_at_ >= options_.election_timeout_min_ticks) return false;
  return leader().has_value() || options_.lease_reads;
}

bool Node::Impl::MayVoteFor(NodeId candidate) const {
  if (vote_ && *vote_ != candidate) return Broken(PlantedBug::kVoteTwice);
  return true;
}

void Node::Impl::DrawElectionTimeout() {
  election_timeout_ = static_cast<std::uint64_t>(rng_->Between(
      std::int64_t{options_.election_timeout_min_ticks}, options_.election_timeout_max_ticks));
}

bool Node::Impl::TimerRuns() const {
  if (AsLeader() != nullptr) return false;
  return CanCampaign() || leader().has_value() || AsFollower() == nullptr;
}

// --- Time ---

void Node::Impl::Tick(std::uint64_t ticks) {
  if (LeaderRole* leader = AsLeader()) {
    if (Broken(PlantedBug::kLeaseAfterPause)) {
      ticks = std::min<std::uint64_t>(ticks, options_.heartbeat_ticks);
    }
    now_ += ticks;
    ExpireConfirmed();
    TickLeader(*leader, ticks);
    return;
  }
  now_ += ticks;
  ExpireConfirmed();
  if (FollowerRole* follower = AsFollower()) ExpireForwarded(*follower);
  if (!TimerRuns()) return;
  if (now_ >= election_at_) {
    ElectionTimerExpired();
    return;
  }
  auto* trial = std::get_if<PreCandidateRole>(&role_);
  if (trial != nullptr && now_ >= trial->ask_again) AskForTrialVotes(*trial);
  auto* real = std::get_if<CandidateRole>(&role_);
  if (real == nullptr || now_ < real->ask_again) return;
  if (AfterBatch(log_.last().index) == 0) {
    AskForVotes(*real);
  } else {
    // The first requests wait for the disk.
    real->ask_again = now_ + AskAgainTicks();
  }
}

void Node::Impl::ElectionTimerExpired() {
  if (std::holds_alternative<CandidateRole>(role_)) {
    BecomeFollower(term_, std::nullopt);
    return;
  }
  const FollowerRole* follower = AsFollower();
  const bool first = follower != nullptr;
  // A trial that fails is a failed election.
  if (follower == nullptr) DrawElectionTimeout();
  if (follower == nullptr || !follower->announced_dead) Note(Event::Kind::kLeaderDead, leader());
  BecomeFollower(term_, std::nullopt);
  ResetElectionTimer();
  if (CanCampaign()) StartElection(first);
}

void Node::Impl::TickLeader(LeaderRole& leader, std::uint64_t ticks) {
  // First of all: after a pause it must not serve before it knows that it is still followed.
  if (options_.check_quorum && now_ >= leader.check_quorum_at && QuorumIsLost(leader)) {
    BecomeFollower(term_, std::nullopt);
    return;
  }
  if (now_ >= DiskDeadline()) {
    Note(Event::Kind::kDiskStalled);
    HandOver(leader);
    return;
  }
  if (leader.transfer && now_ >= leader.transfer->deadline) FailTransfer(leader);
  if (leader.leaving && now_ >= leader.leaving->deadline) DropLeavers(leader);
  ExpireReads(leader);
  if (now_ >= leader.heartbeat_at) {
    for (auto& [id, progress] : leader.followers) {
      // Who has been silent is asked with an empty request first.
      if (IsActive(progress)) progress.ResumeProbe();
    }
    BeginRound(leader);
    // The order may have been lost.
    if (leader.transfer && leader.transfer->told) OrderToCampaign(leader, leader.transfer->target);
  }
  RefillSnapshotCredit(leader, ticks);
  for (const auto& [id, progress] : leader.followers) {
    if (SnapshotDue(leader, progress) <= now_) leader.must_replicate = true;
  }
}

// CheckQuorum (thesis §6.2).
bool Node::Impl::QuorumIsLost(LeaderRole& leader) const {
  // The tick since which a quorum has answered: the median, as with log indexes.
  const auto heard = [&](NodeId id) {
    const auto found = leader.followers.find(id);
    return LogIndex(found == leader.followers.end() ? now_ : found->second.heard);
  };
  const std::uint64_t quorum_heard = CommittedIndex(configuration(), heard).value();
  leader.check_quorum_at = quorum_heard + options_.election_timeout_max_ticks;
  return now_ >= leader.check_quorum_at;
}

// Tick at which a leader gives up because of its disk. Only while others have committed what is not
// durable here: they are a majority whose disks work, and without this member they go on. If all
// disks are slow, another leader would be no better.
std::uint64_t Node::Impl::DiskDeadline() const {
  const bool held_up =
      AsLeader() != nullptr && persisted_ < last_batch_ && Deliverable() < committed_;
  if (options_.disk_stall_max_ticks == 0 || !held_up) return kNever;
  return disk_busy_since_ + options_.disk_stall_max_ticks;
}

void Node::Impl::RefillSnapshotCredit(LeaderRole& leader, std::uint64_t ticks) const {
  const std::uint64_t rate = options_.snapshot_bytes_per_tick;
  if (rate == 0) return;
  const auto full = static_cast<std::int64_t>(options_.snapshot_part_bytes);
  const auto missing = static_cast<std::uint64_t>(full - leader.snapshot_credit);
  if (ticks > missing / rate) {
    leader.snapshot_credit = full;
  } else {
    leader.snapshot_credit += static_cast<std::int64_t>(ticks * rate);
  }
}

// Tick at which the next part may be sent.
std::uint64_t Node::Impl::SnapshotDue(const LeaderRole& leader, const Progress& progress) const {
  if (progress.state() != Progress::State::kSnapshot) return kNever;
  std::uint64_t due = progress.snapshot().wait_until;
  if (options_.snapshot_bytes_per_tick != 0 && leader.snapshot_credit <= 0) {
    const auto debt = static_cast<std::uint64_t>(-leader.snapshot_credit);
    due = std::max(due, now_ + debt / options_.snapshot_bytes_per_tick + 1);
  }
  return due;
}

std::uint64_t Node::Impl::TicksToNext() const {
  std::uint64_t next = kNever;
  const auto at = [&](std::uint64_t tick) { next = std::min(next, tick); };
  if (const LeaderRole* leader = AsLeader()) {
    at(leader->heartbeat_at);
    if (options_.check_quorum) at(leader->check_quorum_at);
    at(DiskDeadline());
    if (leader->transfer) at(leader->transfer->deadline);
    if (leader->leaving) at(leader->leaving->deadline);
    if (!leader->read_rounds.empty()) at(leader->read_rounds.front().deadline);
    if (!(new_reads_.empty() && leader->forwarded.empty())) at(reads_deadline_);
    for (const auto& [id, progress] : leader->followers) {
      // What is due already is output that waits to be taken.
      if (const std::uint64_t due = SnapshotDue(*leader, progress); due > now_) at(due);
    }
  } else if (TimerRuns()) {
    at(election_at_);
    if (const auto* trial = std::get_if<PreCandidateRole>(&role_)) at(trial->ask_again);
    if (const auto* real = std::get_if<CandidateRole>(&role_)) at(real->ask_again);
  }
  if (const FollowerRole* follower = AsFollower();
      follower != nullptr && !follower->reads.empty()) {
    at(follower->reads.begin()->second.deadline);
  }
  if (!confirmed_reads_.empty()) at(confirmed_reads_.front().deadline);
  if (next == kNever) return kNever;
  return next > now_ ? next - now_ : 1;
}

// --- Messages ---

void Node::Impl::Step(NodeId from, Message message) {
  if (from == id_ || message.term > kTermMax) return;
  std::visit([&](auto& body) { Handle(from, message.term, body); }, message.body);
}

// For all but requests of candidates and leaders, who may be members that this one does not know
// yet. True if the message is of this term.
bool Node::Impl::IsFromMember(NodeId from, Term term) {
  if (!configuration().Contains(from)) {
    // Who is leaving answers, but does not depose.
    const LeaderRole* leader = AsLeader();
    return leader != nullptr && leader->followers.contains(from) && term == term_;
  }
  if (term > term_) BecomeFollower(term, std::nullopt);
  return term == term_;
}

// RequestVote (Figure 2), with the rule of thesis §4.2.3.
void Node::Impl::Handle(NodeId from, Term term, const VoteRequest& request) {
  // A restarted member may have promised a lease to somebody, which it has forgotten.
  const bool may_have_promised = options_.lease_reads && now_ < options_.election_timeout_min_ticks;
  if (term == Term() || may_have_promised) return;
  if (request.pre) {
    HandlePreVote(from, term, request);
    return;
  }
  if (options_.check_quorum && !request.transfer && term >= term_ && HearsLeader()) return;
  if (term > term_) BecomeFollower(term, std::nullopt);
  const bool granted = term == term_ && MayVoteFor(from) && NotOlder(request.last, log_.last());
  if (!granted) {
    Send(from, VoteResponse{});
    return;
  }
  if (vote_ != from) {
    vote_ = from;
    hard_state_unsaved_ = true;
    Note(Event::Kind::kVoted, from);
    // Not when it is asked again: one that cannot win must not hold up the others for longer.
    ResetElectionTimer();
  }
  if (AsFollower() == nullptr && AsLeader() == nullptr) BecomeFollower(term_, std::nullopt);
  SendDurable(from, VoteResponse{.granted = true}, LogIndex());
}

void Node::Impl::HandlePreVote(NodeId from, Term term, const VoteRequest& request) {
  const bool new_term = term > term_ || (term == term_ && !leader() && MayVoteFor(from));
  // Of two trials at once with equal logs one goes on, so that the real votes are not split. But
  // only once: who has failed may be one that nobody but the other hears.
  const auto* trial = std::get_if<PreCandidateRole>(&role_);
  const bool defeats = trial != nullptr && trial->first && CanCampaign() &&
                       request.last == log_.last() && id_ < from;
  const bool granted =
      new_term && !defeats && !HearsLeader() && NotOlder(request.last, log_.last());
  if (!granted) {
    Send(from, VoteResponse{.pre = true});
    return;
  }
  if (FollowerRole* follower = AsFollower(); follower != nullptr && follower->announced_dead) {
    // Time for the other's real election, once: it binds nobody, so it must not go on for ever.
    if (!std::exchange(follower->gave_way, true)) election_at_ += options_.heartbeat_ticks;
  }
  AddMessage(from, term, VoteResponse{.pre = true, .granted = true}, 0);
}

void Node::Impl::Handle(NodeId from, Term term, const VoteResponse& response) {
  if (!configuration().Contains(from)) return;
  auto* trial = std::get_if<PreCandidateRole>(&role_);
  if (response.pre && response.granted) {
    if (trial != nullptr && term == term_ + 1) trial->votes[from] = true;
  } else if (term > term_) {
    BecomeFollower(term, std::nullopt);
  } else if (response.pre) {
    if (trial != nullptr) trial->votes.emplace(from, false);
  } else if (auto* real = std::get_if<CandidateRole>(&role_); real != nullptr && term == term_) {
    real->votes.emplace(from, response.granted);
  }
  CountElection();
}

// A request of whoever leads `term`, which is not below this one's. False if it is not to be
// obeyed: no leader would send it.
bool Node::Impl::HearFromLeader(NodeId from, Term term, bool well_formed) {
  if (!well_formed || term == Term()) {
    if (term > term_) BecomeFollower(term, std::nullopt);
    return false;
  }
  if (term == term_ && AsLeader() != nullptr) return false;
  if (term > term_ || AsFollower() == nullptr) BecomeFollower(term, from);
  FollowerRole& follower = *AsFollower();
  if (follower.leader && *follower.leader != from) return false;
  follower.leader = from;
  departed_.clear();
  follower.announced_dead = follower.gave_way = false;
  leader_heard_at_ = now_;
  ResetElectionTimer();
  return true;
}

// AppendEntries (Figure 2).
void Node::Impl::Handle(NodeId from, Term term, const AppendRequest& request) {
  if (term < term_) {
    // It learns the newer term, so that it steps down and this member finds back.
    Send(from, AppendResponse{.round = request.round});
    return;
  }
  if (!HearFromLeader(from, term, WellFormed(term, request))) return;
  AppendResponse response{.round = request.round, .honours_lease = options_.lease_reads};
  if (!MatchesPrevious(request.previous)) {
    response.match =
        log_.LastNotAbove(request.previous.index, request.previous.term).value_or(log_.base());
    Send(from, response);
    return;
  }
  if (!Extend(request.entries)) return;
  const LogIndex proven = request.previous.index + request.entries.size();
  CommitTo(std::min(request.committed, proven));
  LogIndex match = std::max(proven, committed_);
  // An answer to a heartbeat does not wait for the disk.
  if (request.entries.empty()) match = std::min(match, log_.durable());
  response.accepted = true;
  response.match = {log_.TermAt(match).value_or(Term()), match};
  SendDurable(from, response, match);
}

// What is committed or forgotten here is equal in each leader's log (§5.4.3).
bool Node::Impl::MatchesPrevious(LogPosition previous) const {
  if (previous.index < log_.base().index || log_.Matches(previous)) return true;
  return Broken(PlantedBug::kTruncateCommitted) && previous.index <= log_.last().index;
}

// Cuts only where an entry differs: a delayed request must not cut what came after it (§5.3). False
// if the entries cannot be those of a leader.
bool Node::Impl::Extend(const std::vector<EntryPtr>& entries) {
  for (const EntryPtr& entry : entries) {
    const LogIndex index = entry->position.index;
    if (index <= log_.base().index || log_.Matches(entry->position)) continue;
    if (index > log_.last().index + 1) return false;
    const bool sound = index > committed_ && entry->position.term >= *log_.TermAt(index - 1);
    if (!sound && !Broken(PlantedBug::kTruncateCommitted)) return false;
    const LogIndex before = log_.configuration_index();
    if (index <= log_.last().index) CutFrom(index);
    const LogIndex kept = log_.configuration_index();
    for (auto i = entry->position.index - entries.front()->position.index; i < entries.size();
         ++i) {
      log_.Append(entries[i]);
    }
    if (kept != before || log_.configuration_index() != kept) ConfigurationChanged();
    return true;
  }
  return true;
}

void Node::Impl::CutFrom(LogIndex first) {
  log_.TruncateFrom(first);
  committed_ = std::min(committed_, first - 1);
  applied_ = std::min(applied_, first - 1);
}

void Node::Impl::CommitTo(LogIndex index) { committed_ = std::max(committed_, index); }

void Node::Impl::ConfigurationChanged() {
  Note(Event::Kind::kConfiguration);
  if (LeaderRole* leader = AsLeader()) SyncFollowers(*leader);
}

void Node::Impl::Handle(NodeId from, Term term, const AppendResponse& response) {
  if (!IsFromMember(from, term)) return;
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  const LogIndex match = response.match.index;
  const std::optional<Term> own = log_.TermAt(match);
  // Neither can be said by an honest follower: more than this log, or another entry.
  if (response.accepted && match > log_.last().index) return;
  if (response.accepted && response.match.term != Term() && own && *own != response.match.term) {
    return;
  }
  Progress* progress = NoteAnswer(*leader, from, response.round, response.honours_lease);
  if (progress == nullptr) return;
  if (response.accepted) {
    progress->Accepted(match);
    if (progress->state() == Progress::State::kSnapshot && match >= log_.base().index) {
      progress->LeaveSnapshot();
    }
    const bool leaves = leader->leaving && !configuration().Contains(from) &&
                        response.round >= leader->leaving->round && match >= leader->leaving->index;
    if (leaves) {
      leader->followers.erase(from);
      leader->contexts.erase(from);
    }
    MaybeCommit();
    if ((leader = AsLeader()) != nullptr) MaybeOrderTransfer(*leader);
  } else {
    const std::optional<LogPosition> hint = log_.LastNotAbove(match, response.match.term);
    progress->Refused(hint ? hint->index + 1 : std::min(match + 1, log_.base().index));
  }
  if (leader != nullptr) leader->must_replicate = true;
  if (leader != nullptr) ConfirmReads(*leader);
}

// What each answer says, whatever was asked: null if it cannot be one to this leader.
Progress* Node::Impl::NoteAnswer(LeaderRole& leader, NodeId from, std::uint64_t round,
                                 bool honours_lease) {
  const auto found = leader.followers.find(from);
  if (found == leader.followers.end() || round > leader.round) return nullptr;
  Progress& progress = found->second;
  progress.heard = now_;
  if (!honours_lease) progress.honoured_from = 0;
  if (round <= progress.acked_round) return &progress;
  progress.acked_round = round;
  if (honours_lease && !leader.round_starts.empty() && round >= leader.round_starts.front().first) {
    progress.honoured_from =
        leader.round_starts[round - leader.round_starts.front().first].second + 1;
  }
  return &progress;
}

// --- Snapshots (§7) ---

void Node::Impl::Handle(NodeId from, Term term, SnapshotPart& part) {
  if (term < term_) {
    Send(from, SnapshotPartResponse{.last = part.meta.last, .round = part.round});
    return;
  }
  if (!HearFromLeader(from, term, WellFormed(term, part))) return;
  const LogPosition last = part.meta.last;
  const bool in_log = log_.Matches(last);
  if (in_log || last.index <= committed_) {
    // Nothing needs to be replaced: the log has all that the snapshot stands for.
    if (in_log) CommitTo(last.index);
    receiving_.reset();
    SendDurable(from,
                SnapshotPartResponse{.last = last,
                                     .next_offset = part.meta.bytes,
                                     .installed = true,
                                     .round = part.round,
                                     .honours_lease = options_.lease_reads},
                last.index);
    return;
  }
  TakePart(from, part);
}

void Node::Impl::TakePart(NodeId from, SnapshotPart& part) {
  SnapshotPartResponse response{
      .last = part.meta.last, .round = part.round, .honours_lease = options_.lease_reads};
  // Members' snapshots of one state need not have the same bytes: another leader's begins anew.
  if (!receiving_ || receiving_->meta != part.meta || receiving_->term != term_) {
    // A late part of an older one does not end the newer one of the same leader.
    if (receiving_ && receiving_->term == term_ &&
        part.meta.last.index < receiving_->meta.last.index) {
      return;
    }
    receiving_ = Receiving{.meta = part.meta, .term = term_};
  }
  if (part.offset != receiving_->next_offset) {
    response.next_offset = receiving_->next_offset;
    Send(from, response);
    return;
  }
  // One part to an output: it will be sent again.
  if (output_.snapshot_part) return;
  receiving_->next_offset += part.length;
  const bool whole = receiving_->next_offset == part.meta.bytes;
  if (part.length == 0 && !whole) return;
  response.next_offset = receiving_->next_offset;
  response.installed = whole;
  output_.snapshot_part = {.meta = part.meta, .offset = part.offset, .data = std::move(part.data)};
  if (whole) Install(part.meta);
  // The part is in the batch that the next output has.
  const std::uint64_t batch = Broken(PlantedBug::kAckBeforeDurable) ? 0 : last_batch_ + 1;
  Send(from, response, batch);
}

void Node::Impl::Install(const SnapshotMeta& meta) {
  log_.Restart(meta.last, meta.configuration);
  committed_ = applied_ = meta.last.index;
  snapshot_ = meta;
  receiving_.reset();
  output_.install = meta;
  install_batch_ = last_batch_ + 1;
  ConfigurationChanged();
}

void Node::Impl::Handle(NodeId from, Term term, const SnapshotPartResponse& response) {
  if (!IsFromMember(from, term)) return;
  LeaderRole* leader = AsLeader();
  if (leader == nullptr || response.last.index > log_.last().index) return;
  Progress* progress = NoteAnswer(*leader, from, response.round, response.honours_lease);
  if (progress == nullptr) return;
  leader->must_replicate = true;
  const bool sending = progress->state() == Progress::State::kSnapshot;
  const bool this_one = sending && progress->snapshot().last == response.last;
  if (response.installed && (this_one || log_.Matches(response.last))) {
    progress->Accepted(response.last.index);
    if (sending && progress->match() >= log_.base().index) progress->LeaveSnapshot();
    MaybeCommit();
    leader = AsLeader();
  } else if (this_one && response.next_offset < progress->snapshot().bytes &&
             response.next_offset != progress->snapshot().offset) {
    Progress::Snapshot& sent = progress->snapshot();
    if (response.next_offset > sent.offset) sent.moved = now_;
    sent.offset = response.next_offset;
    sent.wait_until = 0;
  }
  if (leader != nullptr) ConfirmReads(*leader);
}

void Node::Impl::SendSnapshotPart(NodeId to, LeaderRole& leader, Progress& progress) {
  Progress::Snapshot& sent = progress.snapshot();
  if (sent.last != snapshot_.last) progress.EnterSnapshot(snapshot_.last, snapshot_.bytes, now_);
  if (SnapshotDue(leader, progress) > now_) return;
  const std::uint64_t length = std::min(options_.snapshot_part_bytes, sent.bytes - sent.offset);
  sent.wait_until = now_ + options_.snapshot_retry_ticks;
  if (options_.snapshot_bytes_per_tick != 0) {
    leader.snapshot_credit -= static_cast<std::int64_t>(length);
  }
  Send(to, SnapshotPart{.meta = snapshot_,
                        .offset = sent.offset,
                        .length = length,
                        .data = {},
                        .round = leader.round});
}

void Node::Impl::Compact(const SnapshotMeta& meta, LogIndex keep_after) {
  CHECK(keep_after <= meta.last.index && meta.last.index <= applied_);
  // One that was installed meanwhile is newer, or the same and other bytes. Without a configuration
  // it would be no use to anybody.
  if (meta.last.index < snapshot_.last.index || meta.configuration.voters.empty()) return;
  log_.Compact(keep_after);
  if (meta.last.index == snapshot_.last.index) return;
  snapshot_ = meta;
  if (LeaderRole* leader = AsLeader()) leader->must_replicate = true;
}

std::optional<SnapshotMeta> Node::Impl::SnapshotAt(LogIndex index) const {
  const std::optional<Term> term = log_.TermAt(index);
  if (!term || index > applied_ || index < snapshot_.last.index) return std::nullopt;
  const bool forgets = Broken(PlantedBug::kSnapshotForgetsConfiguration);
  SnapshotMeta meta;
  meta.last = {*term, index};
  meta.configuration = log_.ConfigurationAt(forgets ? log_.base().index : index);
  if (meta.configuration.voters.empty()) return std::nullopt;
  return meta;
}

void Node::Impl::SnapshotUnavailable(NodeId peer) {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  const auto found = leader->followers.find(peer);
  if (found == leader->followers.end()) return;
  if (found->second.state() != Progress::State::kSnapshot) return;
  Progress::Snapshot& sent = found->second.snapshot();
  sent.offset = 0;
  sent.wait_until = now_ + options_.snapshot_retry_ticks;
}

bool Node::Impl::SnapshotInTransfer() const {
  const LeaderRole* leader = AsLeader();
  if (leader == nullptr) return false;
  std::uint64_t patience = kTransferRetries * options_.snapshot_retry_ticks;
  if (const std::uint64_t rate = options_.snapshot_bytes_per_tick; rate != 0) {
    patience += leader->followers.size() * (options_.snapshot_part_bytes / rate + 1);
  }
  return std::any_of(leader->followers.begin(), leader->followers.end(), [&](const auto& follower) {
    const Progress& progress = follower.second;
    return progress.state() == Progress::State::kSnapshot && IsActive(progress) &&
           progress.snapshot().last == snapshot_.last &&
           now_ - progress.snapshot().moved < patience;
  });
}

// --- Leader: replication (§5.3, thesis §10.2) ---

LogPosition Node::Impl::AppendOwn(LeaderRole& leader, Entry::Kind kind, std::string data) {
  auto entry = std::make_shared<Entry>();
  entry->position = {term_, log_.last().index + 1};
  entry->kind = kind;
  entry->data = std::move(data);
  const LogPosition position = entry->position;
  leader.uncommitted_bytes += BytesOf(*entry);
  leader.must_replicate = true;
  log_.Append(std::move(entry));
  if (kind == Entry::Kind::kConfiguration) ConfigurationChanged();
  return position;
}

// All followers are sent something; their answers show that this is still the leader. A round's
// time is taken before anything of it is sent, so a lease counts from no later.
void Node::Impl::BeginRound(LeaderRole& leader) {
  leader.round_starts.emplace_back(++leader.round, now_);
  while (now_ - leader.round_starts.front().second > options_.election_timeout_min_ticks) {
    leader.round_starts.pop_front();
  }
  leader.heartbeat_at = now_ + options_.heartbeat_ticks;
  leader.must_replicate = true;
}

void Node::Impl::Replicate(LeaderRole& leader) {
  leader.must_replicate = false;
  const Progress::Limits limits{.requests = options_.append_in_flight_max,
                                .bytes = options_.append_in_flight_bytes_max};
  for (auto& [id, progress] : leader.followers) {
    // A probe goes out also without entries: it asks where the logs part.
    if (progress.state() == Progress::State::kProbe && progress.MaySend(limits)) {
      SendEntries(id, leader, progress);
    }
    while (progress.state() == Progress::State::kReplicate &&
           progress.next() <= log_.last().index && progress.MaySend(limits)) {
      SendEntries(id, leader, progress);
    }
    if (progress.state() == Progress::State::kSnapshot) SendSnapshotPart(id, leader, progress);
    const bool learns_commit =
        progress.state() == Progress::State::kReplicate && progress.sent_committed < committed_;
    if (progress.sent_round < leader.round || learns_commit) SendHeartbeat(id, leader, progress);
  }
}

void Node::Impl::SendEntries(NodeId to, LeaderRole& leader, Progress& progress) {
  const LogIndex before = progress.next() - 1;
  const std::optional<Term> term = log_.TermAt(before);
  if (!term) {
    progress.EnterSnapshot(snapshot_.last, snapshot_.bytes, now_);
    return;
  }
  AppendRequest request{
      .previous = {*term, before}, .entries = {}, .committed = committed_, .round = leader.round};
  if (progress.next() <= log_.last().index) {
    request.entries = log_.Slice(progress.next(), log_.last().index, options_.append_bytes_max);
  }
  // Entries are answered when they are on the follower's disk. Reads do not wait for that: a
  // heartbeat follows, which is answered at once.
  const bool also_heartbeat = !leader.read_rounds.empty() && !request.entries.empty() &&
                              progress.state() == Progress::State::kReplicate;
  progress.Sent(before + request.entries.size(), BytesOf(request.entries));
  if (!also_heartbeat) progress.sent_round = leader.round;
  progress.sent_committed = committed_;
  Send(to, std::move(request));
}

// At next() - 1 also while requests are under way: if one of them was lost it is refused, and a
// probe begins. To whom a snapshot is sent, at 0, which everybody has.
void Node::Impl::SendHeartbeat(NodeId to, LeaderRole& leader, Progress& progress) {
  AppendRequest request{.committed = committed_, .round = leader.round};
  if (progress.state() != Progress::State::kSnapshot) {
    const LogIndex before = progress.next() - 1;
    if (const std::optional<Term> term = log_.TermAt(before)) {
      request.previous = {*term, before};
    } else {
      // What is under way to it is forgotten here. If that was lost, nobody would refuse what
      // follows it: only the snapshot helps.
      progress.EnterSnapshot(snapshot_.last, snapshot_.bytes, now_);
      leader.must_replicate = true;
    }
  }
  progress.sent_round = leader.round;
  progress.sent_committed = committed_;
  Send(to, std::move(request));
}

// The members of the configuration in use, and whom it leaves out: else they would never learn
// that, and campaign.
void Node::Impl::SyncFollowers(LeaderRole& leader) {
  const Configuration& now = configuration();
  leader.leaving.reset();
  if (now.joint()) DropLeavers(leader);
  for (const NodeId id : now.Members()) {
    if (id != id_) leader.followers.try_emplace(id, log_.last().index + 1, now_);
  }
  for (const auto& [id, context] : now.contexts) leader.contexts[id] = context;
  if (leader.transfer && !now.IsVoter(leader.transfer->target)) FailTransfer(leader);
  leader.must_replicate = true;
}

// Those who have left, or do not answer: all but the members.
void Node::Impl::DropLeavers(LeaderRole& leader) {
  leader.leaving.reset();
  const auto left = [&](const auto& follower) { return !configuration().Contains(follower.first); };
  std::erase_if(leader.followers, left);
  std::erase_if(leader.contexts, left);
}

// They are told as well that it is committed, and go when they know, or after an election timeout.
void Node::Impl::TellLeavers(LeaderRole& leader) {
  const bool none =
      std::all_of(leader.followers.begin(), leader.followers.end(),
                  [&](const auto& follower) { return configuration().Contains(follower.first); });
  if (none || leader.leaving) return;
  BeginRound(leader);
  leader.leaving = Leaving{.index = log_.configuration_index(),
                           .round = leader.round,
                           .deadline = now_ + options_.election_timeout_max_ticks};
}

// §5.3 and §5.4.2.
void Node::Impl::MaybeCommit() {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  const auto match = [&](NodeId id) {
    // The own disk writes in parallel with the followers' (thesis §10.2.1).
    if (id == id_) return log_.durable();
    const auto found = leader->followers.find(id);
    return found == leader->followers.end() ? LogIndex() : found->second.match();
  };
  const LogIndex index = std::min(CommittedIndex(configuration(), match), log_.last().index);
  if (index <= committed_) return;
  if (log_.TermAt(index) != term_ && !Broken(PlantedBug::kCommitOldTerm)) return;
  committed_ = index;
  LeaderCommitted();
}

// What waits for the own disk counts as well: when it stalls, the others alone would commit without
// end.
void Node::Impl::CountDelivered(LeaderRole& leader) {
  while (leader.counted < Deliverable()) {
    leader.uncommitted_bytes -= BytesOf(*log_.Find(++leader.counted));
  }
}

void Node::Impl::LeaderCommitted() {
  LeaderRole& leader = *AsLeader();
  CountDelivered(leader);
  leader.must_replicate = true;
  if (log_.configuration_index() > committed_ || leader.noop > committed_) return;
  if (configuration().joint()) {
    // §6: C_old,new is committed, so C_new follows.
    AppendOwn(leader, Entry::Kind::kConfiguration, EncodeConfiguration(configuration().Left()));
    return;
  }
  TellLeavers(leader);
  if (!configuration().IsVoter(id_)) HandOver(leader);
}

// It is not part of the configuration that has just been committed (§6), or its disk stalls: the
// best of the others need not wait for their timers.
void Node::Impl::HandOver(LeaderRole& leader) {
  Replicate(leader);
  std::optional<NodeId> best;
  LogIndex best_match;
  for (const auto& [id, progress] : leader.followers) {
    if (!configuration().IsVoter(id) || !IsActive(progress)) continue;
    if (best && progress.match() <= best_match) continue;
    best = id;
    best_match = progress.match();
  }
  if (best) OrderToCampaign(leader, *best);
  BecomeFollower(term_, std::nullopt);
}

// --- Leadership transfer (thesis §3.10) ---

ProposeResult Node::Impl::TransferTo(NodeId target) {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return Refuse(Refused::Why::kNotLeader);
  if (target == id_ || !configuration().IsVoter(target)) {
    return Refuse(Refused::Why::kInvalidTarget, "the target is no other voter");
  }
  if (leader->transfer && leader->transfer->target != target) {
    return Refuse(Refused::Why::kTransferring);
  }
  if (!leader->transfer) {
    leader->transfer =
        Transfer{.target = target, .deadline = now_ + options_.election_timeout_max_ticks};
  }
  MaybeOrderTransfer(*leader);
  return Accepted{log_.last()};
}

void Node::Impl::MaybeOrderTransfer(LeaderRole& leader) {
  if (!leader.transfer || leader.transfer->told) return;
  const auto target = leader.followers.find(leader.transfer->target);
  if (target == leader.followers.end() || target->second.match() < log_.last().index) return;
  leader.transfer->told = true;
  OrderToCampaign(leader, target->first);
}

void Node::Impl::FailTransfer(LeaderRole& leader) {
  Note(Event::Kind::kTransferFailed, leader.transfer->target);
  leader.transfer.reset();
}

// The order may arrive at any later time, and the votes that follow from it are granted in spite of
// promises: the lease of this term is given up for good.
void Node::Impl::OrderToCampaign(LeaderRole& leader, NodeId target) {
  leader.lease_given_up = true;
  Send(target, TimeoutNow{});
}

void Node::Impl::Handle(NodeId from, Term term, const TimeoutNow& /*order*/) {
  if (term > term_) IsFromMember(from, term);
  const FollowerRole* follower = AsFollower();
  if (term != term_ || follower == nullptr || follower->leader != from || !CanCampaign()) return;
  BecomeCandidate(true);
}

// --- Proposals ---

ProposeResult Node::Impl::Refuse(Refused::Why why, std::string detail) const {
  return Refused{.why = why, .leader = leader(), .detail = std::move(detail)};
}

ProposeResult Node::Impl::Propose(std::string command) {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return Refuse(Refused::Why::kNotLeader);
  if (leader->transfer) return Refuse(Refused::Why::kTransferring);
  if (command.size() > options_.proposal_bytes_max) return Refuse(Refused::Why::kTooLarge);
  if (leader->uncommitted_bytes > 0 &&
      leader->uncommitted_bytes + command.size() > options_.uncommitted_bytes_max) {
    return Refuse(Refused::Why::kTooMuchUncommitted);
  }
  return Accepted{AppendOwn(*leader, Entry::Kind::kCommand, std::move(command))};
}

// §6. One change at a time, and none before an entry of this term is committed: else two leaders
// could have configurations that do not overlap (the correction to the thesis' §4.1, 2015).
ProposeResult Node::Impl::ProposeChange(const ConfigurationChange& change) {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return Refuse(Refused::Why::kNotLeader);
  if (leader->transfer) return Refuse(Refused::Why::kTransferring);
  if (log_.configuration_index() > committed_ || configuration().joint()) {
    return Refuse(Refused::Why::kChangeUnderWay, "another configuration is not committed yet");
  }
  if (leader->noop > committed_ && !Broken(PlantedBug::kChangeWithoutNoop)) {
    return Refuse(Refused::Why::kChangeUnderWay, "no entry of this term is committed yet");
  }
  absl::StatusOr<Configuration> changed = Apply(configuration(), change);
  if (!changed.ok()) return Refuse(Refused::Why::kInvalidChange, ds::Message(changed.status()));
  return Accepted{AppendOwn(*leader, Entry::Kind::kConfiguration, EncodeConfiguration(*changed))};
}

// --- Reads (thesis §6.4) ---

std::optional<Refused> Node::Impl::Read(ReadId id) {
  if (!leader()) return Refused{.why = Refused::Why::kNotLeader, .leader = {}, .detail = {}};
  if (reads_waiting_ >= options_.reads_max) {
    return Refused{.why = Refused::Why::kTooManyReads, .leader = leader(), .detail = {}};
  }
  ++reads_waiting_;
  NoteReadDeadline();
  new_reads_.push_back(id);
  return std::nullopt;
}

void Node::Impl::FailRead(ReadId id) { failed_reads_.push_back(id); }

// Of the oldest of those that are in no round yet; the younger ones go with it.
void Node::Impl::NoteReadDeadline() {
  const LeaderRole* leader = AsLeader();
  if (!new_reads_.empty() || (leader != nullptr && !leader->forwarded.empty())) return;
  reads_deadline_ = now_ + options_.election_timeout_max_ticks;
}

void Node::Impl::ExpireConfirmed() {
  while (!confirmed_reads_.empty() && confirmed_reads_.front().deadline <= now_) {
    FailRead(confirmed_reads_.front().id);
    confirmed_reads_.pop_front();
  }
}

// Who asked from elsewhere has a deadline of its own.
void Node::Impl::ExpireReads(LeaderRole& leader) {
  const auto expire = [this](const std::vector<ReadId>& own, std::size_t forwarded) {
    for (const ReadId read : own) FailRead(read);
    reads_waiting_ -= forwarded;
  };
  while (!leader.read_rounds.empty() && leader.read_rounds.front().deadline <= now_) {
    const ReadRound& round = leader.read_rounds.front();
    expire(round.own, round.forwarded.size());
    leader.read_rounds.pop_front();
  }
  if (leader.noop <= committed_ || now_ < reads_deadline_) return;
  expire(std::exchange(new_reads_, {}), std::exchange(leader.forwarded, {}).size());
}

void Node::Impl::FailForwarded(FollowerRole& follower) {
  for (const auto& [batch, reads] : follower.reads) {
    for (const ReadId read : reads.ids) FailRead(read);
  }
  follower.reads.clear();
  follower.confirmed.clear();
}

void Node::Impl::ExpireForwarded(FollowerRole& follower) {
  while (!follower.reads.empty() && follower.reads.begin()->second.deadline <= now_) {
    const auto first = follower.reads.begin();
    for (const ReadId read : first->second.ids) FailRead(read);
    if (first->second.index) follower.confirmed.erase({*first->second.index, first->first});
    follower.reads.erase(first);
  }
}

bool Node::Impl::ReadsCanStart() const {
  const LeaderRole* leader = AsLeader();
  if (leader == nullptr) return !new_reads_.empty();
  if (leader->noop > committed_ || (new_reads_.empty() && leader->forwarded.empty())) return false;
  // A heartbeat is a round that nobody waits for: where requests are lost, those who wait go on
  // with it.
  return leader->read_rounds.size() < kReadRoundsMax ||
         leader->read_rounds.back().round < leader->round;
}

// What came since the last output, or since too many rounds are under way: one round for all.
void Node::Impl::StartReads() {
  if (!ReadsCanStart()) return;
  if (LeaderRole* leader = AsLeader()) {
    StartReads(*leader);
  } else if (FollowerRole* follower = AsFollower(); follower != nullptr && follower->leader) {
    Forward(*follower);
  } else {
    for (const ReadId read : new_reads_) FailRead(read);
    new_reads_.clear();
  }
}

void Node::Impl::StartReads(LeaderRole& leader) {
  ReadRound reads{.round = 0,
                  .index = committed_,
                  .deadline = now_ + options_.election_timeout_max_ticks,
                  .own = std::exchange(new_reads_, {}),
                  .forwarded = std::exchange(leader.forwarded, {})};
  if (HasLease() || Broken(PlantedBug::kReadWithoutRound)) {
    // The lease is as good for those that came before.
    for (ReadRound& round : leader.read_rounds) Confirm(std::move(round));
    leader.read_rounds.clear();
    Confirm(std::move(reads));
    return;
  }
  BeginRound(leader);
  reads.round = leader.round;
  leader.read_rounds.push_back(std::move(reads));
  ConfirmReads(leader);
}

void Node::Impl::Forward(FollowerRole& follower) {
  const std::uint64_t batch = ++read_batch_;
  follower.reads[batch] = {.ids = std::exchange(new_reads_, {}),
                           .deadline = now_ + options_.election_timeout_max_ticks,
                           .index = std::nullopt};
  Send(*follower.leader, ReadRequest{batch});
}

void Node::Impl::ConfirmReads(LeaderRole& leader) {
  if (leader.read_rounds.empty()) return;
  const auto acked = [&](NodeId id) {
    if (id == id_) return LogIndex(leader.round);
    const auto found = leader.followers.find(id);
    return LogIndex(found == leader.followers.end() ? 0 : found->second.acked_round);
  };
  const std::uint64_t round = CommittedIndex(configuration(), acked).value();
  while (!leader.read_rounds.empty() && leader.read_rounds.front().round <= round) {
    Confirm(std::move(leader.read_rounds.front()));
    leader.read_rounds.pop_front();
  }
}

void Node::Impl::Confirm(ReadRound&& reads) {
  for (const ReadId read : reads.own) {
    confirmed_reads_.push_back({.id = read, .index = reads.index, .deadline = reads.deadline});
  }
  for (const auto& [asker, batch] : reads.forwarded) {
    Send(asker, ReadResponse{.batch = batch, .index = reads.index});
  }
  reads_waiting_ -= reads.forwarded.size();
}

void Node::Impl::Handle(NodeId from, Term term, const ReadRequest& request) {
  if (!IsFromMember(from, term)) return;
  LeaderRole* leader = AsLeader();
  if (leader == nullptr || reads_waiting_ >= options_.reads_max) {
    Send(from, ReadResponse{.batch = request.batch, .index = std::nullopt});
    return;
  }
  ++reads_waiting_;
  NoteReadDeadline();
  leader->forwarded.emplace_back(from, request.batch);
}

void Node::Impl::Handle(NodeId from, Term term, const ReadResponse& response) {
  if (term > term_) IsFromMember(from, term);
  FollowerRole* follower = AsFollower();
  if (term != term_ || follower == nullptr || follower->leader != from) return;
  const auto found = follower->reads.find(response.batch);
  if (found == follower->reads.end() || found->second.index) return;
  if (response.index) {
    found->second.index = response.index;
    follower->confirmed.emplace(*response.index, response.batch);
    return;
  }
  for (const ReadId read : found->second.ids) FailRead(read);
  follower->reads.erase(found);
}

bool Node::Impl::ReadsCanFinish() const {
  if (!failed_reads_.empty()) return true;
  if (!confirmed_reads_.empty() && confirmed_reads_.front().index <= Readable()) return true;
  const FollowerRole* follower = AsFollower();
  return follower != nullptr && !follower->confirmed.empty() &&
         follower->confirmed.begin()->first <= Readable();
}

void Node::Impl::CollectReads() {
  for (const ReadId read : std::exchange(failed_reads_, {})) {
    output_.reads.push_back({.id = read, .index = std::nullopt});
  }
  while (!confirmed_reads_.empty() && confirmed_reads_.front().index <= Readable()) {
    const ConfirmedRead& first = confirmed_reads_.front();
    output_.reads.push_back({.id = first.id, .index = first.index});
    confirmed_reads_.pop_front();
  }
  if (FollowerRole* follower = AsFollower()) {
    while (!follower->confirmed.empty() && follower->confirmed.begin()->first <= Readable()) {
      const auto [index, batch] = *follower->confirmed.begin();
      for (const ReadId read : follower->reads[batch].ids) {
        output_.reads.push_back({.id = read, .index = index});
      }
      follower->reads.erase(batch);
      follower->confirmed.erase(follower->confirmed.begin());
    }
  }
  reads_waiting_ -= output_.reads.size();
}

// --- Lease (thesis §6.4.1) ---

// A promise lasts election_timeout_min on the slowest clock it may be kept by, which must be longer
// than this on the fastest that the leader may have. Whole ticks are counted: each of the two may
// be nearly one off.
std::uint64_t Node::Impl::LeaseTicks() const {
  constexpr std::uint64_t kTruncated = 2;
  const double ratio = (1 - options_.clock_drift) / (1 + options_.clock_drift);
  const auto ticks = static_cast<std::uint64_t>(options_.election_timeout_min_ticks * ratio);
  return ticks - std::min(ticks, kTruncated);
}

bool Node::Impl::HasLease() const {
  const LeaderRole* leader = AsLeader();
  if (leader == nullptr || !options_.lease_reads || leader->lease_given_up) return false;
  const auto honoured_from = [&](NodeId id) {
    if (id == id_) return LogIndex(now_ + 1);
    const auto found = leader->followers.find(id);
    return LogIndex(found == leader->followers.end() ? 0 : found->second.honoured_from);
  };
  const std::uint64_t from = CommittedIndex(configuration(), honoured_from).value();
  return from > 0 && now_ - (from - 1) < LeaseTicks();
}

// --- Connections ---

void Node::Impl::ConnectionRefused(NodeId peer) {
  Unreachable(peer);
  FollowerRole* follower = AsFollower();
  if (follower == nullptr || follower->leader != peer) return;
  // "Refused" is not "dead": whoever has promised a lease keeps to it.
  if (options_.lease_reads && !Broken(PlantedBug::kRefusedIsDead)) return;
  Note(Event::Kind::kLeaderDead, peer);
  FailForwarded(*follower);
  follower->leader.reset();
  follower->announced_dead = true;
  leader_heard_at_.reset();
  // All followers are refused at about the same time; not all of them should campaign at once.
  const std::uint64_t spread = std::max(options_.election_timeout_min_ticks / 16, 1U);
  election_at_ = std::min(election_at_, now_ + 1 + rng_->Below(spread));
}

void Node::Impl::Unreachable(NodeId peer) {
  FollowerRole* follower = AsFollower();
  if (follower != nullptr && follower->leader == peer) {
    // To ask again by itself would be a loop where each message is refused at once.
    std::erase_if(follower->reads, [this](const auto& asked) {
      if (asked.second.index) return false;
      for (const ReadId read : asked.second.ids) FailRead(read);
      return true;
    });
  }
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  const auto found = leader->followers.find(peer);
  if (found != leader->followers.end()) found->second.Lost();
}

void Node::Impl::Connected(NodeId peer) {
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  const auto found = leader->followers.find(peer);
  if (found == leader->followers.end()) return;
  Progress& progress = found->second;
  progress.ResumeProbe();
  if (progress.state() == Progress::State::kSnapshot) progress.snapshot().wait_until = 0;
  leader->must_replicate = true;
}

// --- Output ---

// The batch after which hard state and log up to `index` are durable. What is in none yet will be
// in the next output's.
std::uint64_t Node::Impl::AfterBatch(LogIndex index) const {
  const std::uint64_t next = last_batch_ + 1;
  std::uint64_t batch = log_.BatchWith(index, next);
  if (hard_state_unsaved_) return next;
  if (!HardStateIsDurable()) batch = std::max(batch, hard_state_batch_);
  return batch;
}

template <typename Body>
void Node::Impl::SendDurable(NodeId to, Body body, LogIndex index) {
  Send(to, std::move(body), Broken(PlantedBug::kAckBeforeDurable) ? 0 : AfterBatch(index));
}

void Node::Impl::Persisted(std::uint64_t batch) {
  CHECK(batch <= last_batch_);
  if (batch > persisted_) disk_busy_since_ = now_;
  persisted_ = std::max(persisted_, batch);
  log_.Persisted(batch);
  if (auto* real = std::get_if<CandidateRole>(&role_); real != nullptr && HardStateIsDurable()) {
    real->votes.emplace(id_, true);
    CountElection();
  }
  MaybeCommit();
  LeaderRole* leader = AsLeader();
  if (leader == nullptr) return;
  CountDelivered(*leader);
  // A committed change of the membership can make a majority of the answers that are here already.
  ConfirmReads(*leader);
}

bool Node::Impl::HasOutput() const {
  const LeaderRole* leader = AsLeader();
  return !output_.empty() || hard_state_unsaved_ || log_.HasUnsaved() || applied_ < Deliverable() ||
         ReadsCanStart() || ReadsCanFinish() || (leader != nullptr && leader->must_replicate);
}

Output Node::Impl::TakeOutput() {
  StartReads();
  if (LeaderRole* leader = AsLeader(); leader != nullptr && leader->must_replicate) {
    Replicate(*leader);
  }
  SealBatch();
  CollectCommitted();
  CollectReads();
  return std::exchange(output_, {});
}

void Node::Impl::SealBatch() {
  if (!hard_state_unsaved_ && !log_.HasUnsaved() && !output_.snapshot_part) return;
  if (persisted_ == last_batch_) disk_busy_since_ = now_;
  output_.batch = ++last_batch_;
  if (hard_state_unsaved_) {
    output_.hard_state = HardState{.term = term_, .vote = vote_};
    hard_state_batch_ = last_batch_;
    hard_state_unsaved_ = false;
  }
  output_.entries = log_.TakeUnsaved(last_batch_);
}

void Node::Impl::CollectCommitted() {
  std::uint64_t bytes = 0;
  while (applied_ < Deliverable() && bytes < kCommittedBytesMax) {
    ++applied_;
    output_.committed.push_back(log_.Find(applied_));
    bytes += BytesOf(*output_.committed.back());
  }
}

std::vector<Node::Follower> Node::Impl::followers() const {
  std::vector<Node::Follower> list;
  const LeaderRole* leader = AsLeader();
  if (leader == nullptr) return list;
  for (const auto& [id, progress] : leader->followers) {
    if (!configuration().Contains(id)) continue;
    list.push_back({.id = id,
                    .match = progress.match(),
                    .next = progress.next(),
                    .active = IsActive(progress),
                    .receives_snapshot = progress.state() == Progress::State::kSnapshot});
  }
  return list;
}

std::map<NodeId, std::string> Node::Impl::Peers() const {
  std::map<NodeId, std::string> peers = configuration().contexts;
  if (const LeaderRole* leader = AsLeader()) {
    peers.insert(leader->contexts.begin(), leader->contexts.end());
  }
  peers.insert(departed_.begin(), departed_.end());
  peers.erase(id_);
  return peers;
}

// --- Node ---

Node::Node(NodeId id, const NodeOptions& options, Restored restored, Rng& rng)
    : impl_(std::make_unique<Impl>(id, options, std::move(restored), rng)) {}
Node::~Node() = default;
Node::Node(Node&&) noexcept = default;

void Node::Tick(std::uint64_t ticks) { impl_->Tick(ticks); }
std::uint64_t Node::TicksToNext() const { return impl_->TicksToNext(); }
void Node::Step(NodeId from, Message message) { impl_->Step(from, std::move(message)); }
void Node::Persisted(std::uint64_t batch) { impl_->Persisted(batch); }
void Node::ConnectionRefused(NodeId peer) { impl_->ConnectionRefused(peer); }
void Node::Unreachable(NodeId peer) { impl_->Unreachable(peer); }
void Node::Connected(NodeId peer) { impl_->Connected(peer); }
ProposeResult Node::Propose(std::string command) { return impl_->Propose(std::move(command)); }
ProposeResult Node::ProposeChange(const ConfigurationChange& change) {
  return impl_->ProposeChange(change);
}
ProposeResult Node::TransferTo(NodeId target) { return impl_->TransferTo(target); }
std::optional<Refused> Node::Read(ReadId id) { return impl_->Read(id); }
void Node::Compact(const SnapshotMeta& meta, LogIndex keep_after) {
  impl_->Compact(meta, keep_after);
}
std::optional<SnapshotMeta> Node::SnapshotAt(LogIndex index) const {
  return impl_->SnapshotAt(index);
}
void Node::SnapshotUnavailable(NodeId peer) { impl_->SnapshotUnavailable(peer); }
bool Node::SnapshotInTransfer() const { return impl_->SnapshotInTransfer(); }
bool Node::HasOutput() const { return impl_->HasOutput(); }
Output Node::TakeOutput() { return impl_->TakeOutput(); }
NodeId Node::id() const { return impl_->id(); }
Node::Role Node::role() const { return impl_->role(); }
Term Node::term() const { return impl_->term(); }
std::optional<NodeId> Node::vote() const { return impl_->vote(); }
std::optional<NodeId> Node::leader() const { return impl_->leader(); }
LogIndex Node::committed() const { return impl_->committed(); }
LogIndex Node::applied() const { return impl_->applied(); }
LogPosition Node::last() const { return impl_->log().last(); }
std::uint64_t Node::log_bytes() const { return impl_->log().bytes(); }
LogPosition Node::snapshot() const { return impl_->snapshot(); }
const Configuration& Node::configuration() const { return impl_->configuration(); }
std::map<NodeId, std::string> Node::Peers() const { return impl_->Peers(); }
EntryPtr Node::entry(LogIndex index) const { return impl_->log().Find(index); }
bool Node::HasLease() const { return impl_->HasLease(); }
std::vector<Node::Follower> Node::followers() const { return impl_->followers(); }

}  // namespace ds::raft
