#include "udp_transfer/core/mtu_search.h"

#include <algorithm>

namespace ds::udp_transfer {
namespace {

/// What real paths carry: IPv6's minimum; tunnels; Ethernet with IPv6, IPv4; jumbo frames with
/// IPv6, IPv4; loopback, where steps of two find out without asking for too much at once.
constexpr std::array<std::size_t, 11> kCandidates{1200, 1232,  1372,  1452,  1472, 8952,
                                                  8972, 16384, 32768, 65488, 65507};
/// Asked first, since it is true nearly always.
constexpr std::size_t kEthernet = 1472;

}  // namespace

std::optional<std::size_t> MtuSearch::NextCandidate() const {
  if (size_ < kEthernet && kEthernet < refused_) return kEthernet;
  for (const std::size_t candidate : kCandidates) {
    if (candidate > size_ && candidate < refused_) return candidate;
  }
  if (size_max_ > size_ && size_max_ < refused_) return size_max_;
  return std::nullopt;
}

std::optional<std::size_t> MtuSearch::ProbeSize(TimePoint now) {
  if (probe_ || size_ == size_max_) return std::nullopt;
  if (finished_at_ && now >= *finished_at_ + kSearchInterval) {
    refused_ = size_max_ + 1;
    finished_at_.reset();
  }
  if (finished_at_) return std::nullopt;
  const auto candidate = NextCandidate();
  if (!candidate) finished_at_ = now;
  return candidate;
}

void MtuSearch::OnProbeAcked(std::size_t size) {
  if (probe_ != size) return;
  probe_.reset();
  probes_lost_ = 0;
  size_ = std::max(size_, size);
}

void MtuSearch::OnProbeLost(std::size_t size) {
  if (probe_ != size) return;
  probe_.reset();
  if (++probes_lost_ < kProbesMax) return;
  probes_lost_ = 0;
  refused_ = std::min(refused_, size);
}

bool MtuSearch::OnTooBig(std::size_t size) {
  if (size <= kBase) return false;
  if (size <= size_) StartAgain();
  if (probe_ == size) {
    probe_.reset();
    probes_lost_ = 0;
  }
  refused_ = std::min(refused_, size);
  return true;
}

void MtuSearch::OnAcked(std::size_t size, TimePoint sent_at) {
  if (size <= kBase) return;
  large_arrived_ = std::max(large_arrived_, sent_at);
  large_lost_ = 0;
}

void MtuSearch::OnLost(std::size_t size, TimePoint sent_at) {
  if (size <= kBase || sent_at <= large_arrived_) return;
  if (++large_lost_ >= kBlackHoleLosses) StartAgain();
}

void MtuSearch::StartAgain() {
  size_ = kBase;
  refused_ = size_max_ + 1;
  probe_.reset();
  probes_lost_ = 0;
  finished_at_.reset();
  large_lost_ = 0;
}

}  // namespace ds::udp_transfer
