#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compute/core/command.h"
#include "compute/core/reliable_broker.h"
#include "compute/core/reliable_client.h"
#include "compute/core/reliable_worker.h"
#include "tests/sim/explore.h"
#include "tests/sim/scheduler.h"

// Clients, a broker and workers in virtual time. Messages are lost, delayed (and so reordered) and
// duplicated, workers die and come back or fall asleep, the broker restarts.

namespace ds::compute {
namespace {

using namespace std::chrono_literals;

struct Fault {
  enum class Kind { kLose, kDuplicate, kDelay, kKillWorker, kPauseWorker, kRestartBroker };
  Kind kind;
  std::uint64_t message;  ///< the n-th of all; of the first three kinds
  Duration time;          ///< of the delay or the duplicate; since the begin, of the other kinds
  std::size_t worker;
  Duration length;  ///< until it comes back
};

constexpr std::size_t kWorkers = 3;
constexpr std::size_t kClients = 2;
constexpr int kRequests = 30;  ///< of each client
constexpr Duration kAsking = 12s;

std::vector<Fault> DrawFaults(Rng& rng) {
  std::vector<Fault> faults;
  constexpr std::array<double, 4> kShares = {0, 0.01, 0.1, 0.4};
  const double share = kShares[rng.Below(kShares.size())];
  for (std::uint64_t i = 0; i < 600; ++i) {
    if (!rng.Bernoulli(share)) continue;
    faults.push_back({.kind = static_cast<Fault::Kind>(rng.Below(3)),
                      .message = i,
                      .time = rng.Between(Duration(1ms), Duration(3s)),
                      .worker = 0,
                      .length = {}});
  }
  for (std::uint64_t i = rng.Below(6); i > 0; --i) {
    faults.push_back({.kind = static_cast<Fault::Kind>(3 + rng.Below(3)),
                      .message = 0,
                      .time = rng.Between(Duration(0), kAsking),
                      .worker = rng.Below(kWorkers),
                      .length = rng.Between(Duration(1ms), Duration(6s))});
  }
  return faults;
}

std::string Describe(const Fault& fault) {
  constexpr std::array<std::string_view, 6> kKinds = {"lose",        "duplicate",    "delay",
                                                      "kill worker", "pause worker", "restart"};
  return fmt::format("{}: message {}, {} ms, worker {}, {} ms", kKinds[std::size_t(fault.kind)],
                     fault.message, fault.time / 1ms, fault.worker, fault.length / 1ms);
}

class World {
 public:
  World(std::uint64_t seed, const std::vector<Fault>& faults)
      : scheduler_(seed), faults_(faults), workers_(kWorkers), clients_(kClients) {}

  sim::RunResult Run() {
    StartBroker();
    for (std::size_t i = 0; i < kWorkers; ++i) StartWorker(i);
    for (std::size_t i = 0; i < kClients; ++i) StartClient(i);
    for (const Fault& fault : faults_) {
      if (fault.kind >= Fault::Kind::kKillWorker) {
        scheduler_.After(fault.time, [this, fault] { Happen(fault); });
      }
    }
    scheduler_.Run(scheduler_.now() + 60s);
    std::size_t results = 0;
    for (const ClientProcess& client : clients_) {
      results += client.results;
      if (client.core->open() != 0) scheduler_.Fail("a request is open for ever");
    }
    if (results != kClients * kRequests) scheduler_.Fail("a request has no result");
    if (broker_->open() != 0) scheduler_.Fail("the broker has not closed a request");
    if (faults_.empty() && done_ != kClients * kRequests) {
      scheduler_.Fail("without a fault, all are answered");
    }
    return scheduler_.Result();
  }

  std::size_t done() const { return done_; }

 private:
  struct WorkerProcess {
    std::optional<ReliableWorker> core;  ///< none: dead
    std::string peer{};
    TimePoint asleep_until{};
    std::uint64_t life = 0;
  };
  struct ClientProcess {
    std::optional<ReliableClient> core;
    std::string peer{};
    std::map<std::uint64_t, std::pair<std::string, TimePoint>> asked{};  ///< line, when
    std::size_t results = 0;
  };

  // ---- The network. A connection has a name; one that is gone gets nothing.

  void Transmit(std::function<void()> arrive) {
    Duration delay = scheduler_.rng().Between(Duration(50us), 2ms);
    const std::uint64_t number = messages_++;
    for (const Fault& fault : faults_) {
      if (fault.kind >= Fault::Kind::kKillWorker || fault.message != number) continue;
      if (fault.kind == Fault::Kind::kLose) return;
      if (fault.kind == Fault::Kind::kDelay) delay += fault.time;
      if (fault.kind == Fault::Kind::kDuplicate) scheduler_.After(delay + fault.time, arrive);
    }
    scheduler_.After(delay, std::move(arrive));
  }

  void ToBroker(const std::string& peer, const ReliableMessage& message) {
    Transmit([this, peer, frames = EncodeReliable(message)] {
      scheduler_.Trace("{} -> {}", peer, int(frames[1][0]));
      broker_->HandleFrames(peer, frames, scheduler_.now());
      PumpBroker();
    });
  }

  void ToPeer(const std::string& peer, const ReliableMessage& message) {
    Transmit([this, peer, frames = EncodeReliable(message)] {
      scheduler_.Trace("{} <- {}", peer, int(frames[1][0]));
      for (std::size_t i = 0; i < kWorkers; ++i) {
        if (workers_[i].peer == peer && workers_[i].core) WorkerHears(i, frames);
      }
      for (std::size_t i = 0; i < kClients; ++i) {
        if (clients_[i].peer != peer) continue;
        clients_[i].core->HandleFrames(frames, scheduler_.now());
        PumpClient(i);
      }
    });
  }

  bool Connected(const std::string& peer) const {
    return std::ranges::any_of(workers_, [&](const auto& w) { return w.core && w.peer == peer; }) ||
           std::ranges::any_of(clients_, [&](const auto& c) { return c.peer == peer; });
  }

  // ---- The broker.

  void StartBroker() {
    ReliableBroker::Options options;
    options.first_tag = scheduler_.rng().Next() >> 1U;
    broker_.emplace(options);
  }

  void PumpBroker() {
    for (auto output = broker_->TakeOutput(); !output.empty(); output = broker_->TakeOutput()) {
      for (const Envelope& envelope : output) {
        Check(envelope);
        if (Connected(envelope.peer)) {
          ToPeer(envelope.peer, envelope.message);
        } else {
          broker_->HandlePeerGone(envelope.peer, scheduler_.now());
        }
      }
    }
    Arm(broker_timer_, broker_->NextDeadline(), [this] {
      broker_->HandleTimeout(scheduler_.now());
      PumpBroker();
    });
  }

  /// One life of the broker has one answer for an id, and asks no worker once it was sent.
  void Check(const Envelope& envelope) {
    if (const auto* answer = std::get_if<AnswerMessage>(&envelope.message)) {
      const auto [found, first] = answers_.emplace(answer->id, *answer);
      if (found->second != *answer) scheduler_.Fail("two answers for one id");
      if (first && answer->status == AnswerStatus::kDone) answered_bodies_[answer->body]++;
    }
    const auto* work = std::get_if<WorkMessage>(&envelope.message);
    if (work == nullptr) return;
    const auto command = ParseCommand(work->body);
    if (!command.ok()) {
      scheduler_.Fail("a worker is given what nobody asked");
    } else if (answered_bodies_.contains(command->Answer())) {
      scheduler_.Fail("a request is computed again after its answer");  // no two are equal
    }
  }

  // ---- Workers.

  void StartWorker(std::size_t i) {
    workers_[i].core.emplace(
        ReliableWorker::Options{.service = "isprime", .capacity = static_cast<std::uint8_t>(1 + i)},
        scheduler_.now());
    ++workers_[i].life;
    PumpWorker(i);
  }

  void WorkerHears(std::size_t i, const Frames& frames) {
    WorkerProcess& worker = workers_[i];
    if (worker.asleep_until > scheduler_.now()) {  // it waits in the socket
      scheduler_.At(worker.asleep_until, [this, i, frames, peer = worker.peer] {
        if (workers_[i].core && workers_[i].peer == peer) WorkerHears(i, frames);
      });
      return;
    }
    worker.core->HandleFrames(frames, scheduler_.now());
    PumpWorker(i);
  }

  void PumpWorker(std::size_t i) {
    WorkerProcess& worker = workers_[i];
    for (auto output = worker.core->TakeOutput(); !output.empty();
         output = worker.core->TakeOutput()) {
      if (output.reconnect) worker.peer = fmt::format("worker {}.{}", i, ++connections_);
      for (const ReliableMessage& message : output.to_broker) ToBroker(worker.peer, message);
      for (const WorkMessage& work : output.work) {
        const Duration time = scheduler_.rng().Between(Duration(10us), 40ms);
        scheduler_.After(time, [this, i, work, life = worker.life] { Compute(i, work, life); });
      }
    }
    Arm(worker_timers_[i], worker.core->NextDeadline(), [this, i] { WorkerTimer(i); });
  }

  void Compute(std::size_t i, const WorkMessage& work, std::uint64_t life) {
    WorkerProcess& worker = workers_[i];
    if (!worker.core || worker.life != life) return;
    if (worker.asleep_until > scheduler_.now()) {
      scheduler_.At(worker.asleep_until, [this, i, work, life] { Compute(i, work, life); });
      return;
    }
    worker.core->Finish({work.tag, AnswerStatus::kDone, ParseCommand(work.body)->Answer()});
    PumpWorker(i);
  }

  void WorkerTimer(std::size_t i) {
    WorkerProcess& worker = workers_[i];
    if (!worker.core) return;
    if (worker.asleep_until > scheduler_.now()) {
      Arm(worker_timers_[i], worker.asleep_until, [this, i] { WorkerTimer(i); });
      return;
    }
    worker.core->HandleTimeout(scheduler_.now());
    PumpWorker(i);
  }

  // ---- Clients.

  void StartClient(std::size_t i) {
    clients_[i].core.emplace(ReliableClient::Options{}, fmt::format("nonce-{:02}", i),
                             scheduler_.now());
    for (int n = 0; n < kRequests; ++n) {
      const std::size_t number = 1000 * (i + 1) + static_cast<std::size_t>(n);
      scheduler_.After(scheduler_.rng().Between(Duration(0), kAsking), [this, i, number] {
        const std::string line = fmt::format("isprime {}", number);
        const auto asked = clients_[i].core->Ask("isprime", line, scheduler_.now());
        if (!asked.ok()) return scheduler_.Fail(Message(asked.status()));
        clients_[i].asked[*asked] = {line, scheduler_.now()};
        PumpClient(i);
      });
    }
  }

  void PumpClient(std::size_t i) {
    ClientProcess& client = clients_[i];
    for (auto output = client.core->TakeOutput(); !output.empty();
         output = client.core->TakeOutput()) {
      if (output.reconnect) client.peer = fmt::format("client {}.{}", i, ++connections_);
      for (const ReliableMessage& message : output.to_broker) ToBroker(client.peer, message);
      for (const ReliableClient::Result& result : output.results) {
        const auto asked = client.asked.find(result.number);
        if (asked == client.asked.end()) return scheduler_.Fail("two results for one request");
        if (scheduler_.now() - asked->second.second > 10s) scheduler_.Fail("a result came late");
        if (result.status == AnswerStatus::kDone) {
          ++done_;
          if (!IsAnswerTo(asked->second.first, result.body)) scheduler_.Fail("a wrong answer");
        }
        scheduler_.Trace("result {} {}", asked->second.first,
                         result.status ? int(*result.status) : -1);
        client.asked.erase(asked);
        ++client.results;
      }
    }
    Arm(client_timers_[i], client.core->NextDeadline(), [this, i] {
      clients_[i].core->HandleTimeout(scheduler_.now());
      PumpClient(i);
    });
  }

  // ---- Faults.

  void Happen(const Fault& fault) {
    scheduler_.Trace("fault: {}", Describe(fault));
    WorkerProcess& worker = workers_[fault.worker];
    if (fault.kind == Fault::Kind::kPauseWorker) {
      worker.asleep_until = scheduler_.now() + fault.length;
    } else if (fault.kind == Fault::Kind::kKillWorker && worker.core) {
      worker.core.reset();
      scheduler_.After(fault.length, [this, i = fault.worker] {
        if (!workers_[i].core) StartWorker(i);
      });
    } else if (fault.kind == Fault::Kind::kRestartBroker) {
      StartBroker();
      answers_.clear();
      answered_bodies_.clear();
    }
  }

  using Timer = std::optional<sim::Scheduler::EventId>;
  void Arm(Timer& timer, std::optional<TimePoint> when, sim::Scheduler::Event event) {
    if (timer) scheduler_.Cancel(*timer);
    timer.reset();
    if (when) timer = scheduler_.At(*when, std::move(event));
  }

  sim::Scheduler scheduler_;
  const std::vector<Fault> faults_;
  std::optional<ReliableBroker> broker_;
  std::vector<WorkerProcess> workers_;
  std::vector<ClientProcess> clients_;
  Timer broker_timer_;
  std::array<Timer, kWorkers> worker_timers_;
  std::array<Timer, kClients> client_timers_;
  std::uint64_t messages_ = 0;
  std::uint64_t connections_ = 0;
  std::size_t done_ = 0;
  // Of the present life of the broker.
  std::map<std::string, AnswerMessage> answers_;
  std::map<std::string, int> answered_bodies_;
};

TEST(ReliableSimTest, EveryRequestHasOneResultInBoundedTime) {
  std::uint64_t done = 0;
  const sim::Experiment<Fault> experiment{
      .draw_faults = DrawFaults,
      .run =
          [&](std::uint64_t seed, const std::vector<Fault>& faults) {
            World world(seed, faults);
            sim::RunResult result = world.Run();
            done += world.done();
            return result;
          },
      .describe = Describe};
  const auto found = sim::Explore(experiment, sim::SeedsFromEnvironment(1000));
  EXPECT_TRUE(found.ok) << found.report;
  // Most are answered all the same: what is not, is so because all the workers were away.
  EXPECT_GT(done, found.runs * kClients * kRequests * 9 / 10);
}

}  // namespace
}  // namespace ds::compute
