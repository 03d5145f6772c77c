#include "raft/sim/member.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::raft {
namespace {

using std::chrono::milliseconds;

constexpr const char* kFolder = "raft";
/// Small, so that a run has many segments and disks stay small.
constexpr std::uint64_t kSegmentBytes = 4096;
/// A transfer under way holds up the next snapshot until the log is so many times longer.
constexpr std::uint64_t kCompactIntervalsMax = 8;

// Sources of inputs beside other members (their ids) and clients (kClients and their numbers).
constexpr std::uint64_t kDisk = 1'000'000;
constexpr std::uint64_t kClients = 2'000'000;

sim::NetworkFaults::NodeNumber Number(NodeId id) {
  return static_cast<sim::NetworkFaults::NodeNumber>(id.value());
}

std::uint64_t BytesOf(const Output& output) {
  std::uint64_t bytes = 32;
  for (const EntryPtr& entry : output.entries) bytes += 32 + entry->data.size();
  if (output.snapshot_part) bytes += output.snapshot_part->data.size();
  return bytes;
}

bool Writes(const Output& output) {
  return output.hard_state || output.snapshot_part || output.install || !output.entries.empty();
}

}  // namespace

Member::Member(Cluster& cluster, NodeId id, const NodeOptions& node_options, Configuration initial,
               std::int64_t drift_ppm, std::uint64_t seed)
    : cluster_(cluster),
      id_(id),
      node_options_(node_options),
      initial_(std::move(initial)),
      rng_(seed),
      disk_rng_(~seed),
      latency_(cluster.scheduler,
               {.sync_min = kWriteMin, .sync_mean = std::chrono::microseconds(800)}),
      clock_(cluster.scheduler, TimePoint(std::chrono::seconds(100)), drift_ppm) {
  disk_.fault = [this](const std::string& operation, const std::string&) {
    return DiskFault(operation);
  };
  cluster_.network.SetState(Number(id_), sim::NetworkFaults::NodeState::kProcessDead);
}

Member::~Member() = default;

absl::Status Member::DiskFault(const std::string& operation) {
  const bool looks = operation == "open" || operation == "read" || operation == "list";
  if (disk_operations_left_ && !looks) {
    if (*disk_operations_left_ == 0) return Unavailable("the process is dead");
    --*disk_operations_left_;
  }
  if (disk_full_ && (operation == "write" || operation == "create")) {
    return Error(absl::StatusCode::kResourceExhausted, "the disk is full");
  }
  if (fail_sync_ && operation == "sync") {
    fail_sync_ = false;
    return Error(absl::StatusCode::kDataLoss, "the sync failed");
  }
  return absl::OkStatus();
}

void Member::Start() {
  if (retired_ || state_ != State::kDown) return;
  RaftStore::Options options;
  options.segment_bytes = kSegmentBytes;
  options.salt = disk_rng_.Next();
  absl::StatusOr<std::unique_ptr<RaftStore>> opened = RaftStore::Open(disk_, kFolder, options);
  Restored restored;
  absl::Status status = opened.status();
  if (status.ok()) {
    store_ = *std::move(opened);
    if (store_->empty() && !initial_.voters.empty()) {
      restored.snapshot.configuration = initial_;
      status = store_->SaveSnapshot(restored.snapshot, "");
    } else {
      restored = store_->TakeRestored();
    }
  }
  if (!status.ok()) {
    store_.reset();
    if (!absl::IsResourceExhausted(status) && !(absl::IsDataLoss(status) && disk_full_) &&
        ds::Message(status).find("the sync failed") == std::string::npos) {
      cluster_.scheduler.Fail(
          fmt::format("durability: node {}'s store does not open: {}", id_, ds::Message(status)));
      return;
    }
    PlanRestart(milliseconds(50));
    return;
  }
  if (store_->recovery().torn_bytes > 0) ++cluster_.totals[Total::kTornTails];
  if (life_ > 0) ++cluster_.totals[Total::kRestarts];
  cluster_.trace(fmt::format("node {} starts: term {}, snapshot {}, {} entries{}", id_,
                             restored.hard_state.term, restored.snapshot.last.index,
                             restored.entries.size(),
                             store_->recovery().torn_bytes > 0 ? ", after a torn write" : ""));
  state_ = State::kUp;
  cluster_.network.SetState(Number(id_), sim::NetworkFaults::NodeState::kUp);
  ticked_ = clock_.now();
  node_ = std::make_unique<Node>(id_, node_options_, restored, rng_);
  applied_ = restored.snapshot.last;
  snapshot_ = applied_.index;
  // The invariants' picture of a log begins at its snapshot.
  std::erase_if(restored.entries, [&](const EntryPtr& entry) {
    return entry->position.index <= restored.snapshot.last.index;
  });
  cluster_.invariants.Started(Invariants::Of(*node_), restored);
  if (!Load(restored.snapshot)) return;
  Pump();
}

bool Member::Load(const SnapshotMeta& meta) {
  std::string bytes;
  if (meta.bytes > 0) {
    absl::StatusOr<std::string> read = store_->ReadSnapshot(meta.last, 0, meta.bytes);
    if (!read.ok()) {
      cluster_.scheduler.Fail(fmt::format("durability: node {} cannot read its snapshot: {}", id_,
                                          ds::Message(read.status())));
      return false;
    }
    bytes = *std::move(read);
  }
  if (const absl::Status status = machine_.Load(bytes); !status.ok()) {
    cluster_.scheduler.Fail(
        fmt::format("durability: node {}'s snapshot: {}", id_, ds::Message(status)));
    return false;
  }
  applied_ = meta.last;
  snapshot_ = std::max(snapshot_, meta.last.index);
  cluster_.invariants.Loaded(id_, meta, machine_.digest());
  return true;
}

void Member::Kill() {
  if (state_ == State::kDown) return;
  // What it was just writing is there in part.
  disk_operations_left_ = disk_rng_.Below(4);
  WriteGathered().IgnoreError();
  disk_operations_left_ = 0;
  Die(false);
  disk_operations_left_.reset();
}

void Member::LosePower() {
  if (state_ == State::kDown) return;
  // Half of the time between the write of a group and its sync.
  disk_.FailPowerAfter(disk_rng_.Bernoulli(0.5) ? 2 + 2 * disk_rng_.Below(3)
                                                : 1 + disk_rng_.Below(6));
  if (writing_ > 0) {
    WriteGathered().IgnoreError();
  } else if (settled() && applied_.index > snapshot_ && disk_rng_.Bernoulli(0.5)) {
    const std::string bytes = machine_.Snapshot();
    if (std::optional<SnapshotMeta> meta = node_->SnapshotAt(applied_.index)) {
      meta->bytes = bytes.size();
      const absl::Status half = store_->SaveSnapshot(*meta, bytes);
      cluster_.trace(fmt::format("node {} was saving a snapshot: {}", id_,
                                 half.ok() ? "done" : ds::Message(half)));
    }
  }
  disk_.FailPowerAfter(1);
  Die(true);
  constexpr std::array kSurvivals = {
      sim::SimDisk::Survival::kSynced, sim::SimDisk::Survival::kNames,
      sim::SimDisk::Survival::kRandom, sim::SimDisk::Survival::kTorn};
  disk_.PowerOn(kSurvivals.at(disk_rng_.Below(kSurvivals.size())), disk_rng_);
  latency_.Restart();
}

void Member::Die(bool power) {
  state_ = State::kDown;
  ++life_;
  if (timer_) cluster_.scheduler.Cancel(*timer_);
  if (write_) cluster_.scheduler.Cancel(*write_);
  timer_.reset();
  write_.reset();
  store_.reset();
  node_.reset();
  machine_ = KvMachine();
  writes_.clear();
  writing_ = 0;
  durable_batch_ = 0;
  held_.clear();
  applying_.clear();
  asked_.clear();
  reads_.clear();
  waiting_.clear();
  cluster_.network.SetState(Number(id_), power ? sim::NetworkFaults::NodeState::kMachineDown
                                               : sim::NetworkFaults::NodeState::kProcessDead);
}

void Member::DieOf(const absl::Status& status) {
  cluster_.trace(fmt::format("node {} ends: {}", id_, ds::Message(status)));
  if (absl::IsResourceExhausted(status)) {
    ++cluster_.totals[Total::kDiskFull];
    Die(false);
  } else if (ds::Message(status).find("the sync failed") != std::string::npos) {
    ++cluster_.totals[Total::kFailedSyncs];
    Die(false);
    // What could not be synced may be gone, whatever the page cache said before.
    disk_.PowerOn(sim::SimDisk::Survival::kRandom, disk_rng_);
  } else {
    cluster_.scheduler.Fail(
        fmt::format("durability: node {}'s store: {}", id_, ds::Message(status)));
    return;
  }
  PlanRestart(restart_delay_);
}

void Member::PlanRestart(Duration delay) {
  cluster_.scheduler.After(delay, [this, life = life_] {
    if (life == life_) Start();
  });
}

void Member::Retire() {
  if (state_ != State::kDown) Kill();
  retired_ = true;
}

void Member::Pause() {
  if (state_ == State::kUp) state_ = State::kPaused;
}

void Member::Resume() {
  if (state_ != State::kPaused) return;
  state_ = State::kUp;
  // Connections are read in any order, each in its own.
  std::vector<Waiting> waiting = std::move(waiting_);
  waiting_.clear();
  std::map<std::uint64_t, std::uint64_t> place;
  for (const Waiting& one : waiting) {
    if (!place.contains(one.source)) place[one.source] = disk_rng_.Next();
  }
  std::stable_sort(waiting.begin(), waiting.end(), [&](const Waiting& a, const Waiting& b) {
    return place[a.source] < place[b.source];
  });
  const std::uint64_t life = life_;
  for (Waiting& one : waiting) {
    if (life != life_) return;
    Do(one.source, std::move(one.event));
  }
  if (life == life_) Do(kDisk, [] {});
}

void Member::SetDrift(std::int64_t drift_ppm) {
  clock_.SetDrift(drift_ppm);
  if (timer_) {
    cluster_.scheduler.Cancel(*timer_);
    timer_.reset();
    PlanTimer();
  }
}

void Member::Do(std::uint64_t source, std::function<void()> event) {
  if (state_ == State::kDown) return;
  if (state_ == State::kPaused) {
    waiting_.push_back({source, std::move(event)});
    return;
  }
  BringTime();
  if (!up()) return;
  event();
  if (up()) Pump();
}

void Member::BringTime() {
  const auto ticks = (clock_.now() - ticked_) / milliseconds(1);
  if (ticks <= 0) return;
  ticked_ += milliseconds(ticks);
  node_->Tick(static_cast<std::uint64_t>(ticks));
  if (node_->HasOutput()) Pump();
}

void Member::PlanTimer() {
  const std::uint64_t ticks =
      std::clamp<std::uint64_t>(node_->TicksToNext(), 1, std::uint64_t{3'600'000});
  const TimePoint due =
      clock_.WhenItShows(ticked_ + milliseconds(static_cast<std::int64_t>(ticks)));
  if (timer_) {
    // A timer that fires early costs less than one that is planned anew with each message.
    if (timer_->time <= due) return;
    cluster_.scheduler.Cancel(*timer_);
  }
  timer_ = cluster_.scheduler.At(due, [this] {
    timer_.reset();
    if (!up()) return;
    BringTime();
    if (up()) Pump();
  });
}

void Member::Pump() {
  const std::uint64_t life = life_;
  while (!cluster_.scheduler.failed() && node_->HasOutput()) {
    Execute(node_->TakeOutput());
    if (life != life_) return;
    MaybeCompact();
    if (life != life_) return;
  }
  if (!cluster_.scheduler.failed()) PlanTimer();
}

void Member::Execute(Output output) {
  cluster_.invariants.Took(Invariants::Of(*node_), output);
  for (const Event& event : output.events) cluster_.on_event(id_, event);
  if (cluster_.invariants.violation()) return;

  for (Envelope& envelope : output.messages) {
    if (envelope.after_batch <= durable_batch_) {
      Send(envelope);
    } else {
      held_.push_back(std::move(envelope));
    }
  }
  output.messages.clear();

  Applying applying{output.install ? output.batch : 0, output.install, std::move(output.committed),
                    std::move(output.reads)};
  if (applying.install || !applying.committed.empty() || !applying.reads.empty()) {
    applying_.push_back(std::move(applying));
  }
  if (Writes(output)) {
    writes_.push_back(std::move(output));
    StartWrite();
  } else if (output.batch != 0) {
    cluster_.scheduler.Fail(
        fmt::format("durability: node {}'s batch {} is empty", id_, output.batch));
  }
  RunApplying();
}

void Member::Send(const Envelope& envelope) {
  const NodeId to = envelope.to;
  Message message = envelope.message;
  if (auto* part = std::get_if<SnapshotPart>(&message.body); part != nullptr && part->length > 0) {
    absl::StatusOr<std::string> data =
        store_->ReadSnapshot(part->meta.last, part->offset, part->length);
    if (!data.ok() || data->size() != part->length) {
      node_->SnapshotUnavailable(to);
      return;
    }
    part->data = *std::move(data);
  }
  cluster_.invariants.Sending(id_, to, message);
  if (to.value() >= cluster_.network.nodes() || to == id_) {
    cluster_.scheduler.Fail(fmt::format("node {} sends a message to {}", id_, to));
    return;
  }
  cluster_.network.Send(Number(id_), Number(to), std::move(message));
  cluster_.on_sent(id_, envelope);
}

void Member::StartWrite() {
  if (writing_ > 0 || writes_.empty()) return;
  writing_ = writes_.size();
  std::uint64_t bytes = 0;
  for (const Output& output : writes_) bytes += BytesOf(output);
  write_ = latency_.Sync(bytes, [this] {
    write_.reset();
    Do(kDisk, [this] { FinishWrite(); });
  });
  cluster_.on_write(id_);
}

absl::Status Member::WriteGathered() {
  std::vector<const Output*> gathered;
  for (std::size_t i = 0; i < writing_; ++i) gathered.push_back(&writes_[i]);
  return store_->Write(gathered);
}

void Member::FinishWrite() {
  if (const absl::Status status = WriteGathered(); !status.ok()) {
    DieOf(status);
    return;
  }
  std::uint64_t batch = 0;
  for (std::size_t i = 0; i < writing_; ++i) {
    batch = writes_[i].batch;
    cluster_.invariants.Wrote(id_, batch);
  }
  writes_.erase(writes_.begin(), writes_.begin() + static_cast<std::ptrdiff_t>(writing_));
  writing_ = 0;
  durable_batch_ = batch;
  while (!held_.empty() && held_.front().after_batch <= durable_batch_) {
    const Envelope envelope = std::move(held_.front());
    held_.pop_front();
    Send(envelope);
  }
  RunApplying();
  node_->Persisted(batch);
  StartWrite();
}

void Member::RunApplying() {
  // Of several snapshots that have been installed at once the store has the last.
  std::size_t last_install = applying_.size();
  for (std::size_t i = 0; i < applying_.size(); ++i) {
    if (applying_[i].after_batch > durable_batch_) break;
    if (applying_[i].install) last_install = i;
  }
  if (last_install < applying_.size()) {
    std::vector<Output::Read> reads;
    for (std::size_t i = 0; i < last_install; ++i) {
      reads.insert(reads.end(), applying_.front().reads.begin(), applying_.front().reads.end());
      applying_.pop_front();
    }
    Applying& front = applying_.front();
    front.reads.insert(front.reads.begin(), reads.begin(), reads.end());
  }
  while (!applying_.empty() && applying_.front().after_batch <= durable_batch_) {
    const Applying applying = std::move(applying_.front());
    applying_.pop_front();
    if (applying.install) {
      ++cluster_.totals[Total::kSnapshotsInstalled];
      cluster_.trace(
          fmt::format("node {} installs a snapshot of {}", id_, applying.install->last.index));
      if (!Load(*applying.install)) return;
      // Nobody here knows what became of them.
      asked_.erase(asked_.begin(), asked_.upper_bound(applied_.index));
    }
    for (const EntryPtr& entry : applying.committed) Apply(entry);
    for (const Output::Read& read : applying.reads) AnswerRead(read);
  }
}

void Member::Apply(const EntryPtr& entry) {
  Answer answer{Answer::Kind::kDone, {}, {}};
  if (entry->kind == Entry::Kind::kCommand) answer.result = machine_.Apply(entry->data);
  applied_ = entry->position;
  cluster_.invariants.Applied(id_, *entry, machine_.digest());
  const auto asked = asked_.find(entry->position.index);
  if (asked == asked_.end()) return;
  if (asked->second.term != entry->position.term) {
    answer.kind = Answer::Kind::kNeverExecuted;
  } else {
    cluster_.invariants.Acknowledged(entry->position);
  }
  const AnswerTo answer_to = std::move(asked->second.answer);
  asked_.erase(asked);
  answer_to(answer);
}

void Member::AnswerRead(const Output::Read& read) {
  const auto asked = reads_.find(read.id);
  if (asked == reads_.end()) {
    cluster_.scheduler.Fail(fmt::format("node {} answers read {} twice", id_, read.id));
    return;
  }
  Answer answer;
  if (read.index) {
    if (*read.index > applied_.index) {
      cluster_.scheduler.Fail(fmt::format("node {} answers a read at {} and has applied {}", id_,
                                          *read.index, applied_.index));
      return;
    }
    const bool lease =
        asked->second.at_once && node_options_.lease_reads && node_->role() == Node::Role::kLeader;
    ++cluster_.totals[lease ? Total::kLeaseReads : Total::kIndexReads];
    answer.kind = Answer::Kind::kDone;
    answer.result.value = machine_.Get(asked->second.key);
  } else {
    answer.leader = node_->leader();
  }
  const AnswerTo answer_to = std::move(asked->second.answer);
  reads_.erase(asked);
  answer_to(answer);
}

void Member::MaybeCompact() {
  if (!settled() || applied_.index < snapshot_ + cluster_.compact_every) return;
  const bool may_wait = applied_.index < snapshot_ + kCompactIntervalsMax * cluster_.compact_every;
  if (may_wait && node_->SnapshotInTransfer()) return;
  SaveSnapshot(true);
}

void Member::Compact(bool keep_trailing) {
  if (!up()) return;
  Do(kDisk, [this, keep_trailing] {
    if (!settled() || applied_.index == snapshot_) return;
    if (SaveSnapshot(keep_trailing)) ++cluster_.totals[Total::kForcedSnapshots];
  });
}

bool Member::SaveSnapshot(bool keep_trailing) {
  std::optional<SnapshotMeta> here = node_->SnapshotAt(applied_.index);
  // One that joins and has not been told of any configuration yet has nothing that could be shown.
  if (!here) return false;
  SnapshotMeta& meta = *here;
  if (meta.last != applied_) {
    cluster_.scheduler.Fail(fmt::format("node {} has applied {}, and its snapshot would be of {}",
                                        id_, applied_.index, meta.last.index));
    return false;
  }
  const std::string bytes = machine_.Snapshot();
  meta.bytes = bytes.size();
  if (const absl::Status status = store_->SaveSnapshot(meta, bytes); !status.ok()) {
    DieOf(status);
    return false;
  }
  cluster_.invariants.Saved(id_, meta, machine_.digest());
  ++cluster_.totals[Total::kSnapshots];
  snapshot_ = meta.last.index;
  const std::uint64_t trailing = keep_trailing ? cluster_.compact_trailing : 0;
  const LogIndex keep_after = LogIndex(snapshot_.value() - std::min(snapshot_.value(), trailing));
  node_->Compact(meta, keep_after);
  if (const absl::Status status = store_->Forget(keep_after); !status.ok()) {
    DieOf(status);
    return false;
  }
  return true;
}

void Member::Receive(NodeId from, Message message) {
  if (up()) {  // the common case, without a std::function
    BringTime();
    if (!up()) return;
    node_->Step(from, std::move(message));
    Pump();
    return;
  }
  Do(from.value(), [this, from, message = std::move(message)]() mutable {
    node_->Step(from, std::move(message));
  });
}

void Member::ConnectionRefused(NodeId peer) {
  Do(peer.value(), [this, peer] { node_->ConnectionRefused(peer); });
}

void Member::Unreachable(NodeId peer) {
  Do(peer.value(), [this, peer] {
    if (node_->role() == Node::Role::kLeader) ++cluster_.totals[Total::kBrokenStreams];
    node_->Unreachable(peer);
  });
}

void Member::Connected(NodeId peer) {
  Do(peer.value(), [this, peer] { node_->Connected(peer); });
}

bool Member::Ask(std::uint64_t client, const sim::KvOp& op, AnswerTo answer) {
  if (state_ == State::kDown) return false;
  Do(kClients + client, [this, op, answer = std::move(answer)]() mutable {
    if (op.kind == sim::KvOp::Kind::kGet) {
      const ReadId id = next_read_++;
      const std::optional<Refused> refused = node_->Read(id);
      if (refused) {
        CountLimit(*refused);
        answer({Answer::Kind::kRefused, {}, refused->leader});
        return;
      }
      reads_[id] = {op.key, true, std::move(answer)};
      Pump();
      if (!up()) return;
      // Whatever is answered later has been asked about.
      if (const auto found = reads_.find(id); found != reads_.end()) found->second.at_once = false;
      return;
    }
    const ProposeResult result = node_->Propose(KvMachine::Encode(op));
    if (const auto* refused = std::get_if<Refused>(&result)) {
      CountLimit(*refused);
      answer({Answer::Kind::kRefused, {}, refused->leader});
      return;
    }
    const LogPosition position = std::get<Accepted>(result).position;
    asked_[position.index] = {position.term, std::move(answer)};
  });
  return true;
}

void Member::CountLimit(const Refused& refused) {
  if (refused.why == Refused::Why::kTooMuchUncommitted ||
      refused.why == Refused::Why::kTooManyReads) {
    ++cluster_.totals[Total::kRefusedByLimits];
  }
}

ProposeResult Member::Change(const ConfigurationChange& change) {
  BringTime();
  if (!up()) return Refused{};
  ProposeResult result = node_->ProposeChange(change);
  Pump();
  return result;
}

ProposeResult Member::TransferTo(NodeId target) {
  BringTime();
  if (!up()) return Refused{};
  ProposeResult result = node_->TransferTo(target);
  Pump();
  return result;
}

}  // namespace ds::raft
