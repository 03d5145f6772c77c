#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "raft/sim/member.h"
#include "raft/sim/totals.h"
#include "tests/sim/history.h"
#include "tests/sim/kv_model.h"

namespace ds::raft {

/// Clients of a simulated cluster: each has one operation under way, asks the member that it takes
/// for the leader (gets: any), asks elsewhere when it is refused, and gives up after a while, not
/// knowing what became of its operation. Draws from a stream of its own. Single threaded.
class Clients {
 public:
  struct Options {
    std::uint64_t clients = 4;
    std::uint64_t keys = 5;
    std::uint64_t operations = 500;  ///< are begun until `end`, or somewhat more
    TimePoint end;
  };

  /// `members` may grow. `lost` is asked whether a message between client and member is.
  Clients(sim::Scheduler& scheduler, const std::vector<std::unique_ptr<Member>>& members,
          const Options& options, Totals& totals, std::uint64_t seed);

  void Start();
  /// Begin no more.
  void Stop() { stopped_ = true; }
  /// For so long they hardly think, and use few keys.
  void Hurry(Duration duration) { hurry_until_ = scheduler_.now() + duration; }
  void set_loss(double loss) { loss_ = loss; }

  const sim::History<sim::KvModel>& history() const { return history_; }
  std::uint64_t invoked() const { return history_.counters().invoked; }
  /// The newest begin among the writes that are done; nothing before the first.
  std::optional<TimePoint> newest_write() const { return newest_write_; }

 private:
  struct Client {
    std::uint64_t number = 0;
    std::uint64_t attempt = 0;  ///< of all its operations; what comes of earlier ones is ignored
    std::optional<sim::History<sim::KvModel>::Id> operation;
    sim::KvOp op;
    TimePoint begin;
    bool asked = false;  ///< a member may be executing it
    std::optional<sim::Scheduler::EventId> deadline;
    NodeId leader;
    std::map<std::string, std::optional<std::string>> seen;  ///< values, by key
  };

  void Think(Client* client);
  void Begin(Client* client);
  void Attempt(Client* client);
  void Heard(Client* client, std::uint64_t attempt, const Answer& answer);
  void Retry(Client* client, std::optional<NodeId> leader);
  void Done(Client* client, const sim::KvResult& result);
  void GiveUp(Client* client);
  Duration Delay() {
    return rng_.Between(std::chrono::microseconds(100), std::chrono::microseconds(1500));
  }
  NodeId AnyMember();

  sim::Scheduler& scheduler_;
  const std::vector<std::unique_ptr<Member>>& members_;
  const Options options_;
  Totals& totals_;
  Rng rng_;
  double loss_ = 0;
  bool stopped_ = false;
  TimePoint hurry_until_;
  std::vector<Client> clients_;
  std::uint64_t next_value_ = 1;
  std::optional<TimePoint> newest_write_;
  sim::History<sim::KvModel> history_;
};

}  // namespace ds::raft
