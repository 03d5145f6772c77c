#include "udp_transfer/core/delivery_rate.h"

#include <algorithm>
#include <utility>

namespace ds::udp_transfer {

SentState DeliveryRate::OnSent(TimePoint now, std::size_t bytes) {
  if (in_flight_ == 0) first_sent_at_ = delivered_at_ = now;
  in_flight_ += bytes;
  return {delivered_, lost_, in_flight_, delivered_at_, first_sent_at_, app_limited(), false};
}

void DeliveryRate::OnAcked(TimePoint now, const PacketOutcome& packet) {
  delivered_ += packet.bytes;
  delivered_at_ = now;
  LeaveFlight(packet.bytes);
  if (!newest_ || packet.sent_at >= newest_->sent_at) newest_ = packet;
}

void DeliveryRate::OnLost(std::size_t bytes) {
  lost_ += bytes;
  LeaveFlight(bytes);
}

void DeliveryRate::OnSpuriousLoss(std::size_t bytes) {
  lost_ -= std::min<std::uint64_t>(lost_, bytes);
  delivered_ += bytes;
}

std::optional<RateSample> DeliveryRate::TakeSample(Duration interval_min) {
  if (app_limited_until_ != 0 && delivered_ + lost_ >= app_limited_until_) app_limited_until_ = 0;
  if (!newest_) return std::nullopt;
  const PacketOutcome packet = *std::exchange(newest_, std::nullopt);
  first_sent_at_ = packet.sent_at;
  // Acknowledgements may come compressed, packets may have left in a burst: the slower of the two
  // is no faster than the path.
  const Duration interval = std::max(packet.sent_at - packet.state.first_sent_at,
                                     delivered_at_ - packet.state.delivered_at);
  if (interval < interval_min || interval <= Duration::zero()) return std::nullopt;
  return RateSample{delivered_ - packet.state.delivered, lost_ - std::min(lost_, packet.state.lost),
                    interval, packet.state.app_limited, packet.state};
}

}  // namespace ds::udp_transfer
