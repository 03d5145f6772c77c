#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/types.h"

namespace ds::raft {

/// A line of config.conf: a place for a member, with an address. One process at a time lives in it.
using Slot = StrongNumber<struct SlotTag>;

/// What the context of a member says where slots are used: "<slot> <address>".
struct MemberContext {
  Slot slot;
  std::string address;
  friend bool operator==(const MemberContext&, const MemberContext&) = default;
};
std::string EncodeMemberContext(const MemberContext& context);
std::optional<MemberContext> ParseMemberContext(std::string_view text);

/// Who lives in each slot.
using SlotView = std::map<Slot, NodeId>;

/// What a process says to the other slots before it is a member, and as a member while somebody
/// else is none.
struct Hello {
  enum class State : std::uint8_t {
    kEmpty,    ///< has no part in any cluster; `view`: whom it hears, if it hears all slots
    kLocked,   ///< will never be founder of another cluster than that of `view`
    kJoining,  ///< waits for the leader of a living cluster to take it in
    kMember,   ///< is a voter of the configuration with `voters`
  };
  std::uint64_t cluster = 0;  ///< equal for equal config.conf
  Slot slot = {};
  NodeId id = {};
  std::uint64_t time = 0;  ///< the sender's ticks; never falls
  State state = State::kEmpty;
  SlotView view = {};
  std::set<NodeId> voters = {};  ///< of a member's configuration, the outgoing ones too
  bool leader_known = false;     ///< to a member
  /// The latest that the sender got from each slot. Who finds its own id here knows that the sender
  /// was alive after that time of its own.
  struct Heard {
    NodeId id = {};
    std::uint64_t time = 0;
    friend bool operator==(const Heard&, const Heard&) = default;
  };
  std::map<Slot, Heard> heard = {};
  friend bool operator==(const Hello&, const Hello&) = default;
};

struct RendezvousOptions {
  std::map<Slot, std::string> addresses;  ///< all slots, the own one too; the same everywhere
  std::uint64_t hello_ticks = 100;        ///< between two hellos to the same slot
  std::uint64_t window_ticks = 1000;      ///< who was alive within it is taken for alive
  std::uint64_t patience_ticks = 1000;    ///< a hopeless state lasts this long before it is left

  absl::Status Validate() const;
};

/// How members without memory (raft-server --memory) find their cluster. A process that starts has
/// forgotten what its predecessor in the slot voted and stored. Were it the same member, two
/// leaders of one term and lost commits would follow, however long it waited. So each start is a
/// new member: it has an id that was never used, and comes into a cluster in one of two ways.
///
/// 1. Founding. When all slots hear each other and all are empty, they agree on the view {slot:
/// id},
///    which is the first configuration. A process *locks* a view when it is its own and everybody
///    in it says the same, and locks one view in its life; it *starts* when all of the view have
///    said that they locked it, or when a member counts it among its voters (which says the same).
///
///    No two clusters live at one time. Let V be a view in which somebody started, so all of V
///    locked it. Let e be the moment when the last of V was born. Each of V locked after it had
///    heard all others, so after e, and was born before e: at e each slot held its process of V,
///    and no other process was alive. All of V were empty until they locked. Hence whatever cluster
///    was before e had no living member at e: it is gone with the memories, whoever restarts later,
///    and nobody can join it. For two views V and W of started processes, V != W: a process locks
///    once, so they share no id, and their moments differ; all of the earlier one are dead at the
///    later moment. Loss, duplication and delay of hellos, however long, change nothing in this.
///
///    A lock that came to nothing: somebody of V died before all had locked, or before they knew. A
///    process that is locked and did not start, and that hears from all slots, lately, that nobody
///    is a member, and that one of V has a successor, gives up its identity (Output::start_over):
///    to the others that is a death, which is always safe. If one of V did start, it hears of that
///    (members answer) and starts too. A race remains: one starts because of a late hello while the
///    others give up. It then is a member of a configuration that has lost its quorum, knows so
///    (below), has nothing committed, and gives up as well.
///
/// 2. Replacement. If there is a living cluster, the process waits as kJoining until the leader has
///    taken it in as a learner, and when it is caught up made it a voter in the place of its dead
///    predecessor: changes of Raft's own membership (thesis §4), of a new member, so Raft's proof
///    covers them. The predecessor's death is proved, not guessed: another process of its slot
///    answered a hello that this leader sent after it knew the predecessor, so was alive later than
///    its birth; since a slot has one process at a time, the predecessor is dead. A hello that is
///    late, or repeated, proves nothing. It can at most make a learner of a process that has died
///    too, which its successor replaces in turn.
///
/// If a quorum of the voters is dead the cluster is dead too, but the memories of the others may
/// hold what it committed. Such members do not give up by themselves: lost() says so, and when the
/// last of them is restarted all slots are empty and the founding begins. If nothing was committed
/// they do.
///
/// The argument needs: at most one process in a slot at a time (the port sees to that); ids never
/// used twice (64 random bits); the slots are all members there can be (no others are added to such
/// a cluster); peers that may fail but do not lie; and messages of Node that are for another id
/// than the own one are dropped.
///
/// Pure, and a function of its inputs. One driver owns it. Not thread-safe. Its memory is bounded
/// by the number of slots and the size of a configuration; a hello that names more is dropped.
class Rendezvous {
 public:
  /// Effects, in the order of the fields.
  struct Output {
    /// This identity is given up: end the Node if there is one, and begin anew with a new
    /// Rendezvous and a new id. Everything else is empty, now and later.
    bool start_over = false;
    /// Start a Node whose Restored::snapshot is at index 0 and has this configuration.
    std::optional<Configuration> start;
    /// Start a Node with an empty configuration, which waits for the leader.
    bool join = false;
    std::vector<std::pair<Slot, Hello>> hellos;  ///< to be sent; any may be lost

    bool empty() const { return !start_over && !start && !join && hellos.empty(); }
  };

  /// REQUIRES: options.Validate().ok(), and that `slot` is one of its slots. `id` was never used.
  Rendezvous(const RendezvousOptions& options, Slot slot, NodeId id);

  void Tick(std::uint64_t ticks);
  /// A hello of another slot. Whatever it says, no CHECK fails.
  void Step(const Hello& hello);
  /// The Node's configuration in use, whether it knows a leader, and whether it knows of a
  /// committed entry. Called after Output::start or join whenever one of them has changed.
  void Update(const Configuration& configuration, bool leader_known, bool has_committed);

  bool HasOutput() const { return !output_.empty(); }
  Output TakeOutput();

  /// For the leader: the next change that replaces a dead member by the process that lives in its
  /// slot now, if there is one to be made. `caught_up`: the learners whose match is at least what
  /// was committed when they were added. Calls may be repeated; what is under way or refused is
  /// proposed again.
  std::optional<ConfigurationChange> Replacement(const Configuration& configuration,
                                                 const std::set<NodeId>& caught_up) const;

  NodeId id() const { return id_; }
  Hello::State state() const { return state_; }
  /// A quorum of the voters is dead, all slots are reachable, and no other cluster is known. Only
  /// the restart of this process and of its like can begin a new cluster.
  bool lost() const { return lost_; }

 private:
  struct Peer {
    Hello latest;
    std::uint64_t alive_at = 0;  ///< own time that it has proved to have lived after
  };

  bool quiet() const { return removed_ || gave_up_; }
  bool Current(const Peer& peer) const { return now_ - peer.alive_at <= options_.window_ticks; }
  /// This process, or one that is heard of, is not a member yet.
  bool SomebodySeeks() const;
  bool AllCurrent() const;
  /// Whether it is proved that the member `id` of `slot` has died.
  bool IsDead(NodeId id, Slot slot) const;
  Hello MakeHello() const;
  void SayHello();
  void Decide();
  void DecideEmpty();
  void DecideLocked();
  void DecideJoining();
  void DecideMember();
  void Join();
  void Start();
  void GiveUp();
  /// Whether `hopeless` was true in all calls of the last patience_ticks.
  bool Patience(bool hopeless);
  std::optional<SlotView> View() const;

  RendezvousOptions options_;
  Slot slot_;
  NodeId id_;
  std::uint64_t cluster_ = 0;
  std::uint64_t now_ = 1;
  std::uint64_t next_hello_ = 1;

  Hello::State state_ = Hello::State::kEmpty;
  bool removed_ = false;
  bool gave_up_ = false;
  std::map<Slot, Hello::Heard> heard_;
  std::map<Slot, Peer> peers_;  ///< those that proved to be alive

  SlotView locked_view_;
  std::uint64_t locked_at_ = 0;
  std::set<NodeId> have_locked_;  ///< those of locked_view_ that said so

  Configuration configuration_;
  /// Members of configuration_, and the own time when they were known to have been born.
  std::map<NodeId, std::uint64_t> known_since_;
  bool leader_known_ = false;
  bool has_committed_ = false;
  std::optional<std::uint64_t> hopeless_since_;
  bool lost_ = false;

  Output output_;
};

}  // namespace ds::raft
