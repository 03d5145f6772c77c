// Scenarios in tests/raft/testdata: blocks of commands, a line ----, and what has to come of them.
// `raft_transcript_test --rewrite` writes what comes of them instead; read the difference.
//
//   log ID TERM…            the member starts with a log of these terms    (before start)
//   term ID TERM            and in this term                               (before start)
//   start N [pre-vote=off] [leases=on] [part=BYTES] [append=BYTES]   voters 1 to N
//   add ID                  one more that knows nothing
//   campaign ID | elect ID | tick ID N | run N
//   propose ID TEXT | read ID READ | transfer ID TARGET
//   change ID CHANGE…       +4 makes a voter, ~4 a learner, -4 removes
//   deliver [FROM TO] | deliver-among ID… | discard
//   cut A B | cut-one-way FROM TO | isolate ID | heal
//   crash ID | restart ID | compact ID [KEEP_AFTER] | refused ID PEER
//   disk ID hold | disk ID free | write ID [BATCHES]
//   show [ID…]              role, term, commit, applied, log, state
//   quiet COMMAND           the same without its transcript
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/check.h"
#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

bool rewrite = false;  // NOLINT(readability-identifier-naming)

std::filesystem::path Folder() {
  const char* source = std::getenv("DS_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe)
  return std::filesystem::path(source != nullptr ? source : ".") / "tests/raft/testdata";
}

std::uint64_t Number(const std::string& word) {
  CHECK(!word.empty() && word.find_first_not_of("0123456789") == std::string::npos);
  return std::strtoull(word.c_str(), nullptr, 10);
}

class Scenario {
 public:
  /// The text with the transcript under each block as it comes out.
  std::string Play(const std::string& text) {
    std::istringstream lines(text);
    std::string played;
    std::string commands;
    for (std::string line; std::getline(lines, line);) {
      if (line == "----") {
        played += commands + "----\n" + Execute(commands) + "\n";
        commands.clear();
        while (std::getline(lines, line) && !line.empty()) {
        }
      } else if (line.empty() || line.starts_with('#')) {
        played += line + "\n";
      } else {
        commands += line + "\n";
      }
    }
    CHECK(commands.empty(), "commands without ----");
    while (played.ends_with("\n\n")) played.pop_back();
    return played;
  }

 private:
  std::string Execute(const std::string& commands) {
    out_.clear();
    std::istringstream lines(commands);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream stream(line);
      std::vector<std::string> words;
      for (std::string word; stream >> word;) words.push_back(word);
      quiet_ = words.front() == "quiet";
      if (quiet_) words.erase(words.begin());
      const std::string command = words.front();
      words.erase(words.begin());
      Execute(command, words);
      quiet_ = false;
    }
    if (out_.empty()) out_ = "ok\n";
    return out_;
  }

  void Print(const std::string& line) {
    if (!quiet_) out_ += line + "\n";
  }

  void Execute(const std::string& command, const std::vector<std::string>& words) {
    const auto number = [&words](std::size_t i) {
      CHECK(i < words.size());
      return Number(words[i]);
    };
    if (command == "log") {
      std::vector<EntryPtr>& log = options_.logs[number(0)];
      for (std::size_t i = 1; i < words.size(); ++i) {
        log.push_back(Command(number(i), i, fmt::format("t{}i{}", number(i), i)));
      }
    } else if (command == "term") {
      options_.hard_states[number(0)] = HardState{Term(number(1)), std::nullopt};
    } else if (command == "start") {
      options_.voters = number(0);
      for (std::size_t i = 1; i < words.size(); ++i) Set(words[i]);
      options_.trace = [this](const std::string& line) { Print(line); };
      quiet_ = true;  // each would say that it begins as a follower
      group_ = std::make_unique<Group>(options_);
    } else if (command == "add") {
      group_->AddEmpty(number(0));
    } else if (command == "campaign") {
      group_->Campaign(number(0));
    } else if (command == "elect") {
      group_->Elect(number(0));
    } else if (command == "tick") {
      group_->Tick(number(0), number(1));
    } else if (command == "run") {
      group_->Run(number(0));
    } else if (command == "propose") {
      Print("= " + ToString(group_->Propose(number(0), words.at(1))));
    } else if (command == "read") {
      const std::optional<Refused> refused = group_->Read(number(0), number(1));
      if (refused) Print("= " + ToString(refused->why));
    } else if (command == "transfer") {
      const ProposeResult result = group_->Transfer(number(0), number(1));
      if (const auto* refused = std::get_if<Refused>(&result)) Print("= " + ToString(refused->why));
    } else if (command == "change") {
      Print("= " + ToString(group_->Change(number(0), Change(words))));
    } else if (command == "deliver" && words.empty()) {
      group_->Deliver();
    } else if (command == "deliver") {
      group_->DeliverFrom(number(0), number(1));
    } else if (command == "deliver-among") {
      std::set<std::uint64_t> members;
      for (std::size_t i = 0; i < words.size(); ++i) members.insert(number(i));
      group_->DeliverAmong(members);
    } else if (command == "discard") {
      group_->Take();
    } else if (command == "cut") {
      group_->Cut(number(0), number(1));
    } else if (command == "cut-one-way") {
      group_->CutOneWay(number(0), number(1));
    } else if (command == "isolate") {
      group_->Isolate(number(0));
    } else if (command == "heal") {
      group_->Heal();
    } else if (command == "crash") {
      group_->Crash(number(0));
    } else if (command == "restart") {
      group_->Restart(number(0));
    } else if (command == "refused") {
      group_->ConnectionRefused(number(0), number(1));
    } else if (command == "compact") {
      group_->Compact(number(0),
                      words.size() > 1 ? std::optional(number(1)) : std::optional<std::uint64_t>());
    } else if (command == "disk") {
      group_->SetAutomatic(number(0), words.at(1) == "free");
    } else if (command == "write") {
      group_->MakeDurable(number(0), words.size() > 1 ? number(1) : SIZE_MAX);
    } else if (command == "show") {
      for (const std::uint64_t id : group_->ids()) {
        if (words.empty() ||
            std::find(words.begin(), words.end(), fmt::format("{}", id)) != words.end()) {
          Show(id);
        }
      }
    } else {
      Print("? " + command);
    }
  }

  void Set(const std::string& option) {
    const std::size_t equals = option.find('=');
    CHECK(equals != std::string::npos);
    const std::string name = option.substr(0, equals);
    const std::string value = option.substr(equals + 1);
    if (name == "pre-vote") {
      options_.node.pre_vote = value == "on";
    } else if (name == "leases") {
      options_.node.lease_reads = value == "on";
    } else if (name == "part") {
      options_.node.snapshot_part_bytes = Number(value);
    } else if (name == "append") {
      options_.node.append_bytes_max = Number(value);
    } else {
      CHECK(false, "an unknown option of start");
    }
  }

  static ConfigurationChange Change(const std::vector<std::string>& words) {
    ConfigurationChange change;
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::uint64_t id = Number(words[i].substr(1));
      switch (words[i].front()) {
        case '+':
          change.add_voters[NodeId(id)] = fmt::format("m{}", id);
          break;
        case '~':
          change.add_learners[NodeId(id)] = fmt::format("m{}", id);
          break;
        default:
          change.remove.insert(NodeId(id));
      }
    }
    return change;
  }

  void Show(std::uint64_t id) {
    if (!group_->running(id)) {
      Print(fmt::format("{}: crashed", id));
      return;
    }
    Node& node = group_->node(id);
    static constexpr std::string_view kRoles[] = {"follower", "pre-candidate", "candidate",
                                                  "leader"};
    std::string state;
    for (const std::string& command : group_->state(id)) state += " " + command;
    Print(fmt::format("{}: {}, term {}, snapshot {}, log {}, committed {}, state{}", id,
                      kRoles[static_cast<std::size_t>(node.role())], node.term(),
                      node.snapshot().index, group_->Log(id), node.committed(), state));
  }

  Group::Options options_;
  std::unique_ptr<Group> group_;
  std::string out_;
  bool quiet_ = false;
};

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(Folder())) {
    if (file.path().extension() == ".txt") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Transcript, ThereAreScenarios) { EXPECT_GE(Names().size(), 10U); }

TEST(Transcript, EachScenarioGoesAsWritten) {
  for (const std::string& name : Names()) {
    const std::filesystem::path path = Folder() / (name + ".txt");
    std::ostringstream read;
    read << std::ifstream(path).rdbuf();
    const std::string expected = read.str();
    const std::string played = Scenario().Play(expected);
    if (rewrite) {
      std::ofstream(path) << played;
      continue;
    }
    const std::vector<std::string> want = Lines(expected);
    const std::vector<std::string> got = Lines(played);
    const auto [wanted, found] = std::mismatch(want.begin(), want.end(), got.begin(), got.end());
    if (wanted == want.end() && found == got.end()) continue;
    ADD_FAILURE() << name << ".txt:" << (wanted - want.begin()) + 1
                  << "\n  written: " << (wanted == want.end() ? "(end)" : *wanted)
                  << "\n  happens: " << (found == got.end() ? "(end)" : *found);
  }
}

}  // namespace
}  // namespace ds::raft

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ds::raft::rewrite = argc > 1 && std::string_view(argv[1]) == "--rewrite";
  return RUN_ALL_TESTS();
}
