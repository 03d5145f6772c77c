#include "tests/raft/core/random_message.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace ds::raft {

std::uint64_t RandomMessages::Extreme() {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  switch (rng_.Below(5)) {
    case 0:
      return kMax - rng_.Below(4);
    case 1:
      return (std::uint64_t{1} << 63) - 2 + rng_.Below(4);
    case 2:
      return (std::uint64_t{1} << 32) - 2 + rng_.Below(4);
    case 3:
      return 0;
    default:
      return rng_.Next();
  }
}

std::uint64_t RandomMessages::Number(const Node& node) {
  return rng_.Bernoulli(extreme_) ? Extreme()
         : rng_.Bernoulli(0.5)    ? rng_.Below(8)
                                  : NearIndex(node);
}

std::uint64_t RandomMessages::NearTerm(const Node& node) {
  if (rng_.Bernoulli(extreme_)) return Extreme();
  const std::uint64_t term = node.term().value();
  switch (rng_.Below(12)) {
    case 0:
      return term + 1;
    case 1:
      return term > 0 ? term - 1 : 0;
    case 2:
      return term > 0 ? rng_.Below(term) : 0;
    default:
      return term;
  }
}

std::uint64_t RandomMessages::NearIndex(const Node& node) {
  if (rng_.Bernoulli(extreme_)) return Extreme();
  const std::uint64_t points[] = {0, node.snapshot().index.value(), node.applied().value(),
                                  node.committed().value(), node.last().index.value()};
  const std::uint64_t point = points[rng_.Below(5)];
  return point + 2 - std::min<std::uint64_t>(rng_.Below(5), point + 2);
}

LogPosition RandomMessages::Position(const Node& node) {
  switch (rng_.Below(4)) {
    case 0:
      return node.last();
    case 1:
      return node.snapshot();
    case 2: {
      const LogIndex index(NearIndex(node));
      const EntryPtr entry = node.entry(index);
      if (entry != nullptr) return entry->position;
      return {Term(NearTerm(node)), index};
    }
    default:
      return {Term(NearTerm(node)), LogIndex(NearIndex(node))};
  }
}

Configuration RandomMessages::AnyConfiguration() {
  Configuration configuration;
  const auto fill = [this](std::set<NodeId>& members, double probability) {
    for (std::uint64_t id = 0; id < 6; ++id) {
      if (rng_.Bernoulli(probability)) members.insert(NodeId(id));
    }
  };
  if (rng_.Bernoulli(0.7)) {
    configuration.voters = {NodeId(1), NodeId(2), NodeId(3)};
  } else {
    fill(configuration.voters, 0.4);
  }
  if (rng_.Bernoulli(0.2)) fill(configuration.outgoing, 0.4);
  if (rng_.Bernoulli(0.2)) fill(configuration.learners, 0.2);
  if (rng_.Bernoulli(0.1)) fill(configuration.learners_next, 0.2);
  for (const NodeId member : configuration.Members()) {
    if (!rng_.Bernoulli(0.02)) configuration.contexts[member] = "m";
  }
  return configuration;
}

std::vector<EntryPtr> RandomMessages::Entries(const Node& node, LogPosition previous) {
  std::vector<EntryPtr> entries;
  std::uint64_t index = previous.index.value();
  for (std::uint64_t left = rng_.Below(4); left > 0; --left) {
    if (rng_.Bernoulli(0.02)) {
      entries.push_back(nullptr);
      continue;
    }
    index += rng_.Bernoulli(0.03) ? rng_.Below(3) : 1;
    Entry entry;
    entry.position = {Term(NearTerm(node)), LogIndex(rng_.Bernoulli(0.02) ? Number(node) : index)};
    entry.kind = static_cast<Entry::Kind>(rng_.Bernoulli(0.02) ? rng_.Below(256) : rng_.Below(3));
    entry.data = "d";
    if (entry.kind == Entry::Kind::kConfiguration && rng_.Bernoulli(0.9)) {
      entry.data = EncodeConfiguration(AnyConfiguration());
    }
    entries.push_back(std::make_shared<const Entry>(std::move(entry)));
  }
  return entries;
}

SnapshotMeta RandomMessages::Meta(const Node& node) {
  SnapshotMeta meta;
  meta.last = Position(node);
  meta.configuration = AnyConfiguration();
  meta.bytes = rng_.Bernoulli(extreme_) ? Extreme() : rng_.Below(4);
  return meta;
}

Message RandomMessages::Any(const Node& node) {
  Message message;
  message.term = Term(NearTerm(node));
  switch (rng_.Below(12)) {
    case 0:
      message.body = VoteRequest{
          .pre = rng_.Bernoulli(0.5), .transfer = rng_.Bernoulli(0.2), .last = Position(node)};
      break;
    case 1:
      message.body = VoteResponse{.pre = rng_.Bernoulli(0.5), .granted = rng_.Bernoulli(0.7)};
      break;
    case 2: {
      SnapshotPart part;
      part.meta = Meta(node);
      part.offset = rng_.Bernoulli(0.7) ? 0 : Number(node);
      part.data = std::string(rng_.Bernoulli(0.6) && part.meta.bytes < 100
                                  ? static_cast<std::size_t>(part.meta.bytes)
                                  : static_cast<std::size_t>(rng_.Below(5)),
                              '\n');
      part.length = rng_.Bernoulli(0.9) ? part.data.size() : Number(node);
      part.round = Number(node);
      message.body = std::move(part);
      break;
    }
    case 3: {
      SnapshotPartResponse response;
      response.last = Position(node);
      response.next_offset = Number(node);
      response.installed = rng_.Bernoulli(0.5);
      response.round = Number(node);
      response.honours_lease = rng_.Bernoulli(0.5);
      message.body = response;
      break;
    }
    case 4:
      message.body = TimeoutNow{};
      break;
    case 5:
      message.body = ReadRequest{.batch = Number(node)};
      break;
    case 6: {
      ReadResponse response;
      response.batch = Number(node);
      if (rng_.Bernoulli(0.7)) response.index = LogIndex(NearIndex(node));
      message.body = response;
      break;
    }
    case 7:
    case 8: {
      AppendResponse response;
      response.round = Number(node);
      response.accepted = rng_.Bernoulli(0.7);
      response.match = Position(node);
      response.honours_lease = rng_.Bernoulli(0.5);
      message.body = response;
      break;
    }
    default: {
      AppendRequest request;
      request.previous = Position(node);
      request.entries = Entries(node, request.previous);
      request.committed = LogIndex(NearIndex(node));
      request.round = Number(node);
      message.body = std::move(request);
    }
  }
  return message;
}

}  // namespace ds::raft
