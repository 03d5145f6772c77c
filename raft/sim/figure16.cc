#include "raft/sim/figure16.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <iterator>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "raft/core/node.h"
#include "tests/sim/scheduler.h"

namespace ds::raft {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t kMembers = 5;
/// Of a tick: fine enough for timers of 12 ms.
constexpr Duration kTick = microseconds(100);
constexpr std::uint32_t kTicksPerMs = 10;

double Ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

/// One trial: five members whose leader, number 0, has crashed.
class Trial {
 public:
  Trial(const Figure16Range& range, std::uint64_t seed) : range_(range), scheduler_(seed) {
    NodeOptions options;
    options.election_timeout_min_ticks = range.min_ms * kTicksPerMs;
    options.election_timeout_max_ticks = range.max_ms * kTicksPerMs;
    options.heartbeat_ticks = std::max(options.election_timeout_min_ticks / 2, 1U);
    options.pre_vote = false;
    options.check_quorum = false;
    Configuration configuration;
    for (std::uint64_t i = 0; i < kMembers; ++i) {
      configuration.voters.insert(NodeId(i));
      configuration.contexts.emplace(NodeId(i), "n");
    }
    members_.resize(kMembers);
    begin_ = scheduler_.now();
    for (std::uint64_t i = 1; i < kMembers; ++i) {
      Restored restored;
      restored.snapshot.configuration = configuration;
      restored.hard_state.term = Term(1);
      const auto add = [&restored](std::uint64_t index, Entry::Kind kind) {
        auto entry = std::make_shared<Entry>();
        entry->position = {Term(1), LogIndex(index)};
        entry->kind = kind;
        restored.entries.push_back(std::move(entry));
      };
      add(1, Entry::Kind::kNoop);
      // The last entry has reached one of the two that the leader needed, and one more was late.
      if (i <= 2) add(2, Entry::Kind::kCommand);
      members_[i].rng = std::make_unique<Rng>(scheduler_.rng().Next());
      members_[i].node =
          std::make_unique<Node>(NodeId(i), options, std::move(restored), *members_[i].rng);
      members_[i].ticked = begin_;
    }
    // The leader's last heartbeat reaches each when it does; then it crashes within the interval.
    const Duration interval = milliseconds(range.min_ms) / 2;
    for (std::uint64_t i = 1; i < kMembers; ++i) {
      scheduler_.After(RequestDelay(), [this, i] { Hear(i, NodeId(0), Heartbeat(i)); });
      Work(i);
    }
    crash_ = begin_ + scheduler_.rng().Between(Duration::zero(), interval);
  }

  /// From the crash to the first leader.
  Duration Run() {
    while (!leader_at_ && scheduler_.now() - begin_ < kFigure16GivenUp && scheduler_.Step()) {
    }
    if (!leader_at_) return kFigure16GivenUp;
    return std::max(*leader_at_ - crash_, Duration::zero());
  }

 private:
  struct MemberOf {
    std::unique_ptr<Rng> rng;
    std::unique_ptr<Node> node;
    TimePoint ticked;
    std::optional<sim::Scheduler::EventId> timer;
  };

  /// Until a request is acted on, and from there until its answer is: together the broadcast time.
  Duration RequestDelay() { return scheduler_.rng().Between(milliseconds(2), milliseconds(3)); }
  Duration AnswerDelay() { return scheduler_.rng().Between(milliseconds(12), milliseconds(13)); }
  static Message Heartbeat(std::uint64_t member) {
    const LogIndex last(member <= 2 ? 2 : 1);
    return {Term(1), AppendRequest{.previous = {Term(1), last}, .committed = LogIndex(1)}};
  }
  void Hear(std::uint64_t to, NodeId from, Message message) {
    BringTime(to);
    members_[to].node->Step(from, std::move(message));
    Work(to);
  }
  void BringTime(std::uint64_t id) {
    MemberOf& member = members_[id];
    const auto ticks = (scheduler_.now() - member.ticked) / kTick;
    member.ticked += ticks * kTick;
    if (ticks > 0) member.node->Tick(static_cast<std::uint64_t>(ticks));
  }
  void Work(std::uint64_t id) {
    MemberOf& member = members_[id];
    while (member.node->HasOutput()) {
      const Output output = member.node->TakeOutput();
      if (output.batch != 0) member.node->Persisted(output.batch);
      for (const Envelope& envelope : output.messages) {
        const std::uint64_t to = envelope.to.value();
        if (to == 0 || leader_at_) continue;
        const bool request = std::holds_alternative<VoteRequest>(envelope.message.body) ||
                             std::holds_alternative<AppendRequest>(envelope.message.body);
        scheduler_.After(
            request ? RequestDelay() : AnswerDelay(),
            [this, id, to, message = envelope.message] { Hear(to, NodeId(id), message); });
      }
      for (const Event& event : output.events) {
        if (event.kind == Event::Kind::kLeader && !leader_at_) leader_at_ = scheduler_.now();
      }
    }
    if (member.timer) scheduler_.Cancel(*member.timer);
    const auto ticks = static_cast<std::int64_t>(
        std::clamp<std::uint64_t>(member.node->TicksToNext(), 1, 10'000'000));
    member.timer = scheduler_.At(member.ticked + ticks * kTick, [this, id] {
      members_[id].timer.reset();
      BringTime(id);
      Work(id);
    });
  }

  Figure16Range range_;
  sim::Scheduler scheduler_;
  std::vector<MemberOf> members_;
  TimePoint begin_;
  TimePoint crash_;
  std::optional<TimePoint> leader_at_;
};

double QuantileMs(const Figure16Row& row, double quantile) {
  CHECK(!row.times.empty());
  const auto at = static_cast<std::size_t>(quantile * static_cast<double>(row.times.size() - 1));
  return Ms(row.times[at]);
}

double MeanMs(const Figure16Row& row) {
  double sum = 0;
  for (const Duration time : row.times) sum += Ms(time);
  return sum / static_cast<double>(row.times.size());
}

std::string Name(const Figure16Range& range) {
  return fmt::format("{}-{} ms", range.min_ms, range.max_ms);
}

std::string Text(const std::optional<double>& value) {
  return value ? fmt::format("{:.0f}", *value) : std::string("-");
}

}  // namespace

std::vector<Figure16Row> Figure16(const Figure16Options& options) {
  // The paper gives these in words; the rest can only be read off its graphs.
  std::vector<Figure16Row> rows = {
      {{150, 150}, {}, {}},
      {{150, 151}, {}, {}},
      {{150, 155}, {{}, 287, {}}, {}},
      {{150, 175}, {}, {}},
      {{150, 200}, {{}, {}, 513}, {}},
      {{150, 300}, {}, {}},
      {{12, 24}, {35, {}, 152}, {}},
      {{25, 50}, {}, {}},
      {{50, 100}, {}, {}},
      {{100, 200}, {}, {}},
  };
  std::uint64_t seed = options.seed;
  for (Figure16Row& row : rows) {
    for (std::uint64_t trial = 0; trial < options.trials; ++trial) {
      row.times.push_back(Trial(row.range, seed++).Run());
    }
    std::sort(row.times.begin(), row.times.end());
  }
  return rows;
}

std::string Figure16Table(const std::vector<Figure16Row>& rows) {
  std::string table =
      "time without a leader after the leader of 5 crashed, in ms (the paper's figure behind /)\n"
      "timer range      mean        median      99 %        longest     none in 100 s\n";
  for (const Figure16Row& row : rows) {
    const auto beside = [](double value, const std::optional<double>& paper) {
      return fmt::format("{:.0f} / {}", value, Text(paper));
    };
    table += fmt::format("{:<17}{:<12}{:<12}{:<12.0f}{:<12}{}\n", Name(row.range),
                         beside(MeanMs(row), row.paper.mean_ms),
                         beside(QuantileMs(row, 0.5), row.paper.median_ms), QuantileMs(row, 0.99),
                         beside(QuantileMs(row, 1), row.paper.max_ms),
                         std::count(row.times.begin(), row.times.end(), kFigure16GivenUp));
  }
  return table;
}

std::string Figure16Text(const std::vector<Figure16Row>& rows) {
  std::string text = "cumulative distribution: ms within which so many percent had a leader\n";
  text += fmt::format("{:<14}", "timer range");
  for (int percent = 0; percent <= 100; percent += 10) text += fmt::format("{:>8}", percent);
  text += "\n";
  for (const Figure16Row& row : rows) {
    text += fmt::format("{:<14}", Name(row.range));
    for (int percent = 0; percent <= 100; percent += 10) {
      text += fmt::format("{:>8.0f}", QuantileMs(row, percent / 100.0));
    }
    text += "\n";
  }
  return text;
}

std::string Figure16Svg(const std::vector<Figure16Row>& rows) {
  constexpr double kLeft = 60;
  constexpr double kWidth = 560;
  constexpr double kHeight = 220;
  constexpr double kGap = 70;
  constexpr double kDecadeFirst = 1;  // 10 ms
  constexpr double kDecades = 4;      // to 100 s
  constexpr std::array<const char*, 6> kColors = {"#1b6ca8", "#d1495b", "#2e933c",
                                                  "#edae49", "#6a4c93", "#333333"};
  const auto x = [&](double ms) {
    const double decades = std::clamp(std::log10(std::max(ms, 1.0)) - kDecadeFirst, 0.0, kDecades);
    return kLeft + kWidth * decades / kDecades;
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kLeft + kWidth + 140, 2 * (kHeight + kGap) + 20);
  for (int graph = 0; graph < 2; ++graph) {
    const double top = 30 + graph * (kHeight + kGap);
    svg += fmt::format(
        "<text x=\"{}\" y=\"{}\">cumulative percent, by time without a leader (ms)</text>\n", kLeft,
        top - 10);
    for (int percent = 0; percent <= 100; percent += 20) {
      const double y = top + kHeight * (1 - percent / 100.0);
      svg += fmt::format(
          "<line x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\" stroke=\"#ddd\"/>"
          "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
          kLeft, y, kLeft + kWidth, kLeft - 6, y + 4, percent);
    }
    for (int decade = 1; decade <= 5; ++decade) {
      const double at = x(std::pow(10, decade));
      svg += fmt::format(
          "<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\" stroke=\"#ddd\"/>"
          "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4:.0f}</text>\n",
          at, top, top + kHeight, top + kHeight + 16, std::pow(10, decade));
    }
    std::size_t line = 0;
    for (const Figure16Row& row : rows) {
      if ((row.range.min_ms == 150) != (graph == 0)) continue;
      std::string points;
      for (std::size_t i = 0; i < row.times.size(); ++i) {
        if (row.times[i] == kFigure16GivenUp) break;
        const double share = static_cast<double>(i + 1) / static_cast<double>(row.times.size());
        points += fmt::format("{:.1f},{:.1f} ", x(Ms(row.times[i])), top + kHeight * (1 - share));
      }
      const char* color = kColors.at(line % kColors.size());
      svg += fmt::format(
          "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n"
          "<text x=\"{}\" y=\"{}\" fill=\"{}\">{}</text>\n",
          color, points, kLeft + kWidth + 10, top + 20 + 18 * static_cast<double>(line), color,
          Name(row.range));
      ++line;
    }
  }
  return svg + "</svg>\n";
}

}  // namespace ds::raft
