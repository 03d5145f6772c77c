// FillTable with everything around it: a cache that executes its actions, workers with clients, and
// an origin; messages take their time; processes die, stop and wake up again.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ipc_proxy_cache/core/fill_table.h"
#include "tests/ipc_proxy_cache/fill_actions.h"
#include "tests/sim/explore.h"
#include "tests/sim/scheduler.h"

namespace ds::ipc_proxy_cache {
namespace {

using namespace std::chrono_literals;

constexpr int kWorkersMax = 4;
constexpr Duration kForever = 1000s;

/// Mistakes of the shell around the table, each of which the simulation has to find.
enum class Bug {
  kNone,
  kTermsIgnored,      ///< the cache takes what a former leader says for the present one's word
  kSilenceUnnoticed,  ///< the cache never calls HandleTimeout()
  kLinkEndUnnoticed,  ///< the cache never calls HandleLinkEnd()
  kPurgedPublished,   ///< the cache publishes what was purged while it was filled
  kBrokenPublished,   ///< the cache publishes what it has got of a broken fill
  kVersionsMixed,     ///< a promoted worker does not compare the origin's version
  kResumedTooLate,    ///< a promoted worker leaves a byte out
  kLeaveForgotten,    ///< a worker does not say that its clients have left
  kEndForgotten,      ///< the cache tells nobody that a fill has ended
};

struct Fault {
  enum class Kind {
    kKillLeader,
    kStopLeader,
    kLeaderClientsLeave,
    kKill,
    kStop,
    kClientsLeave,
    kStopCache,
    kPurge,  ///< of a new version, as purges mostly are
    kNewVersion,
    kCut,  ///< the origin breaks off all it is sending
  };
  static constexpr int kKinds = 10;

  std::uint64_t step = 0;
  Kind kind{};
  int who = 0;  ///< worker, or key
  Duration duration{};
};

std::string Describe(const Fault& fault) {
  static constexpr std::array<const char*, Fault::kKinds> kNames = {"the leader is killed",
                                                                    "the leader is stopped",
                                                                    "the leader's clients leave",
                                                                    "a worker is killed",
                                                                    "a worker is stopped",
                                                                    "a worker's clients leave",
                                                                    "the cache is stopped",
                                                                    "purge",
                                                                    "new version",
                                                                    "the origin breaks off"};
  return fmt::format("step {}: {}, number {}, {} ms", fault.step,
                     kNames.at(static_cast<std::size_t>(fault.kind)), fault.who,
                     fault.duration / 1ms);
}

/// A body as it lies in the cache's memory. Only the cache appends.
struct Object {
  int version = 0;
  std::uint64_t length = 0;
  std::vector<int> bytes;
};
using ObjectPtr = std::shared_ptr<Object>;
/// What the index has for a key: an object, or nothing for a negative answer.
struct Entry {
  ObjectPtr object;
};

/// What an origin's byte is: different at each place and in each version.
int ByteAt(int version, std::uint64_t offset) { return version * 1000 + static_cast<int>(offset); }

enum class Share { kYes, kNo, kNegative };

struct OriginKey {
  Share share{};
  bool ranges = false;
  int version = 1;
  std::uint64_t base_length = 0;
  int fetches = 0;
  int purged_version = 0;  ///< nothing older may enter the index

  std::uint64_t Length(int of_version) const {
    return base_length == 0 ? 0 : base_length + static_cast<std::uint64_t>(of_version) % 3;
  }
};

struct Client {
  enum class End { kNone, kComplete, kBroken, kNegative, kLeft, kDied };
  std::string key;
  int version = 0;  ///< of its first byte
  std::uint64_t got = 0;
  End end = End::kNone;
};

/// A process that can be stopped: what reaches it meanwhile happens when it wakes up.
class Process {
 public:
  void Receive(const std::function<void()>& what) {
    if (stopped_) {
      backlog_.push_back(what);
    } else {
      what();
    }
  }
  void Stop() { stopped_ = true; }
  void WakeUp() {
    stopped_ = false;
    while (!stopped_ && !backlog_.empty()) {
      const auto what = std::move(backlog_.front());
      backlog_.pop_front();
      what();
    }
  }
  bool stopped() const { return stopped_; }

 private:
  bool stopped_ = false;
  std::deque<std::function<void()>> backlog_;
};

class World {
 public:
  World(std::uint64_t seed, std::vector<Fault> faults, Bug bug)
      : bug_(bug), faults_(std::move(faults)), scheduler_(seed) {
    Rng& rng = scheduler_.rng();
    const auto worker_count = static_cast<int>(rng.Between(2, kWorkersMax));
    for (int i = 0; i < worker_count; ++i) AddWorker();
    const auto key_count = static_cast<int>(rng.Between(1, 2));
    for (int i = 0; i < key_count; ++i) {
      OriginKey& key = origin_[KeyName(i)];
      const std::uint64_t share = rng.Below(10);
      key.share = share == 0 ? Share::kNo : share == 1 ? Share::kNegative : Share::kYes;
      key.ranges = rng.Bernoulli(0.7);
      key.base_length = rng.Bernoulli(0.1) ? 0 : static_cast<std::uint64_t>(rng.Between(1, 12));
    }
    slow_ = rng.Bernoulli(0.3);
    const auto clients = static_cast<int>(rng.Between(2, 12));
    for (int i = 0; i < clients; ++i) {
      const Duration when = rng.Bernoulli(0.5) ? 0ms : rng.Between(0ms, 3s);
      const auto slot = static_cast<std::size_t>(rng.Below(workers_.size()));
      const std::string key = KeyName(static_cast<int>(rng.Below(origin_.size())));
      scheduler_.After(when, [this, slot, key] {
        Worker& worker = *workers_.at(slot);
        worker.process.Receive([this, &worker, key] { Arrive(worker, key); });
      });
    }
  }

  sim::RunResult Run() {
    RunUntilQuiet([this] {
      for (const Fault& fault : faults_) {
        if (fault.step == scheduler_.steps()) Suffer(fault);
      }
    });
    // Some are stopped still; all others have come to an end without them.
    ExpectEnds("while others are stopped");
    for (const auto& worker : workers_) worker->process.WakeUp();
    RunUntilQuiet([] {});
    ExpectEnds("after all have woken up");
    if (scheduler_.failed()) return scheduler_.Result();
    Expect(table_.fills() == 0, "a fill is left that nobody waits for");
    Expect(objects_.empty() && leaders_.empty(), "an object is left that nobody fills");
    Expect(followers_.empty(), "somebody was not told of the end");
    if (faults_.empty()) ExpectUndisturbed();
    for (std::size_t slot = 0; slot < workers_.size(); ++slot) Kill(slot, false);
    RunUntilQuiet([] {});
    Expect(table_.links() == 0, "a link is left");
    Expect(!table_.NextDeadline().has_value(), "a deadline is left");
    return scheduler_.Result();
  }

 private:
  /// What a worker knows of a key that its clients wait for.
  struct Part {
    enum class State { kWanting, kFollowing, kLeading, kAlone };
    State state = State::kWanting;
    FillId fill{};
    Term term{};
    ObjectPtr object;
    std::uint64_t filled = 0;    ///< of the object, as far as this worker was told
    std::uint64_t transfer = 0;  ///< from the origin; 0: none
    Object body;                 ///< of a transfer that is for INSERT, or for this worker alone
    bool insert = false;
    std::vector<std::size_t> clients;
  };
  struct Worker {
    LinkId link{};
    Process process;
    bool dead = false;
    bool alive_planned = false;
    TimePoint up_until;    ///< when its last message arrives; they keep their order
    TimePoint down_until;  ///< the same for messages to it
    std::map<std::string, Part> parts;
    std::vector<std::size_t> clients;  ///< all it ever had
  };

  static std::string KeyName(int number) { return fmt::format("key{}", number); }
  void Expect(bool holds, std::string_view what) {
    if (!holds) scheduler_.Fail(what);
  }
  Duration Delay() { return scheduler_.rng().Between(10us, slow_ ? 40ms : 2ms); }

  void RunUntilQuiet(const std::function<void()>& after_step) {
    const auto end = scheduler_.Run(scheduler_.now() + 60s, scheduler_.steps() + 20'000, [&] {
      after_step();
      PlanTimeout();
    });
    if (end == sim::Scheduler::End::kStepLimit) scheduler_.Fail("it goes on and on");
  }

  // ---- Faults.

  void Suffer(const Fault& fault) {
    scheduler_.Trace("FAULT {}", Describe(fault));
    const auto leader = LeaderOf(static_cast<std::size_t>(fault.who));
    const std::size_t slot = static_cast<std::size_t>(fault.who) % workers_.size();
    const std::string key = KeyName(fault.who % static_cast<int>(origin_.size()));
    switch (fault.kind) {
      case Fault::Kind::kKillLeader:
        if (leader) Kill(*leader, true);
        break;
      case Fault::Kind::kStopLeader:
        if (leader) Stop(workers_.at(*leader)->process, fault.duration);
        break;
      case Fault::Kind::kLeaderClientsLeave:
        if (leader) ClientsLeave(*workers_.at(*leader));
        break;
      case Fault::Kind::kKill:
        Kill(slot, true);
        break;
      case Fault::Kind::kStop:
        Stop(workers_.at(slot)->process, fault.duration);
        break;
      case Fault::Kind::kClientsLeave:
        ClientsLeave(*workers_.at(slot));
        break;
      case Fault::Kind::kStopCache:
        Stop(cache_, std::min<Duration>(fault.duration, 3s));
        break;
      case Fault::Kind::kNewVersion:
        ++origin_.at(key).version;
        break;
      case Fault::Kind::kPurge:
        cache_.Receive([this, key, version = ++origin_.at(key).version] {
          origin_.at(key).purged_version = version;
          table_.HandlePurge(key);
          for (const auto& [fill, its_leader] : leaders_) {
            if (keys_.at(fill) == key) purged_.insert(fill);
          }
          index_.erase(key);
          Execute();
        });
        break;
      case Fault::Kind::kCut:
        ++cuts_;
        break;
    }
  }

  /// Where the link lives that leads the n-th fill, if it is not dead.
  std::optional<std::size_t> LeaderOf(std::size_t n) const {
    if (leaders_.empty()) return std::nullopt;
    const auto fill = std::next(leaders_.begin(), static_cast<std::ptrdiff_t>(n % leaders_.size()));
    for (std::size_t slot = 0; slot < workers_.size(); ++slot) {
      if (workers_[slot]->link == fill->second.first) return slot;
    }
    return std::nullopt;
  }

  void Stop(Process& process, Duration duration) {
    if (process.stopped()) return;
    process.Stop();
    if (duration == kForever) return;
    scheduler_.After(duration, [&process] { process.WakeUp(); });
  }

  void AddWorker() {
    workers_.push_back(std::make_unique<Worker>());
    workers_.back()->link = LinkId{++last_link_};
  }

  void Kill(std::size_t slot, bool restart) {
    Worker& worker = *workers_.at(slot);
    worker.dead = true;
    for (const std::size_t client : worker.clients) EndClient(client, Client::End::kDied);
    const LinkId link = worker.link;
    SendUp(worker, [this, link] {
      std::erase_if(followers_, [link](const auto& item) { return item.first.first == link; });
      if (bug_ != Bug::kLinkEndUnnoticed) table_.HandleLinkEnd(link);
    });
    AddWorker();
    std::swap(workers_.at(slot), workers_.back());
    graves_.push_back(std::move(workers_.back()));  // events refer to it
    workers_.pop_back();
    if (!restart) workers_.at(slot)->dead = true;
  }

  void ClientsLeave(Worker& worker) {
    for (const std::size_t client : worker.clients) EndClient(client, Client::End::kLeft);
    worker.process.Receive([this, &worker] {
      if (worker.dead) return;
      for (auto it = worker.parts.begin(); it != worker.parts.end();) {
        Part& part = it->second;
        if (!Abandoned(part) || part.state == Part::State::kWanting) {
          ++it;
          continue;
        }
        if (part.state != Part::State::kAlone) Leave(worker, part.fill);
        it = worker.parts.erase(it);
      }
    });
  }

  // ---- Channels.

  void SendUp(Worker& worker, const std::function<void()>& what) {
    worker.up_until = std::max(worker.up_until, scheduler_.now() + Delay());
    scheduler_.At(worker.up_until, [this, what] {
      cache_.Receive([this, what] {
        what();
        Execute();
      });
    });
  }

  void SendDown(LinkId link, const std::function<void(Worker&)>& what) {
    for (const auto& candidate : workers_) {
      if (candidate->link != link) continue;
      Worker& worker = *candidate;
      worker.down_until = std::max(worker.down_until, scheduler_.now() + Delay());
      scheduler_.At(worker.down_until, [&worker, what] {
        worker.process.Receive([&worker, what] {
          if (!worker.dead) what(worker);
        });
      });
    }
  }

  // ---- The cache.

  void PlanTimeout() {
    if (cache_.stopped() || bug_ == Bug::kSilenceUnnoticed) return;
    const auto deadline = table_.NextDeadline();
    if (deadline == planned_for_) return;
    if (planned_for_) (void)scheduler_.Cancel(planned_);
    planned_for_ = deadline;
    if (!deadline) return;
    planned_ = scheduler_.At(*deadline, [this] {
      planned_for_.reset();
      if (cache_.stopped()) return;  // it looks when it wakes up, after it has read its messages
      table_.HandleTimeout(scheduler_.now());
      Execute();
    });
  }

  /// A message that only a fill's leader may send. `count` is called if it counts.
  void FromLeader(LinkId link, FillId fill, Term term,
                  const std::function<void(LinkId, Term, const FillTable::LedFill*)>& handle) {
    const auto current = leaders_.find(fill);
    if (bug_ == Bug::kTermsIgnored && current != leaders_.end()) {
      std::tie(link, term) = current->second;
    }
    const bool counts = current != leaders_.end() && current->second == std::pair(link, term);
    const auto led = table_.FindLed(link, fill, term);
    Expect(led.has_value() == counts, "the table is wrong about who leads");
    const auto filled = Filled(fill);
    handle(link, term, led ? &*led : nullptr);
    Execute();  // it may have been the first word of a silent link, which leads now
    if (!counts) Expect(Filled(fill) == filled, "a message of a former leader had an effect");
  }
  std::optional<std::uint64_t> Filled(FillId fill) const {
    const auto current = leaders_.find(fill);
    if (current == leaders_.end()) return std::nullopt;
    const auto led = table_.FindLed(current->second.first, fill, current->second.second);
    return led ? std::optional(led->filled) : std::nullopt;
  }

  void Execute() {
    for (const FillAction& action : table_.TakeActions()) {
      scheduler_.Trace("cache: {}", ipc_proxy_cache::Describe(action));
      std::visit([this](const auto& a) { Do(a); }, action);
    }
  }
  void Do(const fill_action::Found& a) {
    SendDown(a.link, [this, a](Worker& w) { OnFound(w, a.request); });
  }
  void Do(const fill_action::Pass& a) {
    SendDown(a.link, [this, a](Worker& w) {
      if (const auto it = Wanting(w, a.request); it != w.parts.end()) GoAlone(w, it->first);
    });
  }
  void Do(const fill_action::Lead& a) {
    Expect(leaders_.emplace(a.fill, std::pair(a.link, a.term)).second, "a fill begins twice");
    keys_[a.fill] = requests_.at(static_cast<std::size_t>(a.request));
    SendDown(a.link, [this, a](Worker& w) { OnLead(w, a); });
  }
  void Do(const fill_action::Follow& a) {
    Expect(leaders_.contains(a.fill), "somebody follows a fill that is over");
    Expect(!purged_.contains(a.fill), "somebody follows a fill that began before the purge");
    Expect(followers_.try_emplace({a.link, a.fill}).second, "a link follows a fill twice");
    SendDown(a.link, [this, a](Worker& w) { OnFollow(w, a); });
  }
  void Do(const fill_action::Begun& a) {
    SendDown(a.link,
             [this, a, object = objects_.at(a.fill)](Worker& w) { OnBegun(w, a.fill, object); });
  }
  void Do(const fill_action::Progress& a) {
    Expect(a.filled == objects_.at(a.fill)->bytes.size(), "Progress names another size");
    const auto follower = followers_.find({a.link, a.fill});
    if (follower == followers_.end()) return scheduler_.Fail("Progress for no follower");
    Expect(!follower->second, "Progress for a link that has not read the last one");
    follower->second = a.filled;
    SendDown(a.link, [this, a](Worker& w) { OnProgress(w, a); });
  }
  void Do(const fill_action::Promoted& a) {
    const auto it = leaders_.find(a.fill);
    if (it == leaders_.end()) return scheduler_.Fail("a leader for a fill that is over");
    Expect(a.term > it->second.second, "a term does not grow");
    it->second = {a.link, a.term};
    Expect(followers_.erase({a.link, a.fill}) == 1, "somebody is promoted who does not follow");
    SendDown(a.link, [this, a](Worker& w) { OnPromoted(w, a); });
  }
  void Do(const fill_action::Demoted& a) {
    Expect(followers_.try_emplace({a.link, a.fill}).second, "a follower is demoted");
    SendDown(a.link, [this, a](Worker& w) { OnDemoted(w, a.fill); });
  }
  void Do(const fill_action::Ended& a) {
    if (bug_ == Bug::kEndForgotten) return;
    Expect(!leaders_.contains(a.fill), "Ended before the fill is closed");
    followers_.erase({a.link, a.fill});
    SendDown(a.link, [this, a](Worker& w) { OnEnded(w, a.fill, a.end); });
  }
  void Do(const fill_action::CloseFill& a) {
    Expect(leaders_.erase(a.fill) == 1, "a fill ends twice");
    const auto object = objects_.find(a.fill);
    const std::string key = keys_.at(a.fill);
    const bool publish =
        a.publish || (bug_ == Bug::kPurgedPublished && a.end == FillEnd::kComplete) ||
        (bug_ == Bug::kBrokenPublished && a.end == FillEnd::kBroken && object != objects_.end());
    if (publish) Publish(key, object == objects_.end() ? nullptr : object->second);
    if (object != objects_.end()) objects_.erase(object);
  }
  void Do(const fill_action::EndLink& a) { scheduler_.Fail(a.reason); }

  void Publish(const std::string& key, const ObjectPtr& object) {
    const OriginKey& origin = origin_.at(key);
    if (object) {
      CheckWhole(key, object->version, object->bytes);
      Expect(object->version >= origin.purged_version, "an object is published that was purged");
    } else {
      Expect(origin.share == Share::kNegative, "a negative answer out of nothing");
    }
    index_[key] = {object};
  }

  void CheckWhole(const std::string& key, int version, const std::vector<int>& bytes) {
    Expect(bytes.size() == origin_.at(key).Length(version), "what was completed is not whole");
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      Expect(bytes[i] == ByteAt(version, i), "what was completed is not one version");
    }
  }

  // ---- Workers.

  void Arrive(Worker& worker, const std::string& key) {
    if (worker.dead) return;
    const std::size_t client = clients_.size();
    clients_.push_back({key});
    worker.clients.push_back(client);
    scheduler_.Trace("worker {}: client {} wants {}", static_cast<std::uint64_t>(worker.link),
                     client, key);
    if (ServeFromIndex(key, {client})) return;
    const auto [it, is_new] = worker.parts.try_emplace(key);
    it->second.clients.push_back(client);
    if (is_new) {
      SendWant(worker, it->first);
    } else {
      Serve(it->second);
    }
  }

  bool ServeFromIndex(const std::string& key, const std::vector<std::size_t>& clients) {
    const auto known = index_.find(key);
    if (known == index_.end()) return false;
    for (const std::size_t client : clients) {
      if (!known->second.object) {
        EndClient(client, Client::End::kNegative);
      } else {
        Deliver(client, *known->second.object, known->second.object->length);
        EndClient(client, Client::End::kComplete);
      }
    }
    return true;
  }

  /// Nothing stays of it but its clients.
  static void Restart(Part& part, Part::State state) {
    std::vector<std::size_t> clients = std::move(part.clients);
    part = Part();
    part.state = state;
    part.clients = std::move(clients);
  }

  void SendWant(Worker& worker, const std::string& key) {
    Part& part = worker.parts.at(key);
    Restart(part, Part::State::kWanting);
    requests_.push_back(key);
    const RequestId request{requests_.size() - 1};
    SendUp(worker, [this, link = worker.link, key, request] {
      table_.HandleWant(link, request, key, index_.contains(key), scheduler_.now());
    });
    PlanAlive(worker);
  }

  void PlanAlive(Worker& worker) {
    if (worker.alive_planned) return;
    worker.alive_planned = true;
    scheduler_.After(250ms, [this, &worker] {
      worker.process.Receive([this, &worker] {
        worker.alive_planned = false;
        if (worker.dead || worker.parts.empty()) return;
        SendUp(worker, [this, link = worker.link] { table_.HandleAlive(link, scheduler_.now()); });
        PlanAlive(worker);
      });
    });
  }

  void Leave(Worker& worker, FillId fill) {
    if (bug_ == Bug::kLeaveForgotten) return;
    SendUp(worker, [this, link = worker.link, fill] {
      table_.HandleLeave(link, fill, scheduler_.now());
      Execute();  // since the link was heard, it may be promoted before it leaves
      followers_.erase({link, fill});
    });
  }

  using Parts = std::map<std::string, Part>;
  Parts::iterator Wanting(Worker& worker, RequestId request) {
    const auto it = worker.parts.find(requests_.at(static_cast<std::size_t>(request)));
    Expect(it != worker.parts.end() && it->second.state == Part::State::kWanting,
           "an answer that nobody waits for");
    return it;
  }
  static Parts::iterator InFill(Worker& worker, FillId fill) {
    return std::find_if(worker.parts.begin(), worker.parts.end(), [&](const auto& item) {
      const Part::State state = item.second.state;
      return (state == Part::State::kFollowing || state == Part::State::kLeading) &&
             item.second.fill == fill;
    });
  }
  bool Abandoned(const Part& part) const {
    return std::none_of(part.clients.begin(), part.clients.end(),
                        [this](std::size_t i) { return clients_[i].end == Client::End::kNone; });
  }

  void OnFound(Worker& worker, RequestId request) {
    const auto it = Wanting(worker, request);
    if (it != worker.parts.end()) LookAgain(worker, it);
  }
  void LookAgain(Worker& worker, Parts::iterator it) {
    if (Abandoned(it->second) || ServeFromIndex(it->first, it->second.clients)) {
      worker.parts.erase(it);
    } else {
      SendWant(worker, it->first);
    }
  }
  void OnLead(Worker& worker, const fill_action::Lead& a) {
    const auto it = Wanting(worker, a.request);
    if (it == worker.parts.end()) return;
    it->second.state = Part::State::kLeading;
    it->second.fill = a.fill;
    it->second.term = a.term;
    if (Abandoned(it->second)) {
      Leave(worker, a.fill);
      worker.parts.erase(it);
    } else {
      Fetch(worker, it->first, 0);
    }
  }
  void OnFollow(Worker& worker, const fill_action::Follow& a) {
    const auto it = Wanting(worker, a.request);
    if (it == worker.parts.end()) return;
    it->second.state = Part::State::kFollowing;
    it->second.fill = a.fill;
    if (Abandoned(it->second)) {
      Leave(worker, a.fill);
      worker.parts.erase(it);
    }
  }
  void OnBegun(Worker& worker, FillId fill, const ObjectPtr& object) {
    const auto it = InFill(worker, fill);
    if (it == worker.parts.end()) return;  // it has left
    it->second.object = object;
    it->second.filled = object->bytes.size();
    Serve(it->second);
  }
  void OnProgress(Worker& worker, const fill_action::Progress& a) {
    SendUp(worker, [this, link = worker.link, fill = a.fill] {
      const auto follower = followers_.find({link, fill});
      const auto told =
          follower == followers_.end() ? std::nullopt : std::exchange(follower->second, {});
      table_.HandleProgressRead(link, fill, scheduler_.now());
      Execute();
      const auto now = followers_.find({link, fill});
      if (!told || now == followers_.end()) return;
      Expect(now->second || *told == objects_.at(fill)->bytes.size(), "a wake-up is lost");
    });
    OnFilled(worker, a.fill, a.filled);
  }
  void OnFilled(Worker& worker, FillId fill, std::uint64_t filled) {
    const auto it = InFill(worker, fill);
    if (it == worker.parts.end()) return;
    Expect(it->second.object != nullptr, "progress of an object that nobody has been told of");
    it->second.filled = std::max(it->second.filled, filled);
    Serve(it->second);
  }
  void OnPromoted(Worker& worker, const fill_action::Promoted& a) {
    const auto it = InFill(worker, a.fill);
    if (it == worker.parts.end()) return;  // its Leave is on the way
    Part& part = it->second;
    Expect(part.state == Part::State::kFollowing, "a leader is promoted");
    Expect((part.object != nullptr) == a.begun, "a promoted link has not been told of the object");
    Expect(!part.object || a.filled < part.object->length, "nothing is left to be fetched");
    part.state = Part::State::kLeading;
    part.term = a.term;
    Fetch(worker, it->first, a.filled + (bug_ == Bug::kResumedTooLate && a.begun ? 1 : 0));
  }
  void OnDemoted(Worker& worker, FillId fill) {
    const auto it = InFill(worker, fill);
    if (it == worker.parts.end()) return;
    it->second.state = Part::State::kFollowing;
    it->second.transfer = 0;
  }
  void OnEnded(Worker& worker, FillId fill, FillEnd end) {
    const auto it = InFill(worker, fill);
    if (it == worker.parts.end()) return;
    Part& part = it->second;
    Client::End how = Client::End::kBroken;
    switch (end) {
      case FillEnd::kFound:
        return LookAgain(worker, it);
      case FillEnd::kPass:
        return GoAlone(worker, it->first);
      case FillEnd::kComplete:
        if (!part.object) return scheduler_.Fail("complete, but nobody was told of the object");
        part.filled = part.object->length;
        Serve(part);
        how = Client::End::kComplete;
        break;
      case FillEnd::kNegative:
        how = Client::End::kNegative;
        break;
      case FillEnd::kBroken:
        break;
    }
    for (const std::size_t client : part.clients) EndClient(client, how);
    worker.parts.erase(it);
  }

  void GoAlone(Worker& worker, const std::string& key) {
    Part& part = worker.parts.at(key);
    Restart(part, Part::State::kAlone);
    Fetch(worker, key, 0);
  }

  /// All clients get what is there.
  void Serve(Part& part) {
    for (const std::size_t client : part.clients) {
      if (part.object) Deliver(client, *part.object, part.filled);
      if (part.state == Part::State::kAlone) Deliver(client, part.body, part.body.bytes.size());
    }
  }
  void Deliver(std::size_t index, const Object& object, std::uint64_t filled) {
    Client& client = clients_[index];
    if (client.end != Client::End::kNone) return;
    Expect(filled <= object.bytes.size(), "bytes are announced that are not there");
    if (scheduler_.failed()) return;
    if (client.version == 0) client.version = object.version;
    for (; client.got < filled; ++client.got) {
      Expect(object.bytes[client.got] == ByteAt(client.version, client.got),
             "a client gets a byte of another version or place");
    }
  }
  void EndClient(std::size_t index, Client::End end) {
    Client& client = clients_[index];
    if (client.end != Client::End::kNone) return;
    client.end = end;
    scheduler_.Trace("client {} ends ({}) with {} bytes", index, static_cast<int>(end), client.got);
    if (end == Client::End::kComplete) {
      Expect(client.got == origin_.at(client.key).Length(client.version),
             "a client that is complete has not got the whole");
    }
    if (end == Client::End::kNegative) {
      Expect(origin_.at(client.key).share == Share::kNegative, "a negative answer out of nothing");
    }
  }

  // ---- The origin, and workers that fetch from it.

  void Fetch(Worker& worker, const std::string& key, std::uint64_t from) {
    Part& part = worker.parts.at(key);
    const std::uint64_t transfer = part.transfer = ++last_transfer_;
    part.body = {};
    part.insert = false;
    OriginKey& origin = origin_.at(key);
    ++origin.fetches;
    scheduler_.Trace("worker {}: fetches {} from {}", static_cast<std::uint64_t>(worker.link), key,
                     from);
    const int wanted = part.object ? part.object->version : 0;
    scheduler_.After(2 * Delay(), [this, &worker, key, from, wanted, transfer, cuts = cuts_] {
      // The origin answers. The version is what it is now; a range is for the version wanted.
      const OriginKey& now = origin_.at(key);
      const bool same = wanted == now.version || (bug_ == Bug::kVersionsMixed && wanted != 0);
      const bool refuses = wanted != 0 && (!now.ranges || !same);
      ToFetcher(worker, key, transfer,
                [this, &worker, key, refuses, version = now.version, broken = cuts != cuts_] {
                  OnHead(worker, key, broken || refuses, version);
                });
      if (now.share != Share::kNegative) {
        PlanPiece(worker, key, transfer, now.version, wanted == 0 ? 0 : from, cuts);
      }
    });
  }

  void ToFetcher(Worker& worker, const std::string& key, std::uint64_t transfer,
                 const std::function<void()>& what) {
    worker.process.Receive([&worker, key, transfer, what] {
      const auto it = worker.parts.find(key);
      const bool wanted =
          !worker.dead && it != worker.parts.end() && it->second.transfer == transfer;
      if (wanted) what();
    });
  }

  void PlanPiece(Worker& worker, const std::string& key, std::uint64_t transfer, int version,
                 std::uint64_t from, int cuts) {
    scheduler_.After(scheduler_.rng().Between(20us, slow_ ? 400ms : 5ms), [=, this, &worker] {
      const std::uint64_t length = origin_.at(key).Length(version);
      const bool broken = cuts != cuts_;
      std::uint64_t to = from;
      if (!broken) {
        to = std::min(length, from + static_cast<std::uint64_t>(scheduler_.rng().Between(1, 4)));
      }
      ToFetcher(worker, key, transfer, [=, this, &worker] {
        if (from < to) OnBody(worker, key, version, from, to);
        if (broken || to >= length) OnFetched(worker, key, broken);
      });
      if (!broken && to < length) PlanPiece(worker, key, transfer, version, to, cuts);
    });
  }

  void SendEnd(Worker& worker, Part& part, FillEnd end) {
    part.transfer = 0;
    SendUp(worker, [this, link = worker.link, fill = part.fill, term = part.term, end] {
      FromLeader(link, fill, term, [&](LinkId l, Term t, const FillTable::LedFill*) {
        table_.HandleEnd(l, fill, t, end, scheduler_.now());
      });
    });
  }

  void OnHead(Worker& worker, const std::string& key, bool broken, int version) {
    Part& part = worker.parts.at(key);
    const OriginKey& origin = origin_.at(key);
    const bool leads = part.state == Part::State::kLeading;
    if (broken) return OnFetched(worker, key, true);
    if (origin.share == Share::kNegative) {
      if (leads) return SendEnd(worker, part, FillEnd::kNegative);
      for (const std::size_t client : part.clients) EndClient(client, Client::End::kNegative);
      worker.parts.erase(key);
      return;
    }
    part.body = {version, origin.Length(version), {}};
    if (!leads || part.object) return;
    if (origin.share == Share::kNo) return SendEnd(worker, part, FillEnd::kPass);
    part.insert = part.body.length <= 3;
    if (part.insert) return;
    SendUp(worker, [this, link = worker.link, fill = part.fill, term = part.term, version,
                    length = part.body.length] {
      FromLeader(link, fill, term, [&](LinkId l, Term t, const FillTable::LedFill* led) {
        if (led) MakeObject(fill, version, length);
        table_.HandleBegin(l, fill, t, length, scheduler_.now());
      });
    });
  }
  void MakeObject(FillId fill, int version, std::uint64_t length) {
    if (!objects_.contains(fill)) {
      objects_[fill] = std::make_shared<Object>(Object{version, length, {}});
    }
  }

  void OnBody(Worker& worker, const std::string& key, int version, std::uint64_t from,
              std::uint64_t to) {
    Part& part = worker.parts.at(key);
    std::vector<int> bytes;
    for (std::uint64_t i = from; i < to; ++i) bytes.push_back(ByteAt(version, i));
    if (part.state == Part::State::kAlone || part.insert) {
      part.body.bytes.insert(part.body.bytes.end(), bytes.begin(), bytes.end());
      return Serve(part);
    }
    SendUp(worker, [this, link = worker.link, fill = part.fill, term = part.term, from, bytes] {
      FromLeader(link, fill, term, [&](LinkId l, Term t, const FillTable::LedFill* led) {
        if (led && led->TakesData(from, bytes.size())) Append(fill, bytes);
        table_.HandleData(l, fill, t, from, bytes.size(), scheduler_.now());
      });
      const auto object = objects_.find(fill);  // TAKEN
      if (object == objects_.end()) return;
      SendDown(link, [this, fill, filled = object->second->bytes.size()](Worker& w) {
        if (const auto it = InFill(w, fill); it != w.parts.end() && it->second.object) {
          OnFilled(w, fill, filled);
        }
      });
    });
  }
  void Append(FillId fill, const std::vector<int>& bytes) {
    std::vector<int>& body = objects_.at(fill)->bytes;
    body.insert(body.end(), bytes.begin(), bytes.end());
  }

  void OnFetched(Worker& worker, const std::string& key, bool broken) {
    Part& part = worker.parts.at(key);
    if (part.state == Part::State::kAlone) {
      for (const std::size_t client : part.clients) {
        EndClient(client, broken ? Client::End::kBroken : Client::End::kComplete);
      }
      worker.parts.erase(key);
    } else if (broken) {
      SendEnd(worker, part, FillEnd::kBroken);
    } else if (part.insert) {
      SendInsert(worker, part);
    } else {
      SendEnd(worker, part, FillEnd::kComplete);
    }
  }

  void SendInsert(Worker& worker, Part& part) {
    part.transfer = 0;
    SendUp(worker,
           [this, link = worker.link, fill = part.fill, term = part.term, body = part.body] {
             FromLeader(link, fill, term, [&](LinkId l, Term t, const FillTable::LedFill* led) {
               const TimePoint now = scheduler_.now();
               if (!led || led->publish) {
                 if (led) Publish(keys_.at(fill), std::make_shared<Object>(body));
                 return table_.HandleInsert(l, fill, t, now);
               }
               MakeObject(fill, body.version, body.length);
               Append(fill, body.bytes);
               table_.HandleBegin(l, fill, t, body.length, now);
               if (body.length > 0) table_.HandleData(l, fill, t, 0, body.length, now);
               table_.HandleEnd(l, fill, t, FillEnd::kComplete, now);
             });
           });
  }

  // ---- What has to hold in the end.

  void ExpectEnds(std::string_view when) {
    if (scheduler_.failed()) return;
    for (const auto& worker : workers_) {
      if (worker->process.stopped()) continue;
      for (const std::size_t client : worker->clients) {
        if (clients_[client].end != Client::End::kNone) continue;
        scheduler_.Fail(fmt::format("client {} hangs {}", client, when));
      }
    }
  }
  void ExpectUndisturbed() {
    for (const auto& item : origin_) {
      const OriginKey& key = item.second;
      const bool wanted = std::any_of(clients_.begin(), clients_.end(), [&](const Client& client) {
        return client.key == item.first;
      });
      if (!wanted || key.share == Share::kNo) continue;
      Expect(key.fetches == 1, fmt::format("{} was fetched {} times", item.first, key.fetches));
    }
    for (const Client& client : clients_) {
      const bool negative = origin_.at(client.key).share == Share::kNegative;
      Expect(client.end == (negative ? Client::End::kNegative : Client::End::kComplete),
             "an undisturbed client did not get its answer");
    }
  }

  Bug bug_;
  std::vector<Fault> faults_;
  sim::Scheduler scheduler_;
  bool slow_ = false;

  Process cache_;
  FillTable table_{FillTable::Options()};
  std::map<FillId, ObjectPtr> objects_;                ///< of fills that have begun
  std::map<FillId, std::pair<LinkId, Term>> leaders_;  ///< by what the table has said
  std::map<FillId, std::string> keys_;
  std::set<FillId> purged_;
  /// By what the table has said: who follows, and the last Progress while it is unread.
  std::map<std::pair<LinkId, FillId>, std::optional<std::uint64_t>> followers_;
  std::map<std::string, Entry> index_;
  std::optional<TimePoint> planned_for_;
  sim::Scheduler::EventId planned_;

  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Worker>> graves_;
  std::uint64_t last_link_ = 0;
  std::vector<std::string> requests_;
  std::vector<Client> clients_;

  std::map<std::string, OriginKey> origin_;
  std::uint64_t last_transfer_ = 0;
  int cuts_ = 0;
};

std::vector<Fault> DrawFaults(Rng& rng) {
  std::vector<Fault> faults(rng.Below(7));
  for (Fault& fault : faults) {
    const std::uint64_t kind = rng.Below(Fault::kKinds + 4);
    // Leaders' faults are what this is about: they come more often.
    fault.kind = static_cast<Fault::Kind>(kind < Fault::kKinds ? kind : (kind - Fault::kKinds) / 2);
    fault.step = 1 + rng.Below(rng.Bernoulli(0.7) ? 60 : 250);
    fault.who = static_cast<int>(rng.Below(kWorkersMax));
    fault.duration = rng.Bernoulli(0.2) ? kForever : rng.Between(50ms, 4s);
  }
  return faults;
}

sim::Experiment<Fault> Coalescing(Bug bug) {
  return {.draw_faults = DrawFaults,
          .run = [bug](std::uint64_t seed,
                       const std::vector<Fault>& faults) { return World(seed, faults, bug).Run(); },
          .describe = [](const Fault& fault) { return Describe(fault); }};
}

TEST(FillTableSim, NobodyHangsAndNothingBrokenIsServedUnderFaults) {
  const auto found = sim::Explore(Coalescing(Bug::kNone), sim::SeedsFromEnvironment(20'000));
  EXPECT_TRUE(found.ok) << found.report;
  RecordProperty("steps", std::to_string(found.steps));
}

TEST(FillTableSim, UndisturbedKeyIsFetchedOnce) {
  sim::Experiment<Fault> experiment = Coalescing(Bug::kNone);
  experiment.draw_faults = [](Rng&) { return std::vector<Fault>(); };
  const auto found = sim::Explore(experiment, sim::SeedsFromEnvironment(1000));
  EXPECT_TRUE(found.ok) << found.report;
}

TEST(FillTableSim, EachFaultAtEachStepIsSurvived) {
  std::uint64_t runs = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const std::uint64_t steps =
        std::min<std::uint64_t>(World(seed, {}, Bug::kNone).Run().steps, 120);
    for (std::uint64_t step = 1; step <= steps; ++step) {
      for (int kind = 0; kind < Fault::kKinds; ++kind) {
        for (const Duration duration : {Duration(1500ms), Duration(kForever)}) {
          const Fault fault{step, static_cast<Fault::Kind>(kind), 0, duration};
          const sim::RunResult result = World(seed, {fault}, Bug::kNone).Run();
          ASSERT_EQ(result.failure, std::nullopt) << "seed " << seed << ", " << Describe(fault);
          ++runs;
        }
      }
    }
  }
  EXPECT_GT(runs, 3000U);
}

class FillTableSimBugs : public ::testing::TestWithParam<Bug> {};

TEST_P(FillTableSimBugs, PlantedBugIsFound) {
  const auto found = sim::Explore(Coalescing(GetParam()), {1, 500});
  ASSERT_FALSE(found.ok);
  EXPECT_LE(found.faults.size(), 3U) << found.report;
  RecordProperty("runs", std::to_string(found.runs));
}

INSTANTIATE_TEST_SUITE_P(Each, FillTableSimBugs,
                         ::testing::Values(Bug::kTermsIgnored, Bug::kSilenceUnnoticed,
                                           Bug::kLinkEndUnnoticed, Bug::kPurgedPublished,
                                           Bug::kBrokenPublished, Bug::kVersionsMixed,
                                           Bug::kResumedTooLate, Bug::kLeaveForgotten,
                                           Bug::kEndForgotten));

}  // namespace
}  // namespace ds::ipc_proxy_cache
