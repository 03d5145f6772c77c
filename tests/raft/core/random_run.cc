#include "tests/raft/core/random_run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace ds::raft {
namespace {

constexpr std::uint64_t kMembers = 7;

class Run {
 public:
  Run(std::uint64_t seed, const RandomRunOptions& options, RandomRunCounts& counts)
      : rng_(seed), options_(options), counts_(counts), group_(Start(seed, options)) {
    group_.AddEmpty(6);
    group_.AddEmpty(7);
    loss_ = rng_.Unit() * 0.2;
    group_.SetDrop([this](const Group::Packet&) { return rng_.Bernoulli(loss_); });
  }

  void Go() {
    for (std::uint64_t step = 0; step < options_.steps; ++step) {
      Step();
      CheckReads();
    }
    Heal();
  }

 private:
  static Group::Options Start(std::uint64_t seed, const RandomRunOptions& options) {
    Group::Options start;
    start.voters = 5;
    start.seed = seed;
    start.node = options.node;
    start.trace = options.trace;
    return start;
  }

  std::uint64_t Anybody() { return 1 + rng_.Below(kMembers); }

  /// The newest index that any client was told of: what a read that begins now must see.
  std::uint64_t Applied() {
    for (const std::uint64_t id : group_.ids()) {
      if (group_.running(id)) applied_ = std::max(applied_, group_[id].applied().value());
    }
    return applied_;
  }

  void Step() {
    const std::uint64_t id = Anybody();
    const std::uint64_t what = rng_.Below(100);
    if (!group_.running(id)) {
      if (what < 20) group_.Restart(id);
      return;
    }
    if (what < 40) {
      const std::uint64_t messages = 1 + rng_.Below(20);
      for (std::uint64_t i = 0; i < messages; ++i) {
        if (rng_.Bernoulli(0.1)) {
          DeliverAny();
        } else if (!group_.DeliverOne()) {
          break;
        }
      }
    } else if (what < 65) {
      for (const std::uint64_t each : group_.ids()) {
        if (group_.running(each) && rng_.Bernoulli(0.8)) group_.Tick(each, 1 + rng_.Below(3));
      }
    } else if (what < 82) {
      group_.Propose(id, fmt::format("c{}", ++commands_));
    } else if (what < 87) {
      Applied();
      const ReadId read = ++reads_;
      asked_[read] = applied_;
      if (group_.Read(id, read)) asked_.erase(read);
    } else if (what < 88) {
      group_.Crash(id);
      ++counts_.crashes;
    } else if (what < 90) {
      if (rng_.Bernoulli(0.5)) {
        group_.SetAutomatic(id, false);
      } else {
        group_.SetAutomatic(id, true);
      }
    } else if (what < 92) {
      group_.MakeDurable(id, 1 + rng_.Below(3));
    } else if (what < 93) {
      if (rng_.Bernoulli(0.5)) {
        group_.CutOneWay(id, Anybody());
      } else {
        group_.Cut(id, Anybody());
      }
    } else if (what < 95) {
      group_.Heal();
      group_.SetDrop([this](const Group::Packet&) { return rng_.Bernoulli(loss_); });
    } else if (what < 97) {
      const std::uint64_t applied = group_[id].applied().value();
      if (applied > group_[id].snapshot().index.value()) {
        const std::uint64_t first = group_[id].snapshot().index.value();
        group_.Compact(id, first + rng_.Below(applied - first + 1));
      }
    } else if (what < 98) {
      group_.Transfer(id, Anybody());
    } else {
      Change(id);
    }
  }

  void DeliverAny() {
    if (group_.under_way().empty()) return;
    const Group::Packet packet = group_.under_way()[rng_.Below(group_.under_way().size())];
    if (group_.running(packet.to)) group_.Inject(packet.from, packet.to, packet.message);
  }

  void Change(std::uint64_t id) {
    ConfigurationChange change;
    for (std::uint64_t part = 1 + rng_.Below(3); part > 0; --part) {
      const std::uint64_t other = Anybody();
      const NodeId node(other);
      if (change.add_voters.contains(node) || change.add_learners.contains(node) ||
          change.remove.contains(node)) {
        continue;
      }
      switch (rng_.Below(3)) {
        case 0:
          change.add_voters[node] = fmt::format("m{}", other);
          break;
        case 1:
          change.add_learners[node] = fmt::format("m{}", other);
          break;
        default:
          change.remove.insert(node);
      }
    }
    if (std::holds_alternative<Accepted>(group_.Change(id, change))) ++counts_.changes;
  }

  void CheckReads() {
    for (const std::uint64_t id : group_.ids()) {
      for (std::size_t& seen = answered_[id]; seen < group_.reads(id).size(); ++seen) {
        const Output::Read& read = group_.reads(id)[seen];
        const auto asked = asked_.find(read.id);
        if (asked == asked_.end()) {
          ADD_FAILURE() << "read " << read.id << " is answered twice, or was never asked";
          return;
        }
        if (read.index) {
          ++counts_.reads;
          EXPECT_GE(read.index->value(), asked->second) << "read " << read.id << " is stale";
        }
        asked_.erase(asked);
      }
    }
  }

  void Heal() {
    group_.Heal();
    for (const std::uint64_t id : group_.ids()) {
      group_.SetAutomatic(id, true);
      if (!group_.running(id)) group_.Restart(id);
    }
    for (int tries = 0; tries < 100 && !Settled(); ++tries) {
      group_.Run(10);
      CheckReads();
    }
    EXPECT_TRUE(Settled()) << "no leader, or no equal states, 1000 ticks after healing";
    for (const std::uint64_t id : group_.ids()) {
      counts_.leaders += group_.Count(id, Event::Kind::kLeader);
      counts_.applied += group_.state(id).size();
    }
    counts_.installs += group_.installs();
  }

  bool Settled() {
    const auto leader = group_.Leader();
    if (!leader) return false;
    const Configuration& configuration = group_[*leader].configuration();
    if (configuration.joint()) return false;
    if (group_[*leader].applied() != group_[*leader].last().index) return false;
    for (const NodeId member : configuration.Members()) {
      if (group_.state(member.value()) != group_.state(*leader)) return false;
    }
    return true;
  }

  Rng rng_;
  const RandomRunOptions& options_;
  RandomRunCounts& counts_;
  Group group_;
  double loss_ = 0;
  std::uint64_t commands_ = 0;
  std::uint64_t reads_ = 0;
  std::uint64_t applied_ = 0;
  std::map<ReadId, std::uint64_t> asked_;  ///< with what had been applied then
  std::map<std::uint64_t, std::size_t> answered_;
};

}  // namespace

void RandomRun(std::uint64_t seed, const RandomRunOptions& options, RandomRunCounts& counts) {
  Run(seed, options, counts).Go();
}

}  // namespace ds::raft
