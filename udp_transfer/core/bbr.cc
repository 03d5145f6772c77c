#include "udp_transfer/core/bbr.h"

#include <cmath>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

// Gains: of the pacing over the rate of the path, of the window over what it holds.
constexpr double kStartupGain = 2.77;  // 4 ln 2: doubles the delivery rate each round trip
constexpr double kDrainGain = 0.5;
constexpr double kDownGain = 0.9;
constexpr double kUpGain = 1.25;
constexpr double kWindowGain = 2;
constexpr double kStartupWindowGain = 4;  // the estimate is a round trip late, when all doubles
constexpr double kProbeRttWindowGain = 0.5;

constexpr double kStartupGrowth = 1.25;  // in a round: there is more
constexpr double kUpGrowth = 1.1;
constexpr std::uint64_t kStartupFlatRounds = 3;
constexpr std::uint64_t kUpFlatRounds = 2;
constexpr double kHeavyLoss = 0.15;  // what no wire loses, when the rate does not grow either

constexpr Duration kMinRttLifetime = 10s;
constexpr Duration kProbeRttTime = 200ms;

constexpr double kExcessLoss = 0.02;  // beyond the wire's: congestion
constexpr double kCut = 0.7;          // of what was in flight then, as CUBIC's beta
constexpr double kCutFloor = 1.2;     // of what the path holds
constexpr std::uint64_t kCutRounds = 8;
constexpr std::uint64_t kHeedlessRounds = 8;  // excess loss back after so few rounds, …
constexpr std::uint64_t kHeedlessTimes = 4;   // … so often: cutting does not help
constexpr std::uint64_t kHeedfulRounds = 16;  // CUBIC's loss is not back before

constexpr double kCalmPackets = 1000;  // the wire's loss is a mean over about so many
constexpr double kWireLossMax = 0.4;

double Bytes(std::uint64_t bytes) { return static_cast<double>(bytes); }

}  // namespace

void Bbr::RoundMax::NextRound() {
  at_ = (at_ + 1) % kRounds;
  values_[at_] = 0;
}

Bbr::Bbr(const Options& options, std::uint64_t seed)
    : options_(options), rng_(seed), window_(Bytes(options.initial_window)) {
  SetPacingRate();
}

SentState Bbr::OnSent(TimePoint now, std::size_t bytes) {
  after_idle_ |= in_flight() == 0;
  SentState state = rate_.OnSent(now, bytes);
  state.slow = phase_ == Phase::kDown || phase_ == Phase::kProbeRtt;
  return state;
}

void Bbr::OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration latest_rtt) {
  if (acked.empty()) return;
  if (latest_rtt > 0s) AddRtt(now, latest_rtt);
  double bytes = 0;
  bool round_ends = false;
  for (const PacketOutcome& packet : acked) {
    rate_.OnAcked(now, packet);
    AddToWireLoss(packet, false);
    bytes += Bytes(packet.bytes);
    round_ends |= packet.state.delivered >= round_end_;
    round_app_limited_ |= packet.state.app_limited;
  }
  // On a path that reorders widely, those that overtake the others see too little of it.
  const bool by_rounds = rtt_known() && reordering_ > min_rtt_;
  if (round_ends && (!rtt_known() || now - round_began_ >= PathTime())) {
    if (by_rounds) {
      AddBandwidth({.delivered = rate_.delivered() - round_begin_delivered_,
                    .lost = rate_.lost() - std::min(rate_.lost(), round_begin_lost_),
                    .interval = now - round_began_,
                    .app_limited = round_app_limited_,
                    .packet = {}});
    }
    OnRoundEnd(now);
  }
  const auto sample = rate_.TakeSample(rtt_known() ? min_rtt_ : 0s);
  if (sample && !by_rounds) AddBandwidth(*sample);
  AddAckAggregation(now, bytes);
  const bool startup = phase_ == Phase::kStartup;
  window_ = std::min(window_ + bytes / (1 - wire_loss()),
                     std::max((startup ? kStartupWindowGain : kWindowGain) * PathBytes(),
                              Bytes(startup ? options_.initial_window : 0)));
  Advance(now);
  SetPacingRate();
}

void Bbr::OnLost(TimePoint /*now*/, std::span<const PacketOutcome> lost) {
  for (const PacketOutcome& packet : lost) {
    rate_.OnLost(packet.bytes);
    AddToWireLoss(packet, true);
    lost_in_flight_ = std::min(lost_in_flight_, packet.state.in_flight);
    // What the wire loses shall not keep the start from doubling.
    if (phase_ == Phase::kStartup && RoundLoss() < kHeavyLoss) window_ += Bytes(packet.bytes);
  }
}

void Bbr::OnSpuriousLoss(const PacketOutcome& packet) {
  rate_.OnSpuriousLoss(packet.bytes);
  if (packet.state.slow) calm_lost_ = std::max(0.0, calm_lost_ - Bytes(packet.bytes));
}

void Bbr::OnPersistentCongestion() {
  window_ = std::min(window_, 4 * Bytes(options_.datagram_bytes));
  aggregation_max_ = {};
}

void Bbr::StartAgain() {
  Bbr anew(options_, 0);
  anew.rng_ = rng_;
  anew.rate_ = rate_;  // packets in flight are still to be counted
  anew.round_end_ = anew.round_begin_delivered_ = rate_.delivered();
  anew.round_begin_lost_ = rate_.lost();
  *this = anew;
}

void Bbr::AddRtt(TimePoint now, Duration rtt) {
  // After a pause there is no queue of ours: what is measured then needs no probing.
  if (after_idle_ && now - min_rtt_seen_ > kMinRttLifetime) min_rtt_ = rtt;
  after_idle_ = false;
  // Nearly the least is as good as the least: the path has not become longer.
  if (!rtt_known() || rtt <= min_rtt_ + min_rtt_ / 32) min_rtt_seen_ = now;
  min_rtt_ = std::min(min_rtt_, rtt);
  if (phase_ == Phase::kProbeRtt) probed_rtt_ = std::min(probed_rtt_, rtt);
  this_round_rtt_ = std::min(this_round_rtt_, rtt);
  recent_rtt_[next_recent_rtt_++ % recent_rtt_.size()] = rtt;
}

void Bbr::AddBandwidth(const RateSample& sample) {
  // What the wire loses has passed the bottleneck; what is lost beyond that has not.
  const double delivered = Bytes(sample.delivered);
  const double rate = std::min(delivered + Bytes(sample.lost), delivered / (1 - wire_loss())) /
                      ToSeconds(sample.interval);
  if (sample.app_limited && rate <= bandwidth_) return;
  bandwidth_max_.Add(rate);
  bandwidth_ = bandwidth_max_.Max();
}

/// draft-ietf-ccwg-bbr-01, 5.5.9: so much more has to be in flight to bridge the gaps.
void Bbr::AddAckAggregation(TimePoint now, double acked) {
  const double expected = bandwidth_ * ToSeconds(now - aggregation_began_);
  if (aggregation_acked_ <= expected) {
    aggregation_began_ = now;
    aggregation_acked_ = acked;
  } else {
    aggregation_acked_ += acked;
    aggregation_max_.Add(std::min(aggregation_acked_ - expected, PathBytes()));
  }
}

/// A full buffer loses nothing of what a sender sends that slows down, the wire does. (That of a
/// path with a standing queue may be full on behalf of others.)
void Bbr::AddToWireLoss(const PacketOutcome& packet, bool lost) {
  if (!packet.state.slow || QueueStands() || QueueGrows()) return;
  calm_bytes_ += Bytes(packet.bytes);
  if (lost) calm_lost_ += Bytes(packet.bytes);
  const double calm_max = kCalmPackets * Bytes(options_.datagram_bytes);
  if (calm_bytes_ > calm_max) {
    calm_lost_ *= calm_max / calm_bytes_;
    calm_bytes_ = calm_max;
  }
}

double Bbr::wire_loss() const {
  return calm_bytes_ == 0 ? 0 : std::min(calm_lost_ / calm_bytes_, kWireLossMax);
}

void Bbr::OnRoundEnd(TimePoint now) {
  ++round_;
  if (this_round_rtt_ != Duration::max()) round_rtt_ = this_round_rtt_;
  this_round_rtt_ = Duration::max();

  const double loss = RoundLoss();
  const double sent = Bytes(rate_.delivered() - round_begin_delivered_) / (1 - loss);
  // The standard deviation of what the wire loses in a round.
  const double chance = std::sqrt(wire_loss() * sent * Bytes(options_.datagram_bytes));
  const bool excess = loss * sent > (wire_loss() + kExcessLoss) * sent + 2 * chance +
                                        Bytes(options_.datagram_bytes);
  // The wire loses no more than what is lost at all.
  if (wire_loss() * sent > loss * sent + 3 * chance) {
    calm_lost_ = calm_bytes_ * (loss + 3 * chance / sent);
  }
  if (!round_app_limited_) {
    const bool grows =
        bandwidth_ >= full_bandwidth_ * (phase_ == Phase::kUp ? kUpGrowth : kStartupGrowth);
    rounds_without_growth_ = grows ? 0 : rounds_without_growth_ + 1;
    if (grows) full_bandwidth_ = bandwidth_;
    if (!grows && loss > kHeavyLoss) rounds_without_growth_ = kStartupFlatRounds;
    bandwidth_max_.NextRound();  // so an application that sends little leaves the estimate alone
  }
  if (excess && QueueStands() && phase_ != Phase::kStartup && phase_ != Phase::kDrain) {
    OnExcessLoss(now);
  } else if (phase_ == Phase::kUp) {
    ceiling_ *= kUpGain;
  }
  if (round_ - excess_round_ > 2 * kHeedfulRounds) frequent_excess_ = 0;
  aggregation_max_.NextRound();

  round_end_ = round_begin_delivered_ = rate_.delivered();
  round_begin_lost_ = rate_.lost();
  round_began_ = now;
  round_app_limited_ = false;
  lost_in_flight_ = std::numeric_limits<std::uint64_t>::max();

  // A queue of a few percent of the round trip keeps the bottleneck busy between bursts, and shows
  // that the estimated rate is not too low.
  if (!rtt_known()) return;
  const double queue = ToSeconds(round_rtt_ - min_rtt_ - reordering_ / 4);
  const double wanted = std::max(0.04 * ToSeconds(min_rtt_), 0.0005);
  if (queue < wanted / 2) {
    cruise_gain_ = 1.015;
  } else if (queue < wanted || HeedlessNeighbour()) {
    cruise_gain_ = 1;
  } else {
    cruise_gain_ = queue < 2 * wanted ? 0.98 : 0.95;
  }
}

void Bbr::OnExcessLoss(TimePoint now) {
  const std::uint64_t rounds = round_ - excess_round_;
  excess_round_ = round_;
  if (rounds <= kHeedlessRounds) {
    frequent_excess_ = std::min(frequent_excess_ + 1, kHeedlessTimes);
  } else if (rounds > kHeedfulRounds) {
    frequent_excess_ = 0;
  }
  if (!HeedlessNeighbour() && round_ >= next_cut_round_) {
    ceiling_ = std::max(kCut * std::min(ceiling_, Bytes(lost_in_flight_)), kCutFloor * PathBytes());
    next_cut_round_ = round_ + kCutRounds;
  }
  if (phase_ == Phase::kUp) Enter(Phase::kDown, now);
}

bool Bbr::HeedlessNeighbour() const { return frequent_excess_ >= kHeedlessTimes; }

void Bbr::Advance(TimePoint now) {
  const std::uint64_t rounds = round_ - phase_round_;
  const bool drained = Bytes(in_flight()) <= PathBytes();
  switch (phase_) {
    case Phase::kStartup:
      if (rounds_without_growth_ >= kStartupFlatRounds || QueueGrows()) Enter(Phase::kDrain, now);
      break;
    case Phase::kDrain:
      if (drained || rounds >= 4) Enter(Phase::kCruise, now);
      break;
    case Phase::kDown:
      if ((drained && rounds >= 1) || rounds >= (HeedlessNeighbour() ? 2 : 4)) {
        Enter(Phase::kCruise, now);
      }
      break;
    case Phase::kCruise:
      if (rounds >= cruise_rounds_ && !rate_.app_limited()) Enter(Phase::kUp, now);
      break;
    case Phase::kUp:
      if (rounds >= 1 &&
          (rounds_without_growth_ >= kUpFlatRounds || QueueGrows() || rate_.app_limited())) {
        Enter(Phase::kDown, now);
      }
      break;
    case Phase::kProbeRtt:
      if (rounds >= 2 && now - phase_began_ >= kProbeRttTime) {
        if (probed_rtt_ != Duration::max()) min_rtt_ = probed_rtt_;
        min_rtt_seen_ = now;
        Enter(Phase::kCruise, now);
      }
      break;
  }
  if (phase_ != Phase::kProbeRtt && phase_ != Phase::kStartup &&
      now - min_rtt_seen_ > kMinRttLifetime) {
    Enter(Phase::kProbeRtt, now);
  }
}

void Bbr::Enter(Phase phase, TimePoint now) {
  if (phase == Phase::kCruise) cruise_rounds_ = phase_ == Phase::kDrain ? 1 : 12 + rng_.Below(9);
  if (phase == Phase::kUp) {
    full_bandwidth_ = bandwidth_;
    rounds_without_growth_ = 0;
  }
  probed_rtt_ = Duration::max();
  phase_ = phase;
  phase_began_ = now;
  phase_round_ = round_;
}

double Bbr::PathBytes() const {
  return bandwidth_ == 0 || !rtt_known() ? Bytes(options_.initial_window)
                                         : bandwidth_ * ToSeconds(PathTime());
}

double Bbr::RoundLoss() const {
  const double lost = Bytes(rate_.lost() - std::min(rate_.lost(), round_begin_lost_));
  const double sent = lost + Bytes(rate_.delivered() - round_begin_delivered_);
  return sent == 0 ? 0 : lost / sent;
}

bool Bbr::IsQueue(Duration rtt) const {
  return rtt_known() && rtt - min_rtt_ > min_rtt_ / 5 + 1ms + reordering_ / 4;
}

void Bbr::SetPacingRate() {
  double rate = bandwidth_;
  switch (phase_) {
    case Phase::kStartup: {
      const Duration rtt = rtt_known() ? min_rtt_ : options_.initial_rtt;
      // The window twice a round trip, as TCP in slow start: the rate lags behind by a round trip.
      const double window_rate = window_ / ToSeconds(std::max<Duration>(rtt, 10us));
      rate =
          std::max(kStartupGain * rate, rtt_known() ? 2 * window_rate : kStartupGain * window_rate);
      break;
    }
    case Phase::kDrain:
      rate *= kDrainGain;
      break;
    case Phase::kDown:
      rate *= kDownGain;
      break;
    case Phase::kCruise:
      rate *= cruise_gain_;
      break;
    case Phase::kUp:
      rate *= kUpGain;
      break;
    case Phase::kProbeRtt:
      break;
  }
  pacing_rate_ = std::min(std::max(rate, 1000.0), options_.rate_max);
}

std::size_t Bbr::congestion_window() const {
  const double bursts = 3 * Bytes(send_quantum());  // at the sender, under way, being acknowledged
  double window = window_ + aggregation_max_.Max() + bursts;
  if (phase_ == Phase::kProbeRtt) window = std::min(window, kProbeRttWindowGain * PathBytes());
  if ((phase_ == Phase::kCruise || phase_ == Phase::kDown) && !HeedlessNeighbour()) {
    window = std::min(window, std::max(ceiling_, PathBytes() + bursts));
  }
  return static_cast<std::size_t>(std::max(window, 4 * Bytes(options_.datagram_bytes)));
}

std::size_t Bbr::send_quantum() const {
  constexpr double kQuantumSeconds = 0.001;
  constexpr double kQuantumMax = 4 * 65536;
  return static_cast<std::size_t>(std::max(std::min(pacing_rate_ * kQuantumSeconds, kQuantumMax),
                                           2 * Bytes(options_.datagram_bytes)));
}

}  // namespace ds::udp_transfer
