#include "tests/sim/network.h"

#include <algorithm>
#include <chrono>

namespace ds::sim {

NetworkFaults::Counters& NetworkFaults::Counters::operator+=(const Counters& other) {
  sent += other.sent;
  delivered += other.delivered;
  lost += other.lost;
  duplicated += other.duplicated;
  reordered += other.reordered;
  delayed += other.delayed;
  cut += other.cut;
  refused += other.refused;
  refusals_heard += other.refusals_heard;
  vanished += other.vanished;
  in_flight += other.in_flight;
  return *this;
}

NetworkFaults::NetworkFaults(Scheduler& scheduler, NodeNumber nodes, const Options& options)
    : scheduler_(scheduler), options_(options) {
  while (nodes-- > 0) AddNode();
}

NetworkFaults::NodeNumber NetworkFaults::AddNode() {
  const std::size_t added = states_.size();
  if (added == stride_) {
    const std::size_t stride = std::max<std::size_t>(8, stride_ * 2);
    std::vector<Link> links(stride * stride);
    for (std::size_t from = 0; from < added; ++from) {
      std::copy_n(links_.begin() + static_cast<std::ptrdiff_t>(from * stride_), added,
                  links.begin() + static_cast<std::ptrdiff_t>(from * stride));
    }
    links_ = std::move(links);
    stride_ = stride;
  }
  states_.emplace_back();
  return static_cast<NodeNumber>(added);
}

void NetworkFaults::SetState(NodeNumber node, NodeState state) {
  CHECK(node < states_.size());
  if (Lives(states_[node].state) && !Lives(state)) ++states_[node].life;
  states_[node].state = state;
}

void NetworkFaults::Heal(NodeNumber from, NodeNumber to) {
  Link& link = LinkOf(from, to);
  if (link.cuts > 0) --link.cuts;
}

void NetworkFaults::Accept(NodeNumber from, NodeNumber to) {
  Link& link = LinkOf(from, to);
  if (link.refusals > 0) --link.refusals;
}

void NetworkFaults::Cut(std::span<const NodeNumber> from, std::span<const NodeNumber> to) {
  for (const NodeNumber a : from) {
    for (const NodeNumber b : to) {
      if (a != b) Cut(a, b);
    }
  }
}

void NetworkFaults::Heal(std::span<const NodeNumber> from, std::span<const NodeNumber> to) {
  for (const NodeNumber a : from) {
    for (const NodeNumber b : to) {
      if (a != b) Heal(a, b);
    }
  }
}

void NetworkFaults::CutBoth(std::span<const NodeNumber> a, std::span<const NodeNumber> b) {
  Cut(a, b);
  Cut(b, a);
}

void NetworkFaults::HealBoth(std::span<const NodeNumber> a, std::span<const NodeNumber> b) {
  Heal(a, b);
  Heal(b, a);
}

void NetworkFaults::HealAll() {
  for (Link& link : links_) link.cuts = link.refusals = 0;
}

bool NetworkFaults::IsRefused(NodeNumber from, NodeNumber to) const {
  const NodeState state = states_[to].state;
  return LinkOf(from, to).refusals > 0 || state == NodeState::kListenerClosed ||
         state == NodeState::kProcessDead;
}

Duration NetworkFaults::DrawDelay() {
  Rng& rng = scheduler_.rng();
  if (options_.long_delay > 0 && rng.Bernoulli(options_.long_delay)) {
    ++counters_.delayed;
    return rng.Between(options_.delay_max, options_.long_delay_max);
  }
  if (options_.delay_min == options_.delay_max) return options_.delay_min;
  return rng.Between(options_.delay_min, options_.delay_max);
}

std::size_t NetworkFaults::Leave(Flight* flight, std::array<TimePoint, 2>* when) {
  Link& link = LinkOf(flight->from, flight->to);
  const Node& sender = states_[flight->from];
  CHECK(Lives(sender.state), "a dead process sends nothing");
  flight->number = ++link.sent;
  flight->sender_life = sender.life;
  ++counters_.sent;
  if (link.cuts > 0) {
    ++counters_.cut;
    return 0;
  }
  Rng& rng = scheduler_.rng();
  if (options_.loss > 0 && rng.Bernoulli(options_.loss)) {
    ++counters_.lost;
    return 0;
  }
  std::size_t copies = 1;
  if (options_.duplication > 0 && rng.Bernoulli(options_.duplication)) {
    ++counters_.duplicated;
    copies = 2;
  }
  for (std::size_t i = 0; i < copies; ++i) {
    const bool overtakes = options_.reordering > 0 && rng.Bernoulli(options_.reordering);
    (*when)[i] = scheduler_.now() + DrawDelay();
    if (!overtakes) (*when)[i] = link.last_place = std::max((*when)[i], link.last_place);
  }
  counters_.in_flight += copies;
  return copies;
}

NetworkFaults::Arrival NetworkFaults::Arrive(const Flight& flight) {
  --counters_.in_flight;
  Link& link = LinkOf(flight.from, flight.to);
  if (link.cuts > 0) {
    ++counters_.cut;
    return Arrival::kGone;
  }
  if (states_[flight.to].state == NodeState::kMachineDown) {
    ++counters_.vanished;
    return Arrival::kGone;
  }
  if (IsRefused(flight.from, flight.to)) {
    ++counters_.refused;
    return Arrival::kRefused;
  }
  ++counters_.delivered;
  if (flight.number < link.newest_delivered) ++counters_.reordered;
  link.newest_delivered = std::max(link.newest_delivered, flight.number);
  return Arrival::kDelivered;
}

std::optional<TimePoint> NetworkFaults::RefusalBack(const Flight& flight) {
  if (IsCut(flight.to, flight.from)) return std::nullopt;
  if (options_.loss > 0 && scheduler_.rng().Bernoulli(options_.loss)) return std::nullopt;
  return scheduler_.now() + DrawDelay();
}

bool NetworkFaults::RefusalHeard(const Flight& flight) {
  const Node& sender = states_[flight.from];
  if (!Lives(sender.state) || sender.life != flight.sender_life) return false;
  if (IsCut(flight.to, flight.from)) return false;
  ++counters_.refusals_heard;
  return true;
}

}  // namespace ds::sim
