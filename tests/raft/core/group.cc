#include "tests/raft/core/group.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "common/base/check.h"

namespace ds::raft {
namespace {

bool IsAnswer(const Message& message) {
  return std::holds_alternative<VoteResponse>(message.body) ||
         std::holds_alternative<AppendResponse>(message.body) ||
         std::holds_alternative<SnapshotPartResponse>(message.body) ||
         std::holds_alternative<ReadResponse>(message.body);
}

constexpr std::ptrdiff_t kBreachesMax = 8;       // of each rule
constexpr std::uint64_t kForever = 1'000'000;    // no timer of a test is that long
constexpr std::size_t kDeliveriesMax = 100'000;  // beyond, members talk without end

std::string Range(const std::vector<EntryPtr>& entries) {
  std::string text;
  for (const EntryPtr& entry : entries) {
    text += fmt::format(" {}/{}", entry->position.term, entry->position.index);
  }
  return text;
}

std::string Describe(const Entry& entry) {
  const std::string at = fmt::format("{}/{}", entry.position.term, entry.position.index);
  switch (entry.kind) {
    case Entry::Kind::kNoop:
      return at + " noop";
    case Entry::Kind::kCommand:
      return at + " " + entry.data;
    case Entry::Kind::kConfiguration: {
      const auto decoded = DecodeConfiguration(entry.data);
      if (!decoded.ok()) return at + " configuration?";
      const auto list = [](const std::set<NodeId>& members) {
        std::string text;
        for (const NodeId member : members) text += fmt::format(" {}", member);
        return text;
      };
      std::string text = at + " voters" + list(decoded->voters);
      if (decoded->joint()) text += " outgoing" + list(decoded->outgoing);
      if (!decoded->learners.empty()) text += " learners" + list(decoded->learners);
      if (!decoded->learners_next.empty()) text += " next" + list(decoded->learners_next);
      return text;
    }
  }
  return at + " of no kind";
}

std::string Join(const std::vector<std::string>& commands) {
  std::string bytes;
  for (const std::string& command : commands) bytes += command + "\n";
  return bytes;
}

std::vector<std::string> Split(std::string_view bytes) {
  std::vector<std::string> commands;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    commands.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  }
  return commands;
}

}  // namespace

EntryPtr Command(std::uint64_t term, std::uint64_t index, std::string data) {
  return std::make_shared<const Entry>(
      Entry{At(term, index), Entry::Kind::kCommand, std::move(data)});
}

EntryPtr Noop(std::uint64_t term, std::uint64_t index) {
  return std::make_shared<const Entry>(Entry{At(term, index), Entry::Kind::kNoop, ""});
}

EntryPtr ConfigurationEntry(std::uint64_t term, std::uint64_t index, const Configuration& value) {
  return std::make_shared<const Entry>(
      Entry{At(term, index), Entry::Kind::kConfiguration, EncodeConfiguration(value)});
}

std::vector<EntryPtr> LogOf(std::initializer_list<std::uint64_t> terms, std::uint64_t first) {
  std::vector<EntryPtr> entries;
  for (const std::uint64_t term : terms) {
    entries.push_back(Command(term, first, fmt::format("t{}i{}", term, first)));
    ++first;
  }
  return entries;
}

Configuration VotersOnly(std::initializer_list<std::uint64_t> voters) {
  Configuration configuration;
  for (const std::uint64_t id : voters) {
    configuration.voters.insert(NodeId(id));
    configuration.contexts[NodeId(id)] = fmt::format("m{}", id);
  }
  return configuration;
}

std::string Terms(const std::vector<EntryPtr>& entries) {
  std::string text;
  for (const EntryPtr& entry : entries) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", entry->position.term);
  }
  return text;
}

Message Vote(std::uint64_t term, LogPosition last) {
  return {Term(term), VoteRequest{.pre = false, .transfer = false, .last = last}};
}
Message PreVote(std::uint64_t term, LogPosition last) {
  return {Term(term), VoteRequest{.pre = true, .transfer = false, .last = last}};
}
Message TransferVote(std::uint64_t term, LogPosition last) {
  return {Term(term), VoteRequest{.pre = false, .transfer = true, .last = last}};
}
Message Granted(std::uint64_t term) {
  return {Term(term), VoteResponse{.pre = false, .granted = true}};
}
Message PreGranted(std::uint64_t term) {
  return {Term(term), VoteResponse{.pre = true, .granted = true}};
}
Message Denied(std::uint64_t term) {
  return {Term(term), VoteResponse{.pre = false, .granted = false}};
}

Message Append(std::uint64_t term, LogPosition previous, std::vector<EntryPtr> entries,
               std::uint64_t committed, std::uint64_t round) {
  AppendRequest request;
  request.previous = previous;
  request.entries = std::move(entries);
  request.committed = LogIndex(committed);
  request.round = round;
  return {Term(term), std::move(request)};
}

Message AppendAnswer(std::uint64_t term, bool accepted, LogPosition match, std::uint64_t round) {
  AppendResponse response;
  response.round = round;
  response.accepted = accepted;
  response.match = match;
  return {Term(term), response};
}

Message Part(std::uint64_t term, const SnapshotMeta& meta, std::uint64_t offset, std::string data) {
  SnapshotPart part;
  part.meta = meta;
  part.offset = offset;
  part.length = data.size();
  part.data = std::move(data);
  part.round = 1;
  return {Term(term), std::move(part)};
}

NodeOptions QuickOptions() {
  NodeOptions options;
  options.election_timeout_min_ticks = 10;
  options.election_timeout_max_ticks = 20;
  options.heartbeat_ticks = 3;
  options.snapshot_retry_ticks = 30;
  return options;
}

std::vector<EntryPtr> Group::DiskState::Log() const {
  std::vector<EntryPtr> log;
  for (const auto& [index, entry] : entries) log.push_back(entry);
  return log;
}

Group::Group(std::uint64_t voters) : Group(Options{.voters = voters}) {}

Group::Group(Options options) : options_(std::move(options)) {
  Configuration configuration;
  if (options_.configuration) {
    configuration = *options_.configuration;
  } else {
    for (std::uint64_t id = 1; id <= options_.voters; ++id) {
      configuration.voters.insert(NodeId(id));
      configuration.contexts[NodeId(id)] = fmt::format("m{}", id);
    }
  }
  for (const NodeId member : configuration.Members()) {
    const std::uint64_t id = member.value();
    DiskState& disk = members_[id].disk;
    disk.snapshot.configuration = configuration;
    if (const auto log = options_.logs.find(id); log != options_.logs.end()) {
      for (const EntryPtr& entry : log->second) {
        disk.entries[entry->position.index.value()] = entry;
        disk.hard_state.term = entry->position.term;
      }
    }
    if (const auto hard = options_.hard_states.find(id); hard != options_.hard_states.end()) {
      disk.hard_state = hard->second;
    }
    Start(id);
  }
}

Group::~Group() {
  for (const Breach& breach : breaches_) ADD_FAILURE() << breach.what;
}

void Group::Trace(const std::string& line) const {
  if (options_.trace) options_.trace(line);
}

void Group::Broken(Rule rule, std::string what) {
  Trace("BREACH " + what);
  const auto of_rule = std::count_if(breaches_.begin(), breaches_.end(),
                                     [rule](const Breach& breach) { return breach.rule == rule; });
  if (of_rule < kBreachesMax) breaches_.push_back({rule, std::move(what)});
}

std::vector<Group::Breach> Group::TakeBreaches() { return std::exchange(breaches_, {}); }

void Group::Start(std::uint64_t id) {
  Member& member = members_.at(id);
  if (member.rng == nullptr) member.rng = std::make_unique<Rng>(options_.seed * 1000 + id);
  Restored restored;
  restored.hard_state = member.disk.hard_state;
  restored.snapshot = member.disk.snapshot;
  for (const auto& [index, entry] : member.disk.entries) {
    if (index > member.disk.snapshot.last.index.value()) restored.entries.push_back(entry);
  }
  member.state = Split(member.disk.snapshot_bytes);
  member.applied = member.disk.snapshot.last.index.value();
  member.durable_batch = 0;
  member.newest_batch = 0;
  member.led_to.reset();
  member.node = std::make_unique<Node>(NodeId(id), options_.node, std::move(restored), *member.rng);
  Pump(id);
}

void Group::AddEmpty(std::uint64_t id) {
  CHECK(!members_.contains(id));
  members_[id];
  Start(id);
}

Node& Group::node(std::uint64_t id) {
  CHECK(running(id));
  return *members_.at(id).node;
}

bool Group::running(std::uint64_t id) const {
  const auto found = members_.find(id);
  return found != members_.end() && found->second.node != nullptr;
}

std::vector<std::uint64_t> Group::ids() const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, member] : members_) ids.push_back(id);
  return ids;
}

void Group::Tick(std::uint64_t id, std::uint64_t ticks) {
  node(id).Tick(ticks);
  Pump(id);
}

void Group::Run(std::uint64_t ticks) {
  for (std::uint64_t tick = 0; tick < ticks; ++tick) {
    for (const std::uint64_t id : ids()) {
      if (running(id)) Tick(id);
    }
    Deliver();
  }
}

void Group::Campaign(std::uint64_t id) {
  const auto begun = [this, id] {
    return Count(id, Event::Kind::kCandidate) + Count(id, Event::Kind::kLeaderDead);
  };
  const std::size_t before = begun();
  for (int step = 0; step < 100 && begun() == before; ++step) {
    const std::uint64_t ticks = node(id).TicksToNext();
    if (ticks > kForever) break;
    Tick(id, std::max<std::uint64_t>(ticks, 1));
  }
  if (begun() == before) Broken(Rule::kProgress, fmt::format("{} does not campaign", id));
}

void Group::Elect(std::uint64_t id) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    for (const std::uint64_t other : ids()) {
      if (other == id || !running(other) || node(other).role() == Node::Role::kLeader) continue;
      const std::uint64_t left = node(other).TicksToNext();
      if (left > 1 && left < kForever) Tick(other, left - 1);
    }
    Campaign(id);
    Deliver();
    if (node(id).role() == Node::Role::kLeader) return;
  }
  Broken(Rule::kProgress, fmt::format("{} cannot be elected", id));
}

ProposeResult Group::Propose(std::uint64_t id, std::string command) {
  ProposeResult result = node(id).Propose(std::move(command));
  Pump(id);
  return result;
}

ProposeResult Group::Change(std::uint64_t id, const ConfigurationChange& change) {
  ProposeResult result = node(id).ProposeChange(change);
  Pump(id);
  return result;
}

ProposeResult Group::Transfer(std::uint64_t id, std::uint64_t target) {
  ProposeResult result = node(id).TransferTo(NodeId(target));
  Pump(id);
  return result;
}

std::optional<Refused> Group::Read(std::uint64_t id, ReadId read) {
  std::optional<Refused> refused = node(id).Read(read);
  Pump(id);
  return refused;
}

void Group::ConnectionRefused(std::uint64_t id, std::uint64_t peer) {
  node(id).ConnectionRefused(NodeId(peer));
  Pump(id);
}

void Group::Unreachable(std::uint64_t id, std::uint64_t peer) {
  node(id).Unreachable(NodeId(peer));
  Pump(id);
}

void Group::Connected(std::uint64_t id, std::uint64_t peer) {
  node(id).Connected(NodeId(peer));
  Pump(id);
}

void Group::Compact(std::uint64_t id, std::optional<std::uint64_t> keep_after) {
  Member& member = members_.at(id);
  const std::optional<SnapshotMeta> here = node(id).SnapshotAt(LogIndex(member.applied));
  if (!here) return;
  SnapshotMeta meta = *here;
  const std::uint64_t keep = keep_after.value_or(meta.last.index.value());
  member.disk.snapshot_bytes = Join(member.state);
  meta.bytes = member.disk.snapshot_bytes.size();
  member.disk.snapshot = meta;
  std::erase_if(member.disk.entries, [keep](const auto& entry) { return entry.first <= keep; });
  Trace(fmt::format("{} has a snapshot of {}/{}, keeps entries after {}", id, meta.last.term,
                    meta.last.index, keep));
  node(id).Compact(meta, LogIndex(keep));
  Pump(id);
}

void Group::Inject(std::uint64_t from, std::uint64_t to, Message message) {
  node(to).Step(NodeId(from), std::move(message));
  Pump(to);
}

void Group::Pump(std::uint64_t id) {
  Member& member = members_.at(id);
  while (member.node->HasOutput()) {
    Execute(id, member.node->TakeOutput());
    if (member.automatic) {
      while (!member.unwritten.empty()) WriteFirst(id);
    }
  }
  if (member.node->role() == Node::Role::kLeader) {
    member.led_to = LogPosition{member.node->term(), member.node->last().index};
  } else {
    member.led_to.reset();
  }
}

void Group::Execute(std::uint64_t id, Output output) {
  Member& member = members_.at(id);
  for (const Event& event : output.events) {
    member.events.push_back(event);
    Trace(fmt::format("{} {}", id, ToString(event)));
    if (event.kind == Event::Kind::kLeader) CheckNewLeader(id, event.term);
  }
  const std::map<NodeId, std::string> peers = member.node->Peers();
  for (Envelope& envelope : output.messages) {
    if (!peers.contains(envelope.to) && member.node->leader() != envelope.to &&
        !IsAnswer(envelope.message)) {
      Broken(Rule::kOwn, fmt::format("{} sends to {}, which is no peer", id, envelope.to));
    }
    if (envelope.after_batch <= member.durable_batch) {
      Send(id, std::move(envelope));
    } else {
      member.waiting.push_back(std::move(envelope));
    }
  }
  if (output.batch != 0) {
    if (output.batch <= member.newest_batch) {
      Broken(Rule::kOwn,
             fmt::format("{} has batch {} after {}", id, output.batch, member.newest_batch));
    }
    member.newest_batch = output.batch;
    if (member.led_to && member.led_to->term == member.node->term() && !output.entries.empty() &&
        output.entries.front()->position.index <= member.led_to->index) {
      Broken(Rule::kOwn, fmt::format("leader {} of term {} overwrites its entry {}", id,
                                     member.led_to->term, output.entries.front()->position.index));
    }
    std::string what;
    if (output.hard_state) {
      what += fmt::format(" term {}", output.hard_state->term);
      if (output.hard_state->vote) what += fmt::format(" vote {}", *output.hard_state->vote);
    }
    if (output.snapshot_part) {
      what += fmt::format(" part of {}/{} at {}+{}", output.snapshot_part->meta.last.term,
                          output.snapshot_part->meta.last.index, output.snapshot_part->offset,
                          output.snapshot_part->data.size());
    }
    if (output.install) {
      what += fmt::format(" install {}/{}", output.install->last.term, output.install->last.index);
    }
    if (!output.entries.empty()) what += " entries" + Range(output.entries);
    Trace(fmt::format("{} writes{}", id, what));
    member.unwritten.push_back({.batch = output.batch,
                                .hard_state = output.hard_state,
                                .snapshot_part = std::move(output.snapshot_part),
                                .install = output.install,
                                .entries = std::move(output.entries)});
  } else if (output.hard_state || output.snapshot_part || output.install ||
             !output.entries.empty()) {
    Broken(Rule::kOwn, fmt::format("{} has something to write, and no batch for it", id));
  }
  for (const EntryPtr& entry : output.committed) Apply(id, entry);
  for (const Output::Read& read : output.reads) {
    Trace(read.index ? fmt::format("{} answers read {} at {}", id, read.id, *read.index)
                     : fmt::format("{} fails read {}", id, read.id));
    if (read.index && read.index->value() > member.applied) {
      Broken(Rule::kOwn,
             fmt::format("{} answers read {} before it applied {}", id, read.id, *read.index));
    }
    member.reads.push_back(read);
  }
}

void Group::Send(std::uint64_t id, Envelope envelope) {
  Member& member = members_.at(id);
  if (envelope.to == NodeId(id)) {
    Broken(Rule::kOwn, fmt::format("{} sends to itself", id));
    return;
  }
  CheckPromise(id, envelope);
  if (auto* part = std::get_if<SnapshotPart>(&envelope.message.body);
      part != nullptr && part->data.empty() && part->length > 0) {
    if (member.snapshot_unreadable || part->meta.last != member.disk.snapshot.last) {
      member.node->SnapshotUnavailable(envelope.to);  // Pump() goes on with what follows of it
      return;
    }
    if (part->offset + part->length > member.disk.snapshot_bytes.size()) {
      Broken(Rule::kOwn, fmt::format("{} sends a part beyond its snapshot", id));
      return;
    }
    part->data = member.disk.snapshot_bytes.substr(part->offset, part->length);
  }
  under_way_.push_back({id, envelope.to.value(), std::move(envelope.message)});
}

void Group::SetAutomatic(std::uint64_t id, bool automatic) {
  members_.at(id).automatic = automatic;
  if (automatic && running(id)) MakeDurable(id);
}

void Group::MakeDurable(std::uint64_t id, std::size_t batches) {
  for (; batches > 0 && unwritten(id) > 0; --batches) {
    Trace(fmt::format("{} has written", id));
    WriteFirst(id);
  }
  Pump(id);
}

void Group::WriteFirst(std::uint64_t id) {
  Member& member = members_.at(id);
  Write write = std::move(member.unwritten.front());
  member.unwritten.pop_front();
  DiskState& disk = member.disk;
  if (write.hard_state) disk.hard_state = *write.hard_state;
  if (write.snapshot_part) {
    const Output::ReceivedPart& part = *write.snapshot_part;
    if (part.offset == 0) {
      member.receiving = part.meta;
      member.received.clear();
    }
    if (member.receiving != part.meta || part.offset != member.received.size()) {
      Broken(Rule::kOwn, fmt::format("{} writes a part at {} after {} bytes", id, part.offset,
                                     member.received.size()));
    }
    member.received += part.data;
  }
  if (write.install) {
    if (member.receiving != write.install || member.received.size() != write.install->bytes) {
      Broken(Rule::kOwn, fmt::format("{} installs a snapshot that it does not have", id));
    }
    ++installs_;
    disk.snapshot = *write.install;
    disk.snapshot_bytes = std::exchange(member.received, "");
    member.receiving.reset();
    disk.entries.clear();
    if (disk.snapshot.last.index.value() < member.applied) {
      Broken(Rule::kOwn, fmt::format("{} installs a snapshot older than its state", id));
    }
    member.state = Split(disk.snapshot_bytes);
    member.applied = disk.snapshot.last.index.value();
    Trace(fmt::format("{} has the state of {}", id, member.applied));
  }
  if (!write.entries.empty()) {
    const std::uint64_t first = write.entries.front()->position.index.value();
    disk.entries.erase(disk.entries.lower_bound(first), disk.entries.end());
    if (!disk.entries.empty() ? disk.entries.rbegin()->first + 1 != first
                              : disk.snapshot.last.index.value() + 1 != first) {
      Broken(Rule::kOwn, fmt::format("{} writes entry {} behind a gap", id, first));
    }
    for (const EntryPtr& entry : write.entries) {
      disk.entries[entry->position.index.value()] = entry;
    }
  }
  member.durable_batch = write.batch;
  std::vector<Envelope> ready;
  std::vector<Envelope> waiting;
  for (Envelope& envelope : member.waiting) {
    (envelope.after_batch <= write.batch ? ready : waiting).push_back(std::move(envelope));
  }
  member.waiting = std::move(waiting);
  for (Envelope& envelope : ready) Send(id, std::move(envelope));
  member.node->Persisted(write.batch);
}

void Group::Apply(std::uint64_t id, const EntryPtr& entry) {
  Member& member = members_.at(id);
  const std::uint64_t index = entry->position.index.value();
  Trace(fmt::format("{} applies {}", id, Describe(*entry)));
  if (index != member.applied + 1) {
    Broken(Rule::kOwn, fmt::format("{} applies {} after {}", id, index, member.applied));
  }
  if (DurableTermAt(member, index) != entry->position.term) {
    Broken(Rule::kOwn, fmt::format("{} applies {} before it is durable there", id, index));
  }
  member.applied = index;
  const auto [other, first] = applied_.emplace(index, *entry);
  if (!first && !(other->second == *entry)) {
    Broken(Rule::kAgreement, fmt::format("{} applies {} where another member applied {}", id,
                                         Describe(*entry), Describe(other->second)));
  }
  if (entry->kind == Entry::Kind::kCommand) member.state.push_back(entry->data);
}

std::optional<Term> Group::DurableTermAt(const Member& member, std::uint64_t index) const {
  const DiskState& disk = member.disk;
  if (index == disk.snapshot.last.index.value()) return disk.snapshot.last.term;
  const auto entry = disk.entries.find(index);
  if (entry == disk.entries.end()) return std::nullopt;
  return entry->second->position.term;
}

void Group::CheckNewLeader(std::uint64_t id, Term term) {
  const auto [other, first] = leaders_.emplace(term.value(), id);
  if (!first && other->second != id) {
    Broken(Rule::kAgreement,
           fmt::format("term {} has two leaders, {} and {}", term, other->second, id));
  }
  const DiskState& disk = members_.at(id).disk;
  if (disk.hard_state != HardState{term, NodeId(id)}) {
    Broken(Rule::kOwn,
           fmt::format("{} leads term {} before its vote for itself is durable", id, term));
  }
  for (const auto& [index, entry] : applied_) {
    if (index <= node(id).snapshot().index.value()) continue;
    const EntryPtr own = node(id).entry(LogIndex(index));
    if (own == nullptr || !(*own == entry)) {
      Broken(Rule::kAgreement,
             fmt::format("leader {} of term {} lacks the committed entry {}", id, term, index));
    }
  }
}

void Group::CheckPromise(std::uint64_t id, const Envelope& envelope) {
  const Member& member = members_.at(id);
  const DiskState& disk = member.disk;
  if (const auto* vote = std::get_if<VoteResponse>(&envelope.message.body);
      vote != nullptr && vote->granted && !vote->pre &&
      disk.hard_state != HardState{envelope.message.term, envelope.to}) {
    Broken(Rule::kOwn, fmt::format("{} votes for {} before that is durable", id, envelope.to));
  }
  if (const auto* answer = std::get_if<AppendResponse>(&envelope.message.body);
      answer != nullptr && answer->accepted && answer->match.index > disk.snapshot.last.index &&
      !disk.entries.contains(answer->match.index.value())) {
    Broken(Rule::kOwn, fmt::format("{} accepts entries to {} before they are durable", id,
                                   answer->match.index));
  }
}

void Group::CheckLogs() {
  for (auto a = members_.begin(); a != members_.end(); ++a) {
    for (auto b = std::next(a); b != members_.end(); ++b) {
      const auto& mine = a->second.disk.entries;
      const auto& theirs = b->second.disk.entries;
      bool same = false;
      for (auto entry = mine.rbegin(); entry != mine.rend(); ++entry) {
        const auto other = theirs.find(entry->first);
        if (other == theirs.end()) continue;
        same = same || entry->second->position == other->second->position;
        if (same && !(*entry->second == *other->second)) {
          Broken(Rule::kAgreement,
                 fmt::format("logs of {} and {} differ at {} before an equal entry", a->first,
                             b->first, entry->first));
          return;
        }
      }
    }
  }
}

bool Group::DeliverFirst(const Predicate& which) {
  const auto found = std::find_if(under_way_.begin(), under_way_.end(), which);
  if (found == under_way_.end()) return false;
  Packet packet = std::move(*found);
  under_way_.erase(found);
  const bool lost =
      cut_.contains({packet.from, packet.to}) || !running(packet.to) || (drop_ && drop_(packet));
  if (options_.trace) {
    Trace(fmt::format("{} {} {} {}", packet.from, lost ? "-x" : "->", packet.to,
                      ToString(packet.message)));
  }
  if (!lost) Inject(packet.from, packet.to, std::move(packet.message));
  return true;
}

void Group::Deliver() {
  std::size_t delivered = 0;
  while (DeliverOne()) {
    if (++delivered > kDeliveriesMax) {
      Broken(Rule::kProgress, "members talk without end");
      under_way_.clear();
    }
  }
  CheckLogs();
}

void Group::DeliverAmong(const std::set<std::uint64_t>& members) {
  std::size_t delivered = 0;
  while (delivered++ < kDeliveriesMax && DeliverFirst([&members](const Packet& packet) {
           return members.contains(packet.from) && members.contains(packet.to);
         })) {
  }
  CheckLogs();
}

void Group::DeliverFrom(std::uint64_t from, std::uint64_t to) {
  std::size_t delivered = 0;
  while (delivered++ < kDeliveriesMax && DeliverFirst([from, to](const Packet& packet) {
           return packet.from == from && packet.to == to;
         })) {
  }
  CheckLogs();
}

bool Group::DeliverOne() {
  return DeliverFirst([](const Packet&) { return true; });
}

std::vector<Group::Packet> Group::Take(std::optional<std::uint64_t> from) {
  std::vector<Packet> taken;
  std::deque<Packet> left;
  for (Packet& packet : under_way_) {
    if (!from || packet.from == *from) {
      taken.push_back(std::move(packet));
    } else {
      left.push_back(std::move(packet));
    }
  }
  under_way_ = std::move(left);
  return taken;
}

void Group::Cut(std::uint64_t a, std::uint64_t b) {
  CutOneWay(a, b);
  CutOneWay(b, a);
}

void Group::CutOneWay(std::uint64_t from, std::uint64_t to) { cut_.emplace(from, to); }

void Group::Isolate(std::uint64_t id) {
  for (const std::uint64_t other : ids()) {
    if (other != id) Cut(id, other);
  }
}

void Group::Heal() {
  cut_.clear();
  drop_ = nullptr;
}

void Group::Crash(std::uint64_t id) {
  Member& member = members_.at(id);
  member.node.reset();
  member.unwritten.clear();
  member.waiting.clear();
  member.receiving.reset();
  member.received.clear();
  member.state.clear();
  member.applied = 0;
}

void Group::Restart(std::uint64_t id) {
  CHECK(!running(id));
  Start(id);
}

std::size_t Group::Count(std::uint64_t id, Event::Kind kind) const {
  const std::vector<Event>& all = events(id);
  return static_cast<std::size_t>(std::count_if(
      all.begin(), all.end(), [kind](const Event& event) { return event.kind == kind; }));
}

std::string Group::Log(std::uint64_t id) {
  std::vector<EntryPtr> entries;
  LogIndex index = node(id).last().index;
  while (index.value() > 0 && node(id).entry(index) != nullptr) index = index - 1;
  for (++index; index <= node(id).last().index; ++index) {
    EntryPtr entry = node(id).entry(index);
    CHECK(entry != nullptr);
    entries.push_back(std::move(entry));
  }
  return Terms(entries);
}

std::optional<std::uint64_t> Group::Leader() {
  std::optional<std::uint64_t> leader;
  Term term;
  for (const auto& [id, member] : members_) {
    if (member.node == nullptr) continue;
    if (member.node->term() > term) {
      term = member.node->term();
      leader.reset();
    }
    if (member.node->term() == term && member.node->role() == Node::Role::kLeader) leader = id;
  }
  return leader;
}

std::string ToString(Refused::Why why) {
  switch (why) {
    case Refused::Why::kNotLeader:
      return "not leader";
    case Refused::Why::kTransferring:
      return "transferring";
    case Refused::Why::kTooMuchUncommitted:
      return "too much uncommitted";
    case Refused::Why::kTooLarge:
      return "too large";
    case Refused::Why::kChangeUnderWay:
      return "change under way";
    case Refused::Why::kInvalidChange:
      return "invalid change";
    case Refused::Why::kInvalidTarget:
      return "invalid target";
    case Refused::Why::kTooManyReads:
      return "too many reads";
  }
  return "?";
}

std::string ToString(const ProposeResult& result) {
  if (const auto* accepted = std::get_if<Accepted>(&result)) {
    return fmt::format("{}/{}", accepted->position.term, accepted->position.index);
  }
  return ToString(std::get<Refused>(result).why);
}

std::string ToString(const Event& event) {
  std::string text;
  switch (event.kind) {
    case Event::Kind::kFollower:
      text = "follower";
      break;
    case Event::Kind::kLeaderDead:
      text = "leader dead";
      break;
    case Event::Kind::kCandidate:
      text = "candidate";
      break;
    case Event::Kind::kVoted:
      text = "voted";
      break;
    case Event::Kind::kVotesReceived:
      text = "votes received";
      break;
    case Event::Kind::kLeader:
      text = "leader";
      break;
    case Event::Kind::kConfiguration:
      text = "configuration";
      break;
    case Event::Kind::kTransferFailed:
      text = "transfer failed";
      break;
    case Event::Kind::kDiskStalled:
      text = "disk stalled";
      break;
  }
  text += fmt::format(", term {}", event.term);
  if (event.node) text += fmt::format(", for {}", *event.node);
  return text;
}

}  // namespace ds::raft
