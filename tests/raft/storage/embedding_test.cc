// The example of raft/README.md, at work.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/fs/rooted_disk.h"
#include "raft/core/node.h"
#include "raft/storage/raft_store.h"
#include "tests/harness/temp_dir.h"

namespace ds::raft {
namespace {

/// Of all members: what one says to another.
struct Flight {
  NodeId from;
  NodeId to;
  Message message;
};
using Network = std::deque<Flight>;

// What follows up to the next mark stands in raft/README.md.

/// A member whose state machine is the list of its commands. One thread; writes are waited for.
class Member {
 public:
  Member(NodeId id, const Configuration& first, fs::Disk& disk, Network& network)
      : network_(network), rng_(id.value()) {
    auto store = RaftStore::Open(disk, "member-" + std::to_string(id.value()), {});
    CHECK(store.ok());  // else somebody must look: the message names the file
    store_ = *std::move(store);
    Restored restored;
    if (store_->empty()) {
      restored.snapshot.configuration = first;
      CHECK(store_->SaveSnapshot(restored.snapshot, "").ok());
    } else {
      restored = store_->TakeRestored();
    }
    node_.emplace(id, NodeOptions{}, std::move(restored), rng_);
  }

  /// After each input: Tick(), Step(), Propose(), Read(), …
  void Drive() {
    while (node_->HasOutput()) {
      const Output output = node_->TakeOutput();
      Send(output, /*after_disk=*/false);
      if (output.batch != 0) {
        CHECK(store_->Write(output).ok());  // a member that cannot write must end
        node_->Persisted(output.batch);
      }
      Send(output, /*after_disk=*/true);
      for (const EntryPtr& entry : output.committed) {
        if (entry->kind == Entry::Kind::kCommand) state.push_back(entry->data);
      }
      for (const Output::Read& read : output.reads) {
        if (read.index) answered.push_back(read.id);
      }
    }
  }

  Node& node() { return *node_; }

  std::vector<std::string> state;
  std::vector<ReadId> answered;  ///< `state` is what these asked for

 private:
  void Send(const Output& output, bool after_disk) {
    for (const Envelope& envelope : output.messages) {
      if ((envelope.after_batch > 0) != after_disk) continue;
      network_.push_back({node_->id(), envelope.to, envelope.message});
    }
  }

  Network& network_;
  Rng rng_;
  std::unique_ptr<RaftStore> store_;
  std::optional<Node> node_;
};

// Up to here.

class Cluster {
 public:
  explicit Cluster(fs::Disk& disk) {
    Configuration first;
    for (std::uint64_t i = 0; i < 3; ++i) {
      first.voters.insert(NodeId(i));
      first.contexts[NodeId(i)] = "127.0.0.1:" + std::to_string(50000 + i);
    }
    for (std::uint64_t i = 0; i < 3; ++i) {
      members_.push_back(std::make_unique<Member>(NodeId(i), first, disk, network_));
    }
  }

  /// A millisecond goes by, and all that was said is heard.
  void Step() {
    for (const auto& member : members_) {
      member->node().Tick(1);
      member->Drive();
    }
    while (!network_.empty()) {
      Flight flight = std::move(network_.front());
      network_.pop_front();
      Member& to = *members_.at(flight.to.value());
      to.node().Step(flight.from, std::move(flight.message));
      to.Drive();
    }
  }
  Member* Leader() {
    for (const auto& member : members_) {
      if (member->node().role() == Node::Role::kLeader) return member.get();
    }
    return nullptr;
  }
  Member* WaitForLeader() {
    for (int ms = 0; ms < 10'000 && Leader() == nullptr; ++ms) Step();
    return Leader();
  }
  std::vector<std::unique_ptr<Member>>& members() { return members_; }

 private:
  Network network_;
  std::vector<std::unique_ptr<Member>> members_;
};

TEST(Embedding, ACommandReachesAllMembersAndIsThereAfterARestart) {
  const testing::TempDir folder;
  const auto disk = fs::RootedDisk::Open(folder.path());
  ASSERT_TRUE(disk.ok()) << disk.status();
  const std::vector<std::string> expected = {"set a 1"};
  {
    Cluster cluster(**disk);
    Member* leader = cluster.WaitForLeader();
    ASSERT_NE(leader, nullptr);
    ASSERT_TRUE(std::holds_alternative<Accepted>(leader->node().Propose("set a 1")));
    leader->Drive();
    for (int ms = 0; ms < 100; ++ms) cluster.Step();
    for (const auto& member : cluster.members()) EXPECT_EQ(member->state, expected);
  }
  Cluster cluster(**disk);
  Member* leader = cluster.WaitForLeader();
  ASSERT_NE(leader, nullptr);
  EXPECT_GT(leader->node().term(), Term(1));
  for (int ms = 0; ms < 100; ++ms) cluster.Step();
  for (const auto& member : cluster.members()) EXPECT_EQ(member->state, expected);
}

TEST(Embedding, AReadIsAnsweredByAnyMember) {
  const testing::TempDir folder;
  const auto disk = fs::RootedDisk::Open(folder.path());
  ASSERT_TRUE(disk.ok()) << disk.status();
  Cluster cluster(**disk);
  ASSERT_NE(cluster.WaitForLeader(), nullptr);
  for (int ms = 0; ms < 100; ++ms) cluster.Step();
  for (const auto& member : cluster.members()) {
    EXPECT_FALSE(member->node().Read(7));
    member->Drive();
  }
  for (int ms = 0; ms < 10; ++ms) cluster.Step();
  for (const auto& member : cluster.members()) EXPECT_EQ(member->answered, std::vector<ReadId>{7});
}

TEST(Embedding, TheReadmeHasThisExample) {
  const char* source = std::getenv("DS_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe)
  const std::filesystem::path root = source != nullptr ? source : ".";
  const auto text_of = [&](std::string_view name) {
    std::ostringstream text;
    text << std::ifstream(root / name).rdbuf();
    return text.str();
  };
  const std::string readme = text_of("raft/README.md");
  const std::string here = text_of("tests/raft/storage/embedding_test.cc");
  const std::string fence = "```cpp\n";
  const std::size_t begin = readme.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const std::size_t code = begin + fence.size();
  const std::string example = readme.substr(code, readme.find("```", code) - code);
  EXPECT_GT(example.size(), 1000U);
  EXPECT_NE(here.find(example), std::string::npos);
}

}  // namespace
}  // namespace ds::raft
