#include "raft/sim/invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/check.h"

namespace ds::raft {
namespace {

std::uint64_t Mix(std::uint64_t digest, std::uint64_t value) {
  digest ^= value + 0x9e3779b97f4a7c15 + (digest << 6U) + (digest >> 2U);
  digest *= 0xff51afd7ed558ccd;
  return digest ^ (digest >> 33U);
}

std::uint64_t DigestOf(const Entry& entry) {
  std::uint64_t digest = 0xcbf29ce484222325;
  for (const char byte : entry.data) {
    digest = (digest ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  digest = Mix(digest, static_cast<std::uint64_t>(entry.kind));
  digest = Mix(digest, entry.position.term.value());
  return Mix(digest, entry.position.index.value());
}

std::string Text(LogPosition position) {
  return fmt::format("{}/{}", position.term, position.index);
}

std::string Text(const std::set<NodeId>& ids) {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(ids.size());
  for (const NodeId id : ids) numbers.push_back(id.value());
  return fmt::format("{}", fmt::join(numbers, " "));
}

std::string Text(const Configuration& configuration) {
  return fmt::format("voters [{}] outgoing [{}] learners [{}]", Text(configuration.voters),
                     Text(configuration.outgoing), Text(configuration.learners));
}

}  // namespace

const Invariants::Mark* Invariants::Log::At(LogIndex index) const {
  if (index < base || index > last()) return nullptr;
  return index == base ? &base_mark : &marks[index - base - 1];
}

Invariants::Mark* Invariants::Log::At(LogIndex index) {
  return const_cast<Mark*>(std::as_const(*this).At(index));
}

Invariants::View Invariants::Of(const Node& node) {
  return {node.id(),        node.role(), node.term(),          node.vote(),
          node.committed(), node.last(), &node.configuration()};
}

std::uint64_t Invariants::Key(LogPosition position) {
  return Mix(Mix(1, position.term.value()), position.index.value());
}

void Invariants::Put(Log* log, LogIndex first, const std::vector<Mark>& marks) {
  CHECK(first > log->base && first <= log->last() + 1);
  log->marks.resize(first - log->base - 1);
  log->marks.insert(log->marks.end(), marks.begin(), marks.end());
}

void Invariants::Reset(Log* log, LogIndex base, Mark mark) {
  log->base = base;
  log->base_mark = mark;
  log->marks.clear();
}

template <typename... Args>
void Invariants::Violate(std::string_view invariant, fmt::format_string<Args...> format,
                         Args&&... args) {
  if (violation_) return;
  violation_ = fmt::format("{}: {}", invariant, fmt::format(format, std::forward<Args>(args)...));
}

std::optional<std::uint64_t> Invariants::DigestAt(LogPosition position) const {
  if (position.index == LogIndex(0)) return 0;
  const auto found = digests_.find(Key(position));
  if (found == digests_.end()) return std::nullopt;
  return found->second;
}

std::vector<Invariants::Mark> Invariants::Append(const View& view, Member* member,
                                                 const std::vector<EntryPtr>& entries, bool led) {
  const NodeId id = view.id;
  Log& log = member->log;
  std::vector<Mark> marks;
  if (entries.empty()) return marks;
  const LogIndex first = entries.front()->position.index;
  if (first <= log.base || first > log.last() + 1) {
    Violate("log matching", "node {} writes entry {} to a log of {} to {}", id, first, log.base,
            log.last());
    return marks;
  }
  if (first <= log.last()) {
    if (led) {
      Violate("leader append-only", "node {} leads term {} and replaces entry {} of {}", id,
              view.term, first, log.last());
    }
    ++truncations_;
    while (member->configurations.size() > 1 && member->configurations.back().index >= first) {
      member->configurations.pop_back();
    }
    log.marks.resize(first - log.base - 1);
  }
  marks.reserve(entries.size());
  for (const EntryPtr& entry : entries) {
    const LogIndex index = log.last() + 1;
    const Mark previous = *log.At(log.last());
    const LogPosition position = entry->position;
    if (position.index != index || position.term < previous.term) {
      Violate("log matching", "node {} has entry {} behind {}", id, Text(position),
              Text({previous.term, log.last()}));
      return marks;
    }
    const Mark mark{position.term, Mix(previous.digest, DigestOf(*entry))};
    const auto [found, inserted] = digests_.try_emplace(Key(position), mark.digest);
    if (!inserted && found->second != mark.digest) {
      Violate("log matching",
              "two logs have an entry {}, one of them at node {}, and differ in it "
              "or before it",
              Text(position), id);
    }
    if (entry->kind == Entry::Kind::kConfiguration) {
      CheckConfigurationStep(view, *member, *entry);
      absl::StatusOr<Configuration> decoded = DecodeConfiguration(entry->data);
      if (!decoded.ok()) {
        Violate("configuration safety", "node {}'s entry {} is none: {}", id, Text(position),
                ds::Message(decoded.status()));
        return marks;
      }
      member->configurations.push_back(
          {index, std::make_shared<const Configuration>(*std::move(decoded))});
    }
    log.marks.push_back(mark);
    marks.push_back(mark);
  }
  return marks;
}

void Invariants::CheckConfigurationStep(const View& view, const Member& member,
                                        const Entry& entry) {
  const NodeId id = view.id;
  const absl::StatusOr<Configuration> next = DecodeConfiguration(entry.data);
  if (!next.ok()) return;
  const Configuration& current = *member.configurations.back().configuration;
  // Any majority of one configuration and any of the next share a member: the voters stay, or they
  // are the ones that are left.
  const bool same = next->voters == current.voters && next->outgoing == current.outgoing;
  const bool enters = !current.joint() && next->outgoing == current.voters;
  const bool leaves = current.joint() && !next->joint() && next->voters == current.voters;
  // One that joins has not heard of any before.
  if (!same && !enters && !leaves && !current.voters.empty()) {
    Violate("configuration safety", "node {}'s entry {} goes from {} to {}", id,
            Text(entry.position), Text(current), Text(*next));
  }
  if (view.role != Node::Role::kLeader || entry.position.term != view.term) return;
  if (member.configurations.back().index > view.committed) {
    Violate("configuration safety",
            "node {} appends configuration {} while that of {} is not committed", id,
            Text(entry.position), member.configurations.back().index);
  }
  const Mark* committed = member.log.At(view.committed);
  if (committed == nullptr || committed->term != view.term) {
    Violate("configuration safety",
            "node {} appends configuration {} before an entry of its term is committed", id,
            Text(entry.position));
  }
}

void Invariants::CheckConfiguration(const View& view, const Member& member) {
  const Configuration& expected = *member.configurations.back().configuration;
  if (view.configuration != nullptr && *view.configuration != expected) {
    Violate("configuration safety", "node {} uses {}, and the newest in its log is {}", view.id,
            Text(*view.configuration), Text(expected));
  }
}

void Invariants::CheckLeader(const View& view, Member* member) {
  const bool leads = view.role == Node::Role::kLeader;
  if (leads && (member->role != Node::Role::kLeader || member->term != view.term)) {
    const auto [found, inserted] =
        leaders_.try_emplace(view.term.value(), Leader{view.id, member->life});
    if (!inserted && (found->second.id != view.id || found->second.life != member->life)) {
      Violate("election safety", "node {} leads term {}, and so did node {}{}", view.id, view.term,
              found->second.id, found->second.id == view.id ? " in an earlier life" : "");
    }
    // Entries committed in earlier terms; those of a term that this leader is late for need not be
    // here.
    auto newest = committed_.rbegin();
    while (newest != committed_.rend() && newest->in_term >= view.term) ++newest;
    if (newest != committed_.rend()) {
      const Mark* mark = member->log.At(newest->position.index);
      const bool behind_snapshot = member->log.base > newest->position.index;
      if (!behind_snapshot && (mark == nullptr || mark->digest != newest->digest)) {
        Violate("leader completeness",
                "node {} leads term {} without entry {}, which was committed in term {}", view.id,
                view.term, Text(newest->position), newest->in_term);
      }
    }
  }
  member->role = view.role;
  member->term = view.term;
}

void Invariants::CheckDurable(const View& view, LogIndex index) {
  const Member& self = members_.at(view.id);
  const Mark* mark = self.log.At(index);
  if (mark == nullptr || view.configuration == nullptr) return;
  const auto have = [&](const std::set<NodeId>& voters) {
    std::size_t count = 0;
    for (const NodeId id : voters) {
      const auto found = members_.find(id);
      if (found == members_.end()) continue;
      const Log& disk = found->second.disk;
      const Mark* theirs = disk.At(index);
      // Behind the base of a disk is what its snapshot holds, all of it committed.
      if (disk.base > index || (theirs != nullptr && theirs->digest == mark->digest)) ++count;
    }
    return count * 2 > voters.size();
  };
  if (!have(view.configuration->voters) ||
      (view.configuration->joint() && !have(view.configuration->outgoing))) {
    Violate("durability",
            "node {} takes entry {} for committed, which is not durable at a majority", view.id,
            Text({mark->term, index}));
  }
}

void Invariants::CheckCommitted(const View& view, Member* member) {
  if (view.committed < member->committed) {
    Violate("state machine safety", "node {} knew entry {} to be committed, and now {}", view.id,
            member->committed, view.committed);
    return;
  }
  if (view.committed == member->committed) return;
  if (view.committed > member->log.last()) {
    Violate("state machine safety", "node {} takes entry {} for committed and has {}", view.id,
            view.committed, member->log.last());
    return;
  }
  const LogIndex known = committed();
  LogIndex from = std::max(member->committed, member->log.base);
  for (LogIndex index = from + 1; index <= std::min(view.committed, known); ++index) {
    const Committed& expected = committed_[index.value() - 1];
    if (member->log.At(index)->digest != expected.digest) {
      Violate("state machine safety", "node {} takes entry {} for committed, which was {}", view.id,
              Text({member->log.At(index)->term, index}), Text(expected.position));
      return;
    }
  }
  if (view.committed > known) {
    // Counting replicas commits entries of the leader's own term alone, since another leader may
    // still replace the others (§5.4.2, Figure 8).
    if (view.role == Node::Role::kLeader && member->log.At(view.committed)->term != view.term) {
      Violate("commit rule", "node {} leads term {} and commits entry {}, of an earlier term",
              view.id, view.term, Text({member->log.At(view.committed)->term, view.committed}));
    }
    CheckDurable(view, view.committed);
    if (member->log.base > known) {
      Violate("state machine safety", "node {} has a snapshot up to {}, and only {} are committed",
              view.id, member->log.base, known);
      return;
    }
    for (LogIndex index = known + 1; index <= view.committed; ++index) {
      const Mark& mark = *member->log.At(index);
      committed_.push_back({{mark.term, index}, mark.digest, view.term, {}, {}});
    }
    // What is committed in a term is so with all that is before it.
    for (auto earlier = committed_.rbegin();
         earlier != committed_.rend() && earlier->in_term >= view.term; ++earlier) {
      earlier->in_term = view.term;
    }
    for (const ConfigurationAt& at : member->configurations) {
      if (at.index > known && at.index <= view.committed) committed_configurations_.push_back(at);
    }
  }
  member->committed = view.committed;
}

std::shared_ptr<const Configuration> Invariants::ConfigurationOf(LogIndex index) const {
  for (auto at = committed_configurations_.rbegin(); at != committed_configurations_.rend(); ++at) {
    if (at->index <= index) return at->configuration;
  }
  return nullptr;
}

const Configuration& Invariants::committed_configuration() const {
  CHECK(!committed_configurations_.empty(), "no member has been started");
  return *committed_configurations_.back().configuration;
}

void Invariants::Started(const View& view, const Restored& restored) {
  Member& member = members_[view.id];
  ++member.life;
  const LogIndex base = restored.snapshot.last.index;
  const std::optional<std::uint64_t> base_digest = DigestAt(restored.snapshot.last);
  if (!base_digest) {
    Violate("durability", "node {} has a snapshot of {}, which no log had", view.id,
            Text(restored.snapshot.last));
    return;
  }
  if (base == LogIndex(0) && committed_configurations_.empty() &&
      !restored.snapshot.configuration.voters.empty()) {
    committed_configurations_.push_back(
        {LogIndex(0), std::make_shared<const Configuration>(restored.snapshot.configuration)});
  }
  if (base > committed()) {
    Violate("durability", "node {} has a snapshot of {}, and only {} are committed", view.id,
            Text(restored.snapshot.last), committed());
    return;
  }
  if (base > LogIndex(0) && restored.snapshot.configuration != *ConfigurationOf(base)) {
    Violate("configuration safety", "node {}'s snapshot of {} has {} and not {}", view.id, base,
            Text(restored.snapshot.configuration), Text(*ConfigurationOf(base)));
  }

  Log before = std::move(member.disk);
  Reset(&member.log, base, {restored.snapshot.last.term, *base_digest});
  member.configurations.assign(
      1, {base, std::make_shared<const Configuration>(restored.snapshot.configuration)});
  for (const EntryPtr& entry : restored.entries) {
    if (!digests_.contains(Key(entry->position))) {
      Violate("durability", "node {} finds entry {} on its disk, which no log had", view.id,
              Text(entry->position));
      return;
    }
  }
  Append(view, &member, restored.entries, false);
  if (violation_) return;

  if (member.known) {
    // Any part of what was being written may be there, in its order, and all that was before it.
    bool hard_state_known = restored.hard_state == member.hard_state;
    LogIndex kept = before.last();
    for (const Batch& batch : member.batches) {
      hard_state_known |= batch.hard_state == restored.hard_state;
      if (!batch.marks.empty()) kept = std::min(kept, batch.first - 1);
      if (batch.install) kept = std::min(kept, batch.install->last.index);
    }
    if (!hard_state_known) {
      Violate("durability", "node {} had term {} on its disk, and finds {}", view.id,
              member.hard_state.term, restored.hard_state.term);
    }
    if (base < member.snapshot) {
      Violate("durability", "node {} had a snapshot of {}, and finds one of {}", view.id,
              member.snapshot, base);
    }
    kept = std::max(kept, before.base);
    if (member.log.last() < kept) {
      Violate("durability", "node {} had entries up to {} on its disk, and finds {}", view.id, kept,
              member.log.last());
    }
    for (LogIndex index = std::max(base, before.base); index <= std::min(kept, member.log.last());
         ++index) {
      if (*member.log.At(index) != *before.At(index)) {
        Violate("durability", "node {} finds another entry {} on its disk than it wrote", view.id,
                index);
        break;
      }
    }
  }
  member.known = true;
  member.disk = member.log;
  member.hard_state = restored.hard_state;
  member.snapshot = base;
  member.batches.clear();
  member.role = Node::Role::kFollower;
  member.term = view.term;
  member.committed = base;
  member.applied = base;
  if (view.term != restored.hard_state.term || view.vote != restored.hard_state.vote) {
    Violate("durability", "node {} begins with term {}, and term {}{} was on its disk", view.id,
            view.term, restored.hard_state.term,
            view.vote == restored.hard_state.vote ? "" : " and another vote");
  }
  CheckConfiguration(view, member);
}

void Invariants::Took(const View& view, const Output& output) {
  if (violation_) return;
  Member& member = members_.at(view.id);
  const bool led = member.role == Node::Role::kLeader && view.role == Node::Role::kLeader &&
                   member.term == view.term;
  Batch batch;
  if (output.install) {
    const SnapshotMeta& meta = *output.install;
    if (led) {
      Violate("leader append-only", "node {} leads term {} and installs a snapshot", view.id,
              view.term);
    }
    const std::optional<std::uint64_t> digest = DigestAt(meta.last);
    if (!digest || meta.last.index > committed() ||
        committed_[meta.last.index.value() - 1].digest != *digest) {
      Violate("state machine safety", "node {} installs a snapshot of {}, which is not committed",
              view.id, Text(meta.last));
      return;
    }
    if (meta.configuration != *ConfigurationOf(meta.last.index)) {
      Violate("configuration safety", "node {} installs a snapshot of {} with {} and not {}",
              view.id, Text(meta.last), Text(meta.configuration),
              Text(*ConfigurationOf(meta.last.index)));
    }
    Reset(&member.log, meta.last.index, {meta.last.term, *digest});
    member.configurations.assign(
        1, {meta.last.index, std::make_shared<const Configuration>(meta.configuration)});
    member.committed = std::max(member.committed, meta.last.index);
    batch.install = output.install;
  }
  if (!output.entries.empty()) {
    if (output.entries.front()->position.index <= member.committed) {
      // Replacing what is committed by the same is odd, by something else it is fatal.
      for (const EntryPtr& entry : output.entries) {
        const Mark* mark = member.log.At(entry->position.index);
        if (entry->position.index > member.committed || mark == nullptr) break;
        if (mark->term != entry->position.term) {
          Violate("state machine safety", "node {} replaces entry {}, which is committed, by {}",
                  view.id, Text({mark->term, entry->position.index}), Text(entry->position));
        }
      }
    }
    batch.first = output.entries.front()->position.index;
    batch.marks = Append(view, &member, output.entries, led);
  }
  batch.hard_state = output.hard_state;
  batch.number = output.batch;
  const bool writes = batch.hard_state || batch.install || !batch.marks.empty();
  if (writes && output.batch == 0) {
    Violate("durability", "node {} gives something to write without a batch", view.id);
  }
  if (writes) member.batches.push_back(std::move(batch));
  if (violation_) return;

  const LogPosition last{member.log.At(member.log.last())->term, member.log.last()};
  if (view.last != last) {
    Violate("log matching", "node {} has a log up to {}, and gave out {}", view.id, Text(view.last),
            Text(last));
    return;
  }
  if (view.term < member.term) {
    Violate("election safety", "node {} goes from term {} back to {}", view.id, member.term,
            view.term);
  }
  CheckLeader(view, &member);
  CheckCommitted(view, &member);
  if (!output.entries.empty() || output.install) CheckConfiguration(view, member);
}

void Invariants::Wrote(NodeId id, std::uint64_t batch) {
  Member& member = members_.at(id);
  while (!member.batches.empty() && member.batches.front().number <= batch) {
    const Batch& written = member.batches.front();
    if (written.hard_state) member.hard_state = *written.hard_state;
    if (written.install) {
      Reset(&member.disk, written.install->last.index,
            {written.install->last.term, DigestAt(written.install->last).value_or(0)});
      member.snapshot = std::max(member.snapshot, written.install->last.index);
    }
    if (!written.marks.empty()) Put(&member.disk, written.first, written.marks);
    member.batches.pop_front();
  }
}

void Invariants::Saved(NodeId id, const SnapshotMeta& meta, std::uint64_t state_digest) {
  if (violation_) return;
  Member& member = members_.at(id);
  if (meta.last.index > committed() ||
      committed_[meta.last.index.value() - 1].position != meta.last) {
    Violate("state machine safety", "node {} saves a snapshot of {}, which is not committed", id,
            Text(meta.last));
    return;
  }
  if (meta.configuration != *ConfigurationOf(meta.last.index)) {
    Violate("configuration safety", "node {} saves a snapshot of {} with {} and not {}", id,
            Text(meta.last), Text(meta.configuration), Text(*ConfigurationOf(meta.last.index)));
  }
  CheckState(id, meta.last.index, state_digest);
  member.snapshot = std::max(member.snapshot, meta.last.index);
}

void Invariants::Sending(NodeId from, NodeId to, const Message& message) {
  if (violation_) return;
  const Member& member = members_.at(from);
  if (const auto* vote = std::get_if<VoteResponse>(&message.body)) {
    if (!vote->granted || vote->pre) return;
    const HardState& disk = member.hard_state;
    if (disk.term < message.term || (disk.term == message.term && disk.vote != to)) {
      Violate("durability", "node {} votes for {} in term {}, and its disk does not know", from, to,
              message.term);
    }
    return;
  }
  LogPosition promised;
  if (const auto* append = std::get_if<AppendResponse>(&message.body)) {
    if (!append->accepted) return;
    promised = append->match;
  } else if (const auto* part = std::get_if<SnapshotPartResponse>(&message.body)) {
    if (!part->installed) return;
    promised = part->last;
  } else {
    return;
  }
  // In a later term the entries may have been replaced; nothing was promised to that leader.
  if (member.hard_state.term > message.term || promised.index <= member.disk.base) return;
  const Mark* mark = member.disk.At(promised.index);
  if (mark == nullptr || (promised.term != Term(0) && mark->term != promised.term)) {
    Violate("durability", "node {} tells {} that it has entry {}, and its disk has not", from, to,
            Text(promised));
  }
}

void Invariants::CheckState(NodeId id, LogIndex index, std::uint64_t state_digest) {
  if (index == LogIndex(0)) return;
  std::optional<std::uint64_t>& known = committed_[index.value() - 1].state_digest;
  if (!known) known = state_digest;
  if (*known != state_digest) {
    Violate("state machine safety", "node {} has another state after entry {} than others", id,
            index);
  }
}

void Invariants::Applied(NodeId id, const Entry& entry, std::uint64_t state_digest) {
  if (violation_) return;
  Member& member = members_.at(id);
  const LogIndex index = entry.position.index;
  if (index != member.applied + 1) {
    Violate("state machine safety", "node {} applies entry {} after {}", id, index, member.applied);
    return;
  }
  member.applied = index;
  if (index > committed() || committed_[index.value() - 1].position != entry.position) {
    Violate("state machine safety", "node {} applies entry {}, which is not committed", id,
            Text(entry.position));
    return;
  }
  std::optional<std::uint64_t>& known = committed_[index.value() - 1].entry_digest;
  const std::uint64_t digest = DigestOf(entry);
  if (!known) known = digest;
  if (*known != digest) {
    Violate("state machine safety", "node {} applies another entry {} than others", id,
            Text(entry.position));
  }
  CheckState(id, index, state_digest);
}

void Invariants::Loaded(NodeId id, const SnapshotMeta& meta, std::uint64_t state_digest) {
  if (violation_) return;
  Member& member = members_.at(id);
  if (meta.last.index < member.applied) {
    Violate("state machine safety", "node {} goes back from entry {} to a snapshot of {}", id,
            member.applied, meta.last.index);
  }
  member.applied = meta.last.index;
  if (meta.last.index > committed()) {
    Violate("state machine safety", "node {} loads a snapshot of {}, which is not committed", id,
            Text(meta.last));
    return;
  }
  CheckState(id, meta.last.index, state_digest);
}

void Invariants::Acknowledged(LogPosition position) {
  if (violation_) return;
  if (position.index > committed() || committed_[position.index.value() - 1].position != position) {
    Violate("durability", "entry {} was acknowledged and is not committed", Text(position));
    return;
  }
  acknowledged_ = std::max(acknowledged_, position.index);
}

}  // namespace ds::raft
