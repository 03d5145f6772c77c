#include "tests/udp_transfer/flow_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

double Bytes(std::uint64_t bytes) { return static_cast<double>(bytes); }

/// What a window keeps of packets: how many bytes are in flight.
class InFlight : public Control {
 public:
  double in_flight() const override { return Bytes(rate_.in_flight()); }
  void OnAppLimited() override { rate_.OnAppLimited(); }

 protected:
  explicit InFlight(std::size_t datagram_bytes) : datagram_(Bytes(datagram_bytes)) {}
  double datagram_;
  DeliveryRate rate_;
};

class Cubic : public InFlight {
 public:
  explicit Cubic(std::size_t datagram_bytes) : InFlight(datagram_bytes) {
    window_ = 10 * datagram_;
  }
  SentState OnSent(TimePoint now, std::size_t bytes) override { return rate_.OnSent(now, bytes); }
  void OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration rtt) override {
    if (rtt > 0s) rtt_ = rtt;
    for (const PacketOutcome& packet : acked) {
      rate_.OnAcked(now, packet);
      if (packet.sent_at <= recovery_began_) continue;
      if (window_ < threshold_) {
        window_ += Bytes(packet.bytes);
        continue;
      }
      if (epoch_began_ == TimePoint{}) {
        epoch_began_ = now;
        reno_ = window_;
        origin_ = std::max(origin_, window_);
        k_ = std::cbrt((origin_ - window_) / datagram_ / 0.4);
      }
      const double t = ToSeconds(now - epoch_began_ + rtt_) - k_;
      const double target =
          std::clamp(origin_ + 0.4 * t * t * t * datagram_, window_, 1.5 * window_);
      reno_ += 0.53 * datagram_ * Bytes(packet.bytes) / window_;
      window_ += (target - window_) * Bytes(packet.bytes) / window_;
      window_ = std::max(window_, reno_);
    }
    rate_.TakeSample(0s);
  }
  void OnLost(TimePoint now, std::span<const PacketOutcome> lost) override {
    for (const PacketOutcome& packet : lost) {
      rate_.OnLost(packet.bytes);
      if (packet.sent_at <= recovery_began_) continue;
      recovery_began_ = now;
      origin_ = window_ < origin_ ? window_ * 0.85 : window_;  // fast convergence
      window_ = threshold_ = std::max(0.7 * window_, 2 * datagram_);
      epoch_began_ = TimePoint{};
    }
  }
  void OnPersistentCongestion() override { window_ = 2 * datagram_; }
  double congestion_window() const override { return window_; }
  double pacing_rate() const override { return std::numeric_limits<double>::infinity(); }
  std::size_t send_quantum() const override { return 65536; }

 private:
  double window_;
  double threshold_ = std::numeric_limits<double>::infinity();
  double origin_ = 0;
  double reno_ = 0;
  double k_ = 0;
  Duration rtt_{0};
  TimePoint epoch_began_;
  TimePoint recovery_began_;
};

class BbrV1 : public InFlight {
 public:
  explicit BbrV1(std::size_t datagram_bytes) : InFlight(datagram_bytes) {
    window_ = 10 * datagram_;
  }
  SentState OnSent(TimePoint now, std::size_t bytes) override { return rate_.OnSent(now, bytes); }
  void OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration rtt) override {
    double bytes = 0;
    bool round = false;
    for (const PacketOutcome& packet : acked) {
      rate_.OnAcked(now, packet);
      bytes += Bytes(packet.bytes);
      round |= packet.state.delivered >= round_end_;
    }
    const bool expired = now - min_rtt_at_ > 10s && min_rtt_ != Duration::max();
    if (rtt > 0s && (rtt <= min_rtt_ || expired)) {
      min_rtt_ = rtt;
      min_rtt_at_ = now;
    }
    if (round) {
      round_end_ = rate_.delivered();
      at_ = (at_ + 1) % max_.size();
      max_[at_] = 0;
    }
    const auto sample = rate_.TakeSample(min_rtt_);
    if (sample && (!sample->app_limited || Rate(*sample) > bandwidth_)) {
      max_[at_] = std::max(max_[at_], Rate(*sample));
      bandwidth_ = *std::max_element(max_.begin(), max_.end());
    }
    if (round && gain_ == kStartup) {
      if (bandwidth_ >= 1.25 * full_) {
        full_ = bandwidth_;
        flat_ = 0;
      } else if (++flat_ == 3) {
        gain_ = 1 / kStartup;
      }
    } else if (gain_ == 1 / kStartup && in_flight() <= Path(1)) {
      Cycle(now, 2);
    } else if (phase_ >= 0) {
      const bool over = now - phase_at_ > min_rtt_;
      if (gain_ > 1 ? over && in_flight() >= Path(1.25)
                    : (gain_ < 1 ? over || in_flight() <= Path(1) : over)) {
        Cycle(now, (phase_ + 1) % 8);
      }
    }
    if (expired && !probing_) {
      probing_ = true;
      probe_end_ = TimePoint{};
    }
    if (probing_) {
      if (probe_end_ == TimePoint{} && in_flight() <= 4 * datagram_) {
        probe_end_ = now + std::max<Duration>(200ms, min_rtt_);
      } else if (probe_end_ != TimePoint{} && now >= probe_end_) {
        probing_ = false;
        min_rtt_at_ = now;
      }
    }
    const bool filled = gain_ != kStartup;
    window_ =
        filled ? std::min(window_ + bytes, Path(2) + 3 * Bytes(send_quantum())) : window_ + bytes;
  }
  void OnLost(TimePoint /*now*/, std::span<const PacketOutcome> lost) override {
    for (const PacketOutcome& packet : lost) rate_.OnLost(packet.bytes);
  }
  void OnPersistentCongestion() override { window_ = 4 * datagram_; }
  double congestion_window() const override {
    return probing_ ? 4 * datagram_ : std::max(window_, 4 * datagram_);
  }
  double pacing_rate() const override {
    return bandwidth_ == 0 ? kStartup * window_ / 0.05 : gain_ * bandwidth_;
  }
  std::size_t send_quantum() const override {
    return static_cast<std::size_t>(std::clamp(pacing_rate() * 0.001, 2 * datagram_, 65536.0));
  }

 private:
  static constexpr double kStartup = 2.885;
  static double Rate(const RateSample& sample) {
    return Bytes(sample.delivered) / ToSeconds(sample.interval);
  }
  double Path(double gain) const { return gain * bandwidth_ * ToSeconds(min_rtt_); }
  void Cycle(TimePoint now, int phase) {
    phase_ = phase;
    phase_at_ = now;
    gain_ = phase == 0 ? 1.25 : phase == 1 ? 0.75 : 1;
  }

  double window_;
  double gain_ = kStartup;
  std::array<double, 10> max_{};
  std::size_t at_ = 0;
  double bandwidth_ = 0;
  double full_ = 0;
  int flat_ = 0;
  int phase_ = -1;
  TimePoint phase_at_;
  Duration min_rtt_ = Duration::max();
  TimePoint min_rtt_at_;
  std::uint64_t round_end_ = 0;
  bool probing_ = false;
  TimePoint probe_end_;
};

/// What goes over the links: the flow's index, and a packet's number or the log's size.
using Wire = std::array<std::uint64_t, 2>;

std::optional<Wire> Decode(const std::vector<std::byte>& bytes, std::size_t flows) {
  Wire wire{};
  if (bytes.size() != sizeof wire) return std::nullopt;
  std::memcpy(wire.data(), bytes.data(), sizeof wire);
  if (wire[0] >= flows) return std::nullopt;
  return wire;
}

}  // namespace

std::unique_ptr<Control> MakeCubic(std::size_t datagram_bytes) {
  return std::make_unique<Cubic>(datagram_bytes);
}

std::unique_ptr<Control> MakeBbrV1(std::size_t datagram_bytes) {
  return std::make_unique<BbrV1>(datagram_bytes);
}

Path::Path(sim::Scheduler& the_scheduler, const sim::Link::Options& options)
    : scheduler(the_scheduler),
      forward(the_scheduler, options,
              [this](const std::vector<std::byte>& bytes) {
                if (const auto wire = Decode(bytes, flows.size())) {
                  flows[(*wire)[0]]->OnDatagram((*wire)[1]);
                }
              }),
      back(the_scheduler, {.delay = options.delay}, [this](const std::vector<std::byte>& bytes) {
        if (const auto wire = Decode(bytes, flows.size())) {
          flows[(*wire)[0]]->OnAck((*wire)[1]);
        }
      }) {}

Flow::Flow(Path& path, std::unique_ptr<Control> control, const Options& options)
    : path_(path),
      scheduler_(path.scheduler),
      control_(std::move(control)),
      options_(options),
      index_(path.flows.size()) {
  path.flows.push_back(this);
}

void Flow::Send(std::uint64_t bytes) {
  units_ += (bytes + options_.payload_bytes - 1) / options_.payload_bytes;
  TrySend();
}

void Flow::TrySend() {
  const TimePoint now = scheduler_.now();
  const bool paced = control_->pacing_rate() != std::numeric_limits<double>::infinity();
  while (control_->in_flight() + Bytes(options_.datagram_bytes) <= control_->congestion_window() &&
         (!paced || pacer_.MaySend(now))) {
    if (again_.empty() && next_unit_ == units_) {
      control_->OnAppLimited();
      break;
    }
    SendPacket();
  }
  SetTimer();
}

void Flow::SendPacket() {
  const TimePoint now = scheduler_.now();
  Packet packet;
  if (!again_.empty()) {
    packet.unit = again_.front();
    again_.pop_front();
  } else {
    packet.unit = next_unit_++;
  }
  packet.info.bytes = options_.datagram_bytes;
  packet.info.sent_at = now;
  packet.info.state = control_->OnSent(now, options_.datagram_bytes);
  const double rate = control_->pacing_rate();
  if (rate != std::numeric_limits<double>::infinity()) {
    pacer_.OnSent(now, options_.datagram_bytes, rate, control_->send_quantum());
  }
  packets_.push_back(packet);
  last_sent_ = now;
  const Wire wire{index_, next_number_++};
  path_.forward.Send(std::as_bytes(std::span(wire)), options_.datagram_bytes);
}

void Flow::OnAck(std::uint64_t log_size) {
  if (log_size <= log_seen_) return;
  const TimePoint now = scheduler_.now();
  const std::uint64_t largest_before = largest_acked_;
  outcomes_.clear();
  for (; log_seen_ < log_size; ++log_seen_) {
    const std::uint64_t number = log_[log_seen_];
    if (number < first_packet_) continue;
    Packet& packet = At(number);
    if (packet.fate != Fate::kInFlight) continue;
    packet.fate = Fate::kAcked;
    outcomes_.push_back(packet.info);
    largest_acked_ = std::max(largest_acked_, number);
  }
  Duration rtt{0};
  if (largest_acked_ > largest_before || largest_before == 0) {
    rtt = now - At(largest_acked_).info.sent_at;
    const Duration deviation = rtt > smoothed_rtt_ ? rtt - smoothed_rtt_ : smoothed_rtt_ - rtt;
    rtt_variation_ = smoothed_rtt_ == 0s ? rtt / 2 : (3 * rtt_variation_ + deviation) / 4;
    smoothed_rtt_ = smoothed_rtt_ == 0s ? rtt : (7 * smoothed_rtt_ + rtt) / 8;
  }
  probes_ = 0;
  if (!outcomes_.empty()) control_->OnAcked(now, outcomes_, rtt);
  DetectLosses();
  TrySend();
}

void Flow::DetectLosses() {
  const TimePoint now = scheduler_.now();
  const Duration late = smoothed_rtt_ + smoothed_rtt_ / 8 + 1ms;
  outcomes_.clear();
  for (std::uint64_t number = judged_; number < largest_acked_; ++number) {
    Packet& packet = At(number);
    if (packet.fate == Fate::kInFlight) {
      if (number + 3 > largest_acked_ && packet.info.sent_at + late > now) break;
      packet.fate = Fate::kLost;
      ++lost_count_;
      again_.push_back(packet.unit);
      outcomes_.push_back(packet.info);
    }
    judged_ = number + 1;
  }
  while (first_packet_ < judged_ && !packets_.empty()) {
    packets_.pop_front();
    ++first_packet_;
  }
  if (!outcomes_.empty()) control_->OnLost(now, outcomes_);
}

Duration Flow::ProbeTimeout() const {
  const Duration base =
      smoothed_rtt_ == 0s
          ? Duration(1s)
          : smoothed_rtt_ + std::max<Duration>(4 * rtt_variation_, 1ms) + options_.ack_delay;
  return base * (1 << std::min(probes_, 6U));
}

void Flow::SetTimer() {
  if (timer_) scheduler_.Cancel(*timer_);
  timer_.reset();
  if (control_->in_flight() == 0 && again_.empty() && next_unit_ == units_) return;
  TimePoint when = last_sent_ + ProbeTimeout();
  if (judged_ < largest_acked_) {
    when = std::min(when, At(judged_).info.sent_at + smoothed_rtt_ + smoothed_rtt_ / 8 + 1ms);
  }
  const bool data = !again_.empty() || next_unit_ < units_;
  if (data &&
      control_->in_flight() + Bytes(options_.datagram_bytes) <= control_->congestion_window()) {
    when = std::min(when, pacer_.NextBurst());
  }
  const Duration grain = options_.timer_granularity;
  if (grain > 0s) {
    const auto steps = (when.time_since_epoch() + grain - Duration(1)) / grain;
    when = TimePoint(steps * grain);
  }
  timer_ = scheduler_.At(std::max(when, scheduler_.now() + 1us), [this] { OnTimer(); });
}

void Flow::OnTimer() {
  timer_.reset();
  DetectLosses();
  if (scheduler_.now() >= last_sent_ + ProbeTimeout() && control_->in_flight() > 0) {
    if (++probes_ == 3) control_->OnPersistentCongestion();
    if (again_.empty() && next_unit_ == units_) {  // nothing new: the oldest again
      for (std::uint64_t number = judged_; number < next_number_; ++number) {
        if (At(number).fate != Fate::kInFlight) continue;
        again_.push_back(At(number).unit);
        break;
      }
    }
    if (!again_.empty() || next_unit_ < units_) SendPacket();
  }
  TrySend();
}

void Flow::OnDatagram(std::uint64_t number) {
  log_.push_back(static_cast<std::uint32_t>(number));
  if (number >= first_packet_) {
    const std::uint64_t unit = At(number).unit;
    if (unit >= have_unit_.size())
      have_unit_.resize(std::max<std::size_t>(unit + 1, 2 * have_unit_.size()));
    if (!have_unit_[unit]) ++units_delivered_;
    have_unit_[unit] = true;
  }
  if (log_.size() - acked_log_ >= options_.packets_per_ack) {
    SendAck();
  } else if (!ack_timer_) {
    ack_timer_ = scheduler_.After(options_.ack_delay, [this] {
      ack_timer_.reset();
      SendAck();
    });
  }
}

void Flow::SendAck() {
  if (ack_timer_) scheduler_.Cancel(*ack_timer_);
  ack_timer_.reset();
  acked_log_ = log_.size();
  const Wire wire{index_, acked_log_};
  path_.back.Send(std::as_bytes(std::span(wire)), 64);
}

}  // namespace ds::udp_transfer
