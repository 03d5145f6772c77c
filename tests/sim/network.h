#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/time.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// The faults of a simulated network, whatever it carries. Each of them can be set at any time of
/// the run. Nodes are numbered from 0. See Network.
class NetworkFaults {
 public:
  using NodeNumber = std::uint32_t;

  /// How a node meets what is sent to it. Only a node that is kUp or kListenerClosed may send.
  enum class NodeState : std::uint8_t {
    kUp,
    kListenerClosed,  ///< it lives and sends, but its machine refuses connections (a firewall, too)
    kProcessDead,     ///< its machine refuses connections
    kMachineDown,     ///< messages to it vanish
  };

  /// A message meets those that hold when it is sent.
  struct Options {
    Duration delay_min = std::chrono::microseconds(100);
    Duration delay_max = std::chrono::milliseconds(2);  ///< uniform between the two
    double loss = 0;                                    ///< probability of each message
    double duplication = 0;                             ///< it arrives twice, each at its own time
    /// It is not kept behind those sent before it from the same node to the same node, as all
    /// others are. 1: each message's delay is its own.
    double reordering = 0;
    double long_delay = 0;  ///< its delay is uniform between delay_max and long_delay_max instead
    Duration long_delay_max = std::chrono::milliseconds(500);
  };

  /// sent + duplicated == delivered + lost + cut + refused + vanished + in_flight.
  struct Counters {
    std::uint64_t sent = 0;
    std::uint64_t delivered = 0;
    std::uint64_t lost = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t reordered = 0;  ///< delivered after one that was sent later
    std::uint64_t delayed = 0;    ///< drew a long delay
    std::uint64_t cut = 0;
    std::uint64_t refused = 0;
    std::uint64_t refusals_heard = 0;  ///< of those, the sender was told
    std::uint64_t vanished = 0;        ///< the receiver's machine was down
    std::uint64_t in_flight = 0;

    Counters& operator+=(const Counters& other);
    friend bool operator==(const Counters&, const Counters&) = default;
  };

  NetworkFaults(Scheduler& scheduler, NodeNumber nodes, const Options& options);

  Options& options() { return options_; }
  const Counters& counters() const { return counters_; }

  NodeNumber nodes() const { return static_cast<NodeNumber>(states_.size()); }
  /// The number of a further node, which is up.
  NodeNumber AddNode();
  void SetState(NodeNumber node, NodeState state);
  NodeState state(NodeNumber node) const { return states_.at(node).state; }

  // Cuts and refusals are counted: a pair that two faults have cut is open when both have healed. A
  // message meets a cut when it is sent or when it arrives; the receiver sees nothing, nor does the
  // sender.

  /// One way.
  void Cut(NodeNumber from, NodeNumber to) { ++LinkOf(from, to).cuts; }
  void Heal(NodeNumber from, NodeNumber to);
  /// One way, each of `from` to each of `to`. Pairs of a node and itself are left out.
  void Cut(std::span<const NodeNumber> from, std::span<const NodeNumber> to);
  void Heal(std::span<const NodeNumber> from, std::span<const NodeNumber> to);
  /// Both ways.
  void CutBoth(std::span<const NodeNumber> a, std::span<const NodeNumber> b);
  void HealBoth(std::span<const NodeNumber> a, std::span<const NodeNumber> b);
  /// What `from` sends to `to` is refused while this is set, though the process lives and listens:
  /// a firewall between the two.
  void Refuse(NodeNumber from, NodeNumber to) { ++LinkOf(from, to).refusals; }
  void Accept(NodeNumber from, NodeNumber to);
  /// No cut and no refusal between any two is left. States of nodes and options stay.
  void HealAll();
  bool IsCut(NodeNumber from, NodeNumber to) const { return LinkOf(from, to).cuts > 0; }
  bool IsRefused(NodeNumber from, NodeNumber to) const;

 protected:
  struct Flight {
    NodeNumber from = 0;
    NodeNumber to = 0;
    std::uint64_t number = 0;       ///< in the order in which the pair's messages were sent
    std::uint32_t sender_life = 0;  ///< the sender's, when it sent
  };
  enum class Arrival : std::uint8_t { kDelivered, kRefused, kGone };

  /// A message is sent: when its copies (none, one or two) arrive.
  std::size_t Leave(Flight* flight, std::array<TimePoint, 2>* when);
  Arrival Arrive(const Flight& flight);
  /// When the sender hears that its message was refused; none: never.
  std::optional<TimePoint> RefusalBack(const Flight& flight);
  /// Whether the sender is still there to hear it.
  bool RefusalHeard(const Flight& flight);

  Scheduler& scheduler_;

 private:
  struct Link {
    std::uint32_t cuts = 0;
    std::uint32_t refusals = 0;
    std::uint64_t sent = 0;
    std::uint64_t newest_delivered = 0;
    TimePoint last_place;  ///< in the order of arrivals
  };
  struct Node {
    NodeState state = NodeState::kUp;
    std::uint32_t life = 0;
  };

  static bool Lives(NodeState state) {
    return state == NodeState::kUp || state == NodeState::kListenerClosed;
  }
  Link& LinkOf(NodeNumber from, NodeNumber to) {
    CHECK(from < states_.size() && to < states_.size());
    return links_[from * stride_ + to];
  }
  const Link& LinkOf(NodeNumber from, NodeNumber to) const {
    CHECK(from < states_.size() && to < states_.size());
    return links_[from * stride_ + to];
  }
  Duration DrawDelay();

  Options options_;
  Counters counters_;
  std::vector<Node> states_;
  std::vector<Link> links_;  ///< stride_ to a row
  std::size_t stride_ = 0;
};

/// A network between numbered nodes that carries Payloads: each takes a drawn time, and meets the
/// faults that are set. What is under way outlives its sender; it is handed to whatever process is
/// up at the receiver when it arrives, also to a later life of it. All draws come from the
/// scheduler's rng(), only for faults that are on. A message costs one event and no other memory
/// once as many have been under way at once. Owned by the test, has to outlive the events it plans.
/// Single threaded.
template <typename Payload>
class Network final : public NetworkFaults {
 public:
  using Receiver = std::function<void(NodeNumber from, NodeNumber to, Payload payload)>;
  /// `from` is told, about a round trip after it sent, that `to` has refused.
  using Refused = std::function<void(NodeNumber from, NodeNumber to)>;

  Network(Scheduler& scheduler, NodeNumber nodes, const Options& options, Receiver receiver,
          Refused refused)
      : NetworkFaults(scheduler, nodes, options),
        receiver_(std::move(receiver)),
        refused_(std::move(refused)) {}

  /// REQUIRES: `from` is kUp or kListenerClosed.
  void Send(NodeNumber from, NodeNumber to, Payload payload) {
    Flight flight{from, to};
    std::array<TimePoint, 2> when;
    const std::size_t copies = Leave(&flight, &when);
    if (copies == 0) return;
    if constexpr (std::is_copy_constructible_v<Payload>) {
      if (copies == 2) Fly(flight, when[1], Payload(payload));
    } else {
      CHECK(copies == 1, "what cannot be copied is not duplicated");
    }
    Fly(flight, when[0], std::move(payload));
  }

 private:
  struct Slot {
    Flight flight;
    std::optional<Payload> payload;
  };

  void Fly(const Flight& flight, TimePoint when, Payload payload) {
    std::size_t slot = slots_.size();
    if (free_.empty()) {
      slots_.push_back({flight, std::move(payload)});
    } else {
      slot = free_.back();
      free_.pop_back();
      slots_[slot].flight = flight;
      slots_[slot].payload.emplace(std::move(payload));
    }
    // Two words, trivially copyable: std::function keeps them without a heap allocation.
    scheduler_.At(when, [this, slot] { Land(slot); });
  }

  void Land(std::size_t slot) {
    const Flight flight = slots_[slot].flight;
    const Arrival arrival = Arrive(flight);
    if (arrival == Arrival::kRefused) {
      slots_[slot].payload.reset();
      if (const std::optional<TimePoint> back = RefusalBack(flight)) {
        scheduler_.At(*back, [this, slot] {
          const Flight told = slots_[slot].flight;
          free_.push_back(slot);
          if (RefusalHeard(told) && refused_) refused_(told.from, told.to);
        });
        return;
      }
      free_.push_back(slot);
      return;
    }
    // The receiver may send, and with that move the slots.
    Payload payload = std::move(*slots_[slot].payload);
    slots_[slot].payload.reset();
    free_.push_back(slot);
    if (arrival == Arrival::kDelivered) receiver_(flight.from, flight.to, std::move(payload));
  }

  Receiver receiver_;
  Refused refused_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
};

}  // namespace ds::sim
