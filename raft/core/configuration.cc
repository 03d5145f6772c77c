#include "raft/core/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/big_endian.h"

namespace ds::raft {
namespace {

constexpr std::uint8_t kFormat = 1;

void AppendIds(std::string* bytes, const std::set<NodeId>& ids) {
  AppendU32(bytes, static_cast<std::uint32_t>(ids.size()));
  for (const NodeId id : ids) AppendU64(bytes, id.value());
}

// Only rising ids are taken, so that a configuration has one encoding.
std::optional<std::set<NodeId>> TakeIds(BigEndianReader* reader) {
  const auto count = reader->U32();
  if (!count || *count > Configuration::kMembersMax) return std::nullopt;
  std::set<NodeId> ids;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto id = reader->U64();
    if (!id || (!ids.empty() && *id <= ids.rbegin()->value())) return std::nullopt;
    ids.insert(ids.end(), NodeId(*id));
  }
  return ids;
}

std::optional<std::map<NodeId, std::string>> TakeContexts(BigEndianReader* reader) {
  const auto count = reader->U32();
  if (!count || *count > Configuration::kMembersMax) return std::nullopt;
  std::map<NodeId, std::string> contexts;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto id = reader->U64();
    if (!id || (!contexts.empty() && *id <= contexts.rbegin()->first.value())) return std::nullopt;
    const auto size = reader->U32();
    if (!size || *size > Configuration::kContextBytesMax) return std::nullopt;
    const auto context = reader->Bytes(*size);
    if (!context) return std::nullopt;
    contexts.emplace_hint(contexts.end(), NodeId(*id), *context);
  }
  return contexts;
}

}  // namespace

bool Configuration::Contains(NodeId id) const { return IsVoter(id) || learners.contains(id); }

std::set<NodeId> Configuration::Members() const {
  std::set<NodeId> members = voters;
  members.insert(outgoing.begin(), outgoing.end());
  members.insert(learners.begin(), learners.end());
  return members;
}

Configuration Configuration::Left() const {
  Configuration left;
  left.voters = voters;
  left.learners = learners;
  left.learners.insert(learners_next.begin(), learners_next.end());
  for (const auto& [id, context] : contexts) {
    if (left.Contains(id)) left.contexts.emplace_hint(left.contexts.end(), id, context);
  }
  return left;
}

absl::Status Configuration::Validate() const {
  if (voters.empty()) return InvalidArgument("configuration: it has no voter");
  for (const NodeId id : learners) {
    if (IsVoter(id)) {
      return InvalidArgument(fmt::format("configuration: {} is voter and learner", id));
    }
  }
  for (const NodeId id : learners_next) {
    if (!outgoing.contains(id)) {
      return InvalidArgument(
          fmt::format("configuration: {} is to become a learner and is no outgoing voter", id));
    }
    if (voters.contains(id)) {
      return InvalidArgument(
          fmt::format("configuration: {} is to become a learner and to stay a voter", id));
    }
  }
  const std::set<NodeId> members = Members();
  if (members.size() > kMembersMax) {
    return InvalidArgument(
        fmt::format("configuration: {} members are more than {}", members.size(), kMembersMax));
  }
  for (const NodeId id : members) {
    if (!contexts.contains(id)) {
      return InvalidArgument(fmt::format("configuration: {} has no context", id));
    }
  }
  for (const auto& [id, context] : contexts) {
    if (!members.contains(id)) {
      return InvalidArgument(
          fmt::format("configuration: there is a context of {}, which is no member", id));
    }
    if (context.size() > kContextBytesMax) {
      return InvalidArgument(fmt::format("configuration: the context of {} has {} bytes, over {}",
                                         id, context.size(), kContextBytesMax));
    }
  }
  return absl::OkStatus();
}

std::string EncodeConfiguration(const Configuration& configuration) {
  std::string bytes;
  AppendU8(&bytes, kFormat);
  AppendIds(&bytes, configuration.voters);
  AppendIds(&bytes, configuration.outgoing);
  AppendIds(&bytes, configuration.learners);
  AppendIds(&bytes, configuration.learners_next);
  AppendU32(&bytes, static_cast<std::uint32_t>(configuration.contexts.size()));
  for (const auto& [id, context] : configuration.contexts) {
    AppendU64(&bytes, id.value());
    AppendU32(&bytes, static_cast<std::uint32_t>(context.size()));
    bytes += context;
  }
  return bytes;
}

absl::StatusOr<Configuration> DecodeConfiguration(std::string_view bytes) {
  BigEndianReader reader(bytes);
  const auto format = reader.U8();
  if (!format) return InvalidArgument("configuration: there are no bytes");
  if (*format != kFormat) {
    return InvalidArgument(
        fmt::format("configuration: its format is {}, not {}", *format, kFormat));
  }
  Configuration configuration;
  for (std::set<NodeId>* ids : {&configuration.voters, &configuration.outgoing,
                                &configuration.learners, &configuration.learners_next}) {
    auto taken = TakeIds(&reader);
    if (!taken) {
      return InvalidArgument("configuration: a list of members is cut, too long or not in order");
    }
    *ids = *std::move(taken);
  }
  auto contexts = TakeContexts(&reader);
  if (!contexts) {
    return InvalidArgument("configuration: the contexts are cut, too long or not in order");
  }
  configuration.contexts = *std::move(contexts);
  if (!reader.empty()) {
    return InvalidArgument(
        fmt::format("configuration: {} bytes are left over", reader.rest().size()));
  }
  RETURN_IF_ERROR(configuration.Validate());
  return configuration;
}

absl::StatusOr<Configuration> Apply(const Configuration& current,
                                    const ConfigurationChange& change) {
  if (current.joint()) {
    return InvalidArgument("membership change: the last one is not complete (joint configuration)");
  }
  RETURN_IF_ERROR(current.Validate());
  for (const auto& [id, context] : change.add_voters) {
    if (change.add_learners.contains(id) || change.remove.contains(id)) {
      return InvalidArgument(fmt::format("membership change: it names {} twice", id));
    }
  }
  for (const auto& [id, context] : change.add_learners) {
    if (change.remove.contains(id)) {
      return InvalidArgument(fmt::format("membership change: it names {} twice", id));
    }
  }
  for (const NodeId id : change.remove) {
    if (!current.Contains(id)) {
      return InvalidArgument(fmt::format("membership change: {} to be removed is no member", id));
    }
  }

  Configuration target = current;
  for (const auto& [id, context] : change.add_voters) {
    target.learners.erase(id);
    target.voters.insert(id);
    target.contexts[id] = context;
  }
  for (const auto& [id, context] : change.add_learners) {
    target.voters.erase(id);
    target.learners.insert(id);
    target.contexts[id] = context;
  }
  for (const NodeId id : change.remove) {
    target.voters.erase(id);
    target.learners.erase(id);
    target.contexts.erase(id);
  }
  if (target == current) return InvalidArgument("membership change: it changes nothing");
  RETURN_IF_ERROR(target.Validate());
  if (target.voters == current.voters) return target;

  // Those who leave stay reachable until the joint configuration is left.
  target.outgoing = current.voters;
  target.contexts.insert(current.contexts.begin(), current.contexts.end());
  std::set<NodeId> learners;
  for (const NodeId id : target.learners) {
    (current.voters.contains(id) ? target.learners_next : learners).insert(id);
  }
  target.learners = std::move(learners);
  const std::set<NodeId> members = target.Members();
  std::erase_if(target.contexts, [&](const auto& item) { return !members.contains(item.first); });
  RETURN_IF_ERROR(target.Validate());
  return target;
}

}  // namespace ds::raft
