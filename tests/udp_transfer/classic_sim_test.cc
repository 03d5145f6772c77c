#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/parse.h"
#include "tests/sim/explore.h"
#include "tests/sim/scheduler.h"
#include "tests/udp_transfer/classic_text.h"
#include "udp_transfer/core/classic_server.h"
#include "udp_transfer/core/discovery.h"

// One client sends one file to one server, in virtual time, over a link that loses, duplicates and
// delays datagrams: with and without hellos, to servers that know fast mode and to such that do
// not, onto storage that is done at once or much later.

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using Outcome = Discovery::Outcome;

/// What happens to the n-th datagram of one direction.
struct Fault {
  enum class Kind { kLose, kDuplicate, kDelay };
  Kind kind;
  bool to_server;
  std::uint64_t datagram;
  Duration delay;  ///< of the duplicate, or of the datagram
};

/// Short enough that the server still remembers whom a late datagram belongs to.
constexpr Duration kDelayMax = 700ms;

std::vector<Fault> DrawFaults(Rng& rng) {
  constexpr std::uint64_t kDatagrams = 150;
  constexpr std::array<double, 6> kShares = {0, 0.02, 0.1, 0.3, 0.6, 0.9};
  const double share = kShares[rng.Below(kShares.size())];
  std::vector<Fault> faults;
  for (std::uint64_t i = 0; i < 2 * kDatagrams; ++i) {
    if (!rng.Bernoulli(share)) continue;
    faults.push_back({.kind = static_cast<Fault::Kind>(rng.Below(3)),
                      .to_server = i % 2 == 0,
                      .datagram = i / 2,
                      .delay = rng.Between(Duration(1ms), kDelayMax)});
  }
  return faults;
}

std::string Describe(const Fault& fault) {
  constexpr std::array<std::string_view, 3> kKinds = {"lose", "duplicate", "delay"};
  return fmt::format("{} datagram {} to the {}, {} ms", kKinds[std::size_t(fault.kind)],
                     fault.datagram, fault.to_server ? "server" : "client", fault.delay / 1ms);
}

/// Which parts of the server's side are there.
enum class Peer { kClassicOnly, kFastOnly, kBoth };

class World {
 public:
  /// Our own ends, on a link of 10 ms that loses half of everything, each way.
  struct Lossy {
    std::uint64_t bytes;
  };
  World(std::uint64_t seed, const Lossy& lossy)
      : scheduler_(seed), faults_(no_faults_), server_(server_options_), loss_(0.5) {
    peer_ = Peer::kBoth;
    one_way_ = 10ms;
    content_.assign(lossy.bytes, 'x');
    client_.emplace(Discovery::Options{.mode = Discovery::Mode::kAuto,
                                       .timeout = 10s,
                                       .classic = {.name = "f", .total_bytes = content_.size()}},
                    scheduler_.now());
  }
  World(std::uint64_t seed, const std::vector<Fault>& faults)
      : scheduler_(seed), faults_(faults), server_(ServerOptions()) {
    Rng& rng = scheduler_.rng();
    peer_ = static_cast<Peer>(rng.Below(3));
    one_way_ = rng.Between(Duration(100us), 110ms);
    storage_time_ = rng.Bernoulli(0.5) ? Duration(0) : rng.Between(Duration(1us), 400ms);
    // Payloads of one message, more or less: none, one byte, a whole one, some.
    const std::uint64_t payload = server_options_.buf_bytes - 8;
    const std::array<std::uint64_t, 6> sizes = {0,       1,           payload - 1,
                                                payload, payload + 1, rng.Below(25 * payload)};
    content_.resize(sizes[rng.Below(sizes.size())]);
    const bool separators = rng.Bernoulli(0.3);
    for (std::size_t i = 0; i < content_.size(); ++i) {
      content_[i] = separators ? " | "[i % 3] : static_cast<char>(rng.Below(256));
    }
    Discovery::Options options{
        .mode = peer_ != Peer::kFastOnly && rng.Bernoulli(0.3) ? Discovery::Mode::kClassic
                                                               : Discovery::Mode::kAuto,
        .timeout = 10s,
        .classic = {.name = "f", .total_bytes = content_.size(), .seqno0 = 0}};
    constexpr std::array<std::uint64_t, 4> kSeqnos0 = {0, 0, 7, 95};
    options.classic.seqno0 = kSeqnos0[rng.Below(kSeqnos0.size())];
    client_.emplace(options, scheduler_.now());
  }

  Outcome outcome() const { return client_->outcome(); }

  sim::RunResult Run() {
    scheduler_.Trace("peer {} one way {} ns storage {} ns bytes {}", int(peer_), one_way_.count(),
                     storage_time_.count(), content_.size());
    PumpClient();
    scheduler_.Run(scheduler_.now() + 10min);
    CheckEnd();
    return scheduler_.Result();
  }

 private:
  ClassicServer::Options ServerOptions() {
    constexpr std::array<std::size_t, 5> kBufBytes = {11, 12, 20, 40, 1024};
    server_options_.buf_bytes = kBufBytes[scheduler_.rng().Below(kBufBytes.size())];
    return server_options_;
  }

  // ---- The link.

  void Transmit(bool to_server, std::string datagram) {
    const std::uint64_t number = sent_[to_server]++;
    scheduler_.Trace("{} {} {}", to_server ? "->" : "<-", number, Short(datagram));
    Duration delay = one_way_;
    if (loss_ > 0 && scheduler_.rng().Bernoulli(loss_)) {
      ++harm_;
      return;
    }
    for (const Fault& fault : faults_) {
      if (fault.to_server != to_server || fault.datagram != number) continue;
      if (fault.kind != Fault::Kind::kDuplicate) ++harm_;
      if (fault.kind == Fault::Kind::kLose) return;
      if (fault.kind == Fault::Kind::kDelay) delay += fault.delay;
      if (fault.kind == Fault::Kind::kDuplicate) Arrive(to_server, datagram, delay + fault.delay);
    }
    Arrive(to_server, std::move(datagram), delay);
  }

  void Arrive(bool to_server, std::string datagram, Duration delay) {
    scheduler_.After(delay, [this, to_server, datagram = std::move(datagram)] {
      if (to_server) {
        ServerReceives(datagram);
      } else {
        ClientReceives(datagram);
      }
    });
  }

  // ---- The client.

  void ClientReceives(const std::string& datagram) {
    if (datagram == Cookie(Hello(fresh_hellos_))) {
      client_->HandleCookie(scheduler_.now());
    } else if (datagram.front() != kCookieByte) {
      client_->HandleDatagram(Bytes(datagram), scheduler_.now());
    }
    PumpClient();
  }

  void PumpClient() {
    ClassicClient& classic = *client_->classic();
    if (const auto wanted = classic.Wanted()) {
      std::ranges::copy(Bytes(content_).subspan(wanted->offset, wanted->room.size()),
                        wanted->room.begin());
      classic.Supplied();
    }
    while (const auto sent = client_->PollTransmit(out_, scheduler_.now())) {
      if (sent->bytes > std::max<std::size_t>(server_options_.buf_bytes, kStartBytes)) {
        scheduler_.Fail("a datagram is larger than the server's buffer");
      }
      fresh_hellos_ += sent->fresh ? 1 : 0;
      Transmit(true, sent->hello ? Hello(fresh_hellos_) : Text(std::span(out_).first(sent->bytes)));
    }
    PlanTimer(client_timer_, client_->NextDeadline(), [this] {
      client_->HandleTimeout(scheduler_.now());
      PumpClient();
    });
    if (client_->outcome() != Outcome::kRunning && !ended_) {
      ended_ = true;
      CheckOutcome();
    }
  }

  void CheckOutcome() {
    scheduler_.Trace("outcome {}", int(client_->outcome()));
    switch (client_->outcome()) {
      case Outcome::kClassicDone:
        if (completions_ == 0) scheduler_.Fail("the client takes for done what is not there");
        return;
      case Outcome::kFailed:
        // Two are enough: the server remembers a finished session for 1 s only, and so answers a
        // last message only twice.
        if (harm_ < 2) scheduler_.Fail("failed without a reason: " + client_->FailureText());
        return;
      case Outcome::kFast:
        if (peer_ == Peer::kClassicOnly) scheduler_.Fail("a classic server has no fast mode");
        // The first packet of the fast connection.
        scheduler_.After(one_way_,
                         [this] { Do(server_.DropSession(client_address_, scheduler_.now())); });
        return;
      case Outcome::kRunning:
        return;
    }
  }

  // ---- The server.

  void ServerReceives(const std::string& datagram) {
    const bool hello = datagram.front() == 'f' && peer_ != Peer::kClassicOnly;
    if (hello && peer_ == Peer::kFastOnly) return Transmit(false, Cookie(datagram));
    if (peer_ == Peer::kFastOnly) return;
    if (hello) {
      const auto answer = server_.HandleHello(client_address_, scheduler_.now());
      Do(answer.effects);
      if (answer.cookie) Transmit(false, Cookie(datagram));
      return;
    }
    const auto effects = server_.HandleDatagram(client_address_, Bytes(datagram), scheduler_.now());
    for (const auto& effect : effects) {
      const auto* send = std::get_if<ClassicServer::Send>(&effect);
      if (send != nullptr && send->size > datagram.size()) {
        scheduler_.Fail("an answer is larger than its datagram");
      }
    }
    Do(effects);
  }

  /// What storage has of a session.
  struct File {
    std::uint64_t total_bytes = 0;
    std::string bytes;
    bool complete = false;
  };

  void Do(ClassicServer::Effects effects) {
    std::optional<ClassicSession> waiting;
    for (const auto& effect : effects) {
      scheduler_.Trace("server: {}", Short(std::visit(EffectText(), effect)));
      if (const auto* create = std::get_if<ClassicServer::Create>(&effect)) {
        files_[create->session] = {create->total_bytes, "", false};
        waiting = create->session;
      } else if (const auto* append = std::get_if<ClassicServer::Append>(&effect)) {
        if (waiting_.contains(append->session)) scheduler_.Fail("two pieces for storage at once");
        files_.at(append->session).bytes += Text(append->bytes);
        waiting = append->session;
      } else if (const auto* complete = std::get_if<ClassicServer::Complete>(&effect)) {
        File& file = files_.at(complete->session);
        file.complete = true;
        if (file.bytes.size() != file.total_bytes) scheduler_.Fail("complete at the wrong size");
      } else if (const auto* discard = std::get_if<ClassicServer::Discard>(&effect)) {
        if (files_.erase(discard->session) != 1) scheduler_.Fail("nothing to discard");
      } else if (const auto* send = std::get_if<ClassicServer::Send>(&effect)) {
        Transmit(false, Text(send->bytes()));
      } else {
        scheduler_.Fail("nothing is refused here");
      }
    }
    if (waiting) Store(*waiting);
    PlanTimer(server_timer_, server_.NextDeadline(),
              [this] { Do(server_.HandleTimeout(scheduler_.now())); });
  }

  void Store(ClassicSession session) {
    if (storage_time_ == Duration(0)) return Stored(session);
    waiting_[session] = true;
    scheduler_.After(storage_time_, [this, session] {
      waiting_.erase(session);
      Stored(session);
    });
  }

  void Stored(ClassicSession session) {
    const auto file = files_.find(session);
    if (file != files_.end() && file->second.complete) {
      ++completions_;
      if (file->second.bytes != content_) scheduler_.Fail("the file arrived with other content");
      files_.erase(file);
    }
    Do(server_.Stored(session, scheduler_.now()));
  }

  // ---- At the end.

  void CheckEnd() {
    if (!ended_) scheduler_.Fail("the client never ends");
    if (server_.unfinished() != 0 || server_.NextDeadline() || server_.reserved_bytes() != 0) {
      scheduler_.Fail("the server keeps a session for ever");
    }
    if (!files_.empty()) scheduler_.Fail("something is left of an abandoned file");
    // An empty file is there with any start message, however late.
    if (completions_ > 1 && !content_.empty()) scheduler_.Fail("one file was completed twice");
    if (client_->outcome() == Outcome::kFast && completions_ > 0 && !content_.empty()) {
      scheduler_.Fail("the file is transferred in both modes");
    }
  }

  void PlanTimer(std::optional<sim::Scheduler::EventId>& timer, std::optional<TimePoint> deadline,
                 sim::Scheduler::Event event) {
    if (timer) scheduler_.Cancel(*timer);
    timer.reset();
    if (deadline) timer = scheduler_.At(*deadline, std::move(event));
  }

  static std::string Short(const std::string& text) { return EscapeBytes(text.substr(0, 40)); }

  static std::string Hello(int number) {
    std::string hello = fmt::format("f | 0 | {:02}", number);
    hello.resize(1200, ' ');
    return hello;
  }
  /// Says which hello it answers.
  static std::string Cookie(const std::string& hello) { return kCookieByte + hello.substr(8, 2); }

  static constexpr char kCookieByte = '\x80';
  static constexpr std::size_t kStartBytes = 20;
  sim::Scheduler scheduler_;
  const std::vector<Fault> no_faults_;
  const std::vector<Fault>& faults_;
  ClassicServer::Options server_options_;
  ClassicServer server_;
  double loss_ = 0;  ///< share, each way
  int fresh_hellos_ = 0;
  Peer peer_{};
  Duration one_way_{};
  Duration storage_time_{};
  std::string content_;
  const PeerAddress client_address_ = PeerAt(1, 1);
  std::optional<Discovery> client_;
  bool ended_ = false;
  std::map<ClassicSession, File> files_;    ///< invisible ones
  std::map<ClassicSession, bool> waiting_;  ///< for storage
  int completions_ = 0;
  std::array<std::uint64_t, 2> sent_{};  ///< datagrams to the client, to the server
  std::uint64_t harm_ = 0;               ///< datagrams lost or delayed
  std::optional<sim::Scheduler::EventId> client_timer_;
  std::optional<sim::Scheduler::EventId> server_timer_;
  std::vector<std::byte> out_ = std::vector<std::byte>(2048);
};

TEST(ClassicSimTest, TheFileArrivesAsItWasOrTheClientSaysThatTheServerIsMalfunctioning) {
  std::map<Outcome, int> outcomes;
  const sim::Experiment<Fault> experiment{
      .draw_faults = DrawFaults,
      .run =
          [&](std::uint64_t seed, const std::vector<Fault>& faults) {
            World world(seed, faults);
            sim::RunResult result = world.Run();
            ++outcomes[world.outcome()];
            return result;
          },
      .describe = Describe};
  const auto found = sim::Explore(experiment, sim::SeedsFromEnvironment(50'000));
  EXPECT_TRUE(found.ok) << found.report;
  if (found.runs < 1000) return;
  for (const Outcome outcome : {Outcome::kClassicDone, Outcome::kFast, Outcome::kFailed}) {
    EXPECT_GT(outcomes[outcome], 100) << "hardly ever seen: outcome " << int(outcome);
  }
}

TEST(ClassicSimTest, OurOwnEndsFindEachOtherOnALinkThatLosesHalf) {
  constexpr int kRuns = 2000;
  constexpr std::uint64_t kOneMessage = 500;
  for (const std::uint64_t bytes : {kOneMessage, std::uint64_t{100'000}}) {
    std::map<Outcome, int> outcomes;
    for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
      World world(seed, World::Lossy{bytes});
      const sim::RunResult result = world.Run();
      EXPECT_FALSE(result.failure) << "seed " << seed << ": " << *result.failure;
      ++outcomes[world.outcome()];
    }
    EXPECT_LE(outcomes[Outcome::kFailed], kRuns / 200) << bytes;
    // One message may have been acknowledged before any hello got through.
    const int fast_min = bytes > kOneMessage ? kRuns * 995 / 1000 : 1;
    EXPECT_GE(outcomes[Outcome::kFast], fast_min);
  }
}

}  // namespace
}  // namespace ds::udp_transfer
