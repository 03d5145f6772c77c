#include "raft/core/rendezvous.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/big_endian.h"
#include "common/base/check.h"
#include "common/base/parse.h"
#include "raft/core/quorum.h"

namespace ds::raft {
namespace {

std::uint64_t ClusterOf(const std::map<Slot, std::string>& addresses) {
  std::string bytes;
  for (const auto& [slot, address] : addresses) {
    AppendU64(&bytes, slot.value());
    AppendU32(&bytes, static_cast<std::uint32_t>(address.size()));
    bytes += address;
  }
  // FNV-1a: this guards against an honest mistake only, two files that differ.
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3;
  }
  return hash;
}

std::optional<Slot> SlotOf(std::string_view context) {
  const auto parsed = ParseMemberContext(context);
  if (!parsed) return std::nullopt;
  return parsed->slot;
}

}  // namespace

std::string EncodeMemberContext(const MemberContext& context) {
  return fmt::format("{} {}", context.slot, context.address);
}

std::optional<MemberContext> ParseMemberContext(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto slot = ParseDecimal(text.substr(0, space));
  if (!slot) return std::nullopt;
  return MemberContext{Slot(*slot), std::string(text.substr(space + 1))};
}

absl::Status RendezvousOptions::Validate() const {
  if (addresses.empty() || addresses.size() > Configuration::kMembersMax / 2) {
    return InvalidArgument(fmt::format("rendezvous: {} slots are not 1 to {}", addresses.size(),
                                       Configuration::kMembersMax / 2));
  }
  for (const auto& [slot, address] : addresses) {
    if (EncodeMemberContext({slot, address}).size() > Configuration::kContextBytesMax) {
      return InvalidArgument(fmt::format("rendezvous: the address of {} is too long", slot));
    }
  }
  if (hello_ticks == 0) return InvalidArgument("rendezvous: no time between two hellos");
  // A hello, its answer, and one of them lost.
  if (window_ticks < 4 * hello_ticks) {
    return InvalidArgument("rendezvous: the window is shorter than four hellos");
  }
  return absl::OkStatus();
}

Rendezvous::Rendezvous(const RendezvousOptions& options, Slot slot, NodeId id)
    : options_(options), slot_(slot), id_(id), cluster_(ClusterOf(options.addresses)) {
  CHECK(options_.Validate().ok());
  CHECK(options_.addresses.contains(slot_));
}

void Rendezvous::Tick(std::uint64_t ticks) {
  now_ += ticks;
  if (quiet()) return;
  Decide();
  if (!quiet() && now_ >= next_hello_ && SomebodySeeks()) SayHello();
}

void Rendezvous::Step(const Hello& hello) {
  if (quiet() || hello.cluster != cluster_ || hello.slot == slot_ || hello.id == id_ ||
      !options_.addresses.contains(hello.slot)) {
    return;
  }
  // It is kept, and nobody honest says more.
  const std::size_t slots = options_.addresses.size();
  if (hello.heard.size() > slots || hello.view.size() > slots ||
      hello.voters.size() > 2 * Configuration::kMembersMax) {
    return;
  }
  Hello::Heard& heard = heard_[hello.slot];
  if (heard.id != hello.id) heard = {hello.id, hello.time};
  heard.time = std::max(heard.time, hello.time);

  // These are true for ever once they have been said, so their age does not matter.
  if (state_ == Hello::State::kLocked) {
    const auto in_view = locked_view_.find(hello.slot);
    if (hello.state == Hello::State::kLocked && hello.view == locked_view_ &&
        in_view->second == hello.id) {
      have_locked_.insert(hello.id);
    }
    // Only the founders of the locked view can have made a voter of somebody who did not join.
    if (hello.state == Hello::State::kMember && hello.voters.contains(id_)) {
      for (const auto& [slot, id] : locked_view_) have_locked_.insert(id);
    }
  }

  const auto echo = hello.heard.find(slot_);
  const bool alive =
      echo != hello.heard.end() && echo->second.id == id_ && echo->second.time <= now_;
  if (alive) {
    const std::uint64_t alive_at = echo->second.time;
    const auto peer = peers_.find(hello.slot);
    if (peer == peers_.end()) {
      peers_[hello.slot] = {hello, alive_at};
    } else if (peer->second.latest.id == hello.id) {
      if (hello.time >= peer->second.latest.time) peer->second.latest = hello;
      peer->second.alive_at = std::max(peer->second.alive_at, alive_at);
    } else if (alive_at > peer->second.alive_at) {
      peer->second = {hello, alive_at};
    }
  }

  Decide();
  if (!quiet() && state_ == Hello::State::kMember && hello.state != Hello::State::kMember) {
    output_.hellos.emplace_back(hello.slot, MakeHello());
  }
}

void Rendezvous::Update(const Configuration& configuration, bool leader_known, bool has_committed) {
  if (gave_up_ || state_ == Hello::State::kEmpty || state_ == Hello::State::kLocked) return;
  leader_known_ = leader_known;
  has_committed_ = has_committed;
  if (configuration != configuration_) {
    configuration_ = configuration;
    const std::set<NodeId> members = configuration_.Members();
    for (const NodeId id : members) known_since_.emplace(id, now_);
    std::erase_if(known_since_, [&](const auto& item) { return !members.contains(item.first); });
  }
  if (configuration_.IsVoter(id_)) {
    state_ = Hello::State::kMember;
    removed_ = false;
  } else if (state_ == Hello::State::kMember) {
    // Made a learner again by a new leader's log, it goes on asking; removed, it does not.
    if (configuration_.Contains(id_)) {
      state_ = Hello::State::kJoining;
    } else {
      removed_ = true;
    }
  }
}

Rendezvous::Output Rendezvous::TakeOutput() { return std::exchange(output_, {}); }

std::optional<ConfigurationChange> Rendezvous::Replacement(
    const Configuration& configuration, const std::set<NodeId>& caught_up) const {
  if (configuration.joint() || quiet()) return std::nullopt;
  for (const auto& [slot, peer] : peers_) {
    const NodeId newcomer = peer.latest.id;
    if (peer.latest.state != Hello::State::kJoining || !Current(peer)) continue;
    if (configuration.IsVoter(newcomer)) continue;
    const std::string context = EncodeMemberContext({slot, options_.addresses.at(slot)});
    const bool learns = configuration.learners.contains(newcomer);
    if (learns && configuration.contexts.at(newcomer) != context) continue;

    bool all_dead = true;
    std::set<NodeId> voters;
    std::set<NodeId> learners;
    for (const auto& [id, other] : configuration.contexts) {
      if (id == newcomer || SlotOf(other) != slot) continue;
      all_dead = all_dead && IsDead(id, slot);
      (configuration.voters.contains(id) ? voters : learners).insert(id);
    }
    if (!all_dead) continue;

    ConfigurationChange change;
    if (!learns) {
      change.add_learners[newcomer] = context;
      change.remove = std::move(learners);
      return change;
    }
    if (!caught_up.contains(newcomer)) continue;
    change.add_voters[newcomer] = context;
    change.remove = std::move(voters);
    change.remove.merge(learners);
    return change;
  }
  return std::nullopt;
}

bool Rendezvous::SomebodySeeks() const {
  return state_ != Hello::State::kMember ||
         std::any_of(peers_.begin(), peers_.end(), [&](const auto& item) {
           return item.second.latest.state != Hello::State::kMember && Current(item.second);
         });
}

bool Rendezvous::AllCurrent() const {
  return peers_.size() + 1 == options_.addresses.size() &&
         std::all_of(peers_.begin(), peers_.end(),
                     [&](const auto& item) { return Current(item.second); });
}

bool Rendezvous::IsDead(NodeId id, Slot slot) const {
  const auto peer = peers_.find(slot);
  const auto known = known_since_.find(id);
  return peer != peers_.end() && known != known_since_.end() && peer->second.latest.id != id &&
         peer->second.alive_at > known->second;
}

std::optional<SlotView> Rendezvous::View() const {
  if (!AllCurrent()) return std::nullopt;
  SlotView view = {{slot_, id_}};
  for (const auto& [slot, peer] : peers_) view[slot] = peer.latest.id;
  return view;
}

Hello Rendezvous::MakeHello() const {
  Hello hello{.cluster = cluster_, .slot = slot_, .id = id_, .time = now_, .state = state_};
  switch (state_) {
    case Hello::State::kEmpty:
      hello.view = View().value_or(SlotView());
      break;
    case Hello::State::kLocked:
      hello.view = locked_view_;
      break;
    case Hello::State::kJoining:
      break;
    case Hello::State::kMember:
      hello.voters = configuration_.voters;
      hello.voters.insert(configuration_.outgoing.begin(), configuration_.outgoing.end());
      hello.leader_known = leader_known_;
      break;
  }
  hello.heard = heard_;
  return hello;
}

void Rendezvous::SayHello() {
  const Hello hello = MakeHello();
  for (const auto& [slot, address] : options_.addresses) {
    if (slot != slot_) output_.hellos.emplace_back(slot, hello);
  }
  next_hello_ = now_ + options_.hello_ticks;
}

void Rendezvous::Decide() {
  if (state_ == Hello::State::kEmpty) DecideEmpty();
  // A lock of the own view alone, of a cluster of one slot, is enough at once.
  if (state_ == Hello::State::kLocked) DecideLocked();
  if (state_ == Hello::State::kJoining) DecideJoining();
  if (state_ == Hello::State::kMember) DecideMember();
}

void Rendezvous::DecideEmpty() {
  bool founders_only = true;
  for (const auto& [slot, peer] : peers_) {
    if (!Current(peer)) continue;
    if (peer.latest.state == Hello::State::kMember && peer.latest.leader_known) return Join();
    founders_only = founders_only && (peer.latest.state == Hello::State::kEmpty ||
                                      peer.latest.state == Hello::State::kLocked);
  }
  const auto view = View();
  if (!founders_only || !view) return;
  for (const auto& [slot, peer] : peers_) {
    if (peer.latest.view != *view) return;
  }
  state_ = Hello::State::kLocked;
  locked_view_ = *view;
  locked_at_ = now_;
  have_locked_ = {id_};
  for (const auto& [slot, peer] : peers_) {
    if (peer.latest.state == Hello::State::kLocked) have_locked_.insert(peer.latest.id);
  }
  SayHello();
}

void Rendezvous::DecideLocked() {
  if (have_locked_.size() == locked_view_.size()) return Start();
  bool heard_lately = AllCurrent();
  bool somebody_died = false;
  bool somebody_is_member = false;
  for (const auto& [slot, peer] : peers_) {
    // What was said before the lock can come from before the others' start.
    if (!Current(peer) || peer.alive_at <= locked_at_) {
      heard_lately = false;
      continue;
    }
    if (peer.latest.state == Hello::State::kMember) {
      somebody_is_member = true;
      if (peer.latest.leader_known && !peer.latest.voters.contains(id_)) return Join();
    }
    somebody_died = somebody_died || peer.latest.id != locked_view_.at(slot);
  }
  if (Patience(heard_lately && somebody_died && !somebody_is_member)) GiveUp();
}

void Rendezvous::DecideJoining() {
  const bool somebody_is_member = std::any_of(peers_.begin(), peers_.end(), [](const auto& item) {
    return item.second.latest.state == Hello::State::kMember;
  });
  if (Patience(AllCurrent() && !somebody_is_member)) GiveUp();
}

void Rendezvous::DecideMember() {
  const auto not_dead = [&](NodeId id) {
    if (id == id_) return true;
    const auto slot = SlotOf(configuration_.contexts.at(id));
    return !slot || !IsDead(id, *slot);
  };
  std::set<NodeId> voters = configuration_.voters;
  voters.insert(configuration_.outgoing.begin(), configuration_.outgoing.end());
  // A member that knows other voters may know of a change that saved the cluster.
  const bool others_know_no_more = std::all_of(peers_.begin(), peers_.end(), [&](const auto& item) {
    const Hello& latest = item.second.latest;
    return latest.state != Hello::State::kMember || latest.voters == voters;
  });
  lost_ = Patience(AllCurrent() && others_know_no_more && !HasQuorum(configuration_, not_dead));
  if (lost_ && !has_committed_) GiveUp();
}

bool Rendezvous::Patience(bool hopeless) {
  if (!hopeless) {
    hopeless_since_.reset();
    return false;
  }
  if (!hopeless_since_) hopeless_since_ = now_;
  return now_ - *hopeless_since_ >= options_.patience_ticks;
}

void Rendezvous::Join() {
  state_ = Hello::State::kJoining;
  hopeless_since_.reset();
  output_.join = true;
}

void Rendezvous::Start() {
  Configuration founders;
  for (const auto& [slot, id] : locked_view_) {
    founders.voters.insert(id);
    founders.contexts[id] = EncodeMemberContext({slot, options_.addresses.at(slot)});
  }
  state_ = Hello::State::kMember;
  hopeless_since_.reset();
  Update(founders, false, false);
  output_.start = std::move(founders);
  // The others need not wait until they ask.
  SayHello();
}

void Rendezvous::GiveUp() {
  gave_up_ = true;
  output_ = {};
  output_.start_over = true;
}

}  // namespace ds::raft
