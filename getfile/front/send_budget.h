#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ds::getfile {

/// One worker's share of the kernel's send-buffer memory, and how much of it a connection may fill.
///
/// What a peer does not read stays in the kernel and cannot be taken back, so it has to be refused
/// beforehand. Half of the budget is for connections that have shown no progress yet: each may fill
/// 1/16 of what is left of that half (a dynamic threshold, as switches share their packet buffers),
/// and never less than a small floor. The other half is for connections whose peers do read; they
/// grow by factors of four as far as it lasts. So peers that never read can take half of the budget
/// plus a floor each, and never the speed of those that read. A value, single threaded.
class SendBudget {
 public:
  static constexpr std::uint64_t kAllowanceMax = 8U << 20U;

  SendBudget(std::uint64_t bytes_total, std::size_t connections_max)
      : bytes_total_(bytes_total),
        floor_(std::clamp<std::uint64_t>(bytes_total / std::max<std::size_t>(connections_max, 1),
                                         4096, 16384)) {}

  /// For a connection that has shown nothing yet.
  std::uint64_t InitialAllowance() const {
    const std::uint64_t half = bytes_total_ / 2;
    const std::uint64_t left = half > bytes_used_ ? half - bytes_used_ : 0;
    return std::clamp<std::uint64_t>(left / 16, floor_, 2U << 20U);
  }

  /// For a connection that had filled `allowance` and whose peer has taken it.
  std::uint64_t GrownAllowance(std::uint64_t allowance) const {
    const std::uint64_t grown = std::min(allowance * 4, kAllowanceMax);
    return bytes_used_ + grown <= bytes_total_ ? std::max(grown, allowance) : allowance;
  }

  /// More than half is used: connections without progress must shrink.
  bool tight() const { return bytes_used_ > bytes_total_ / 2; }
  std::uint64_t floor() const { return floor_; }
  std::uint64_t bytes_used() const { return bytes_used_; }

  /// A connection that was charged `before` now holds `after` bytes in the kernel.
  void Recharge(std::uint64_t before, std::uint64_t after) { bytes_used_ += after - before; }

 private:
  const std::uint64_t bytes_total_;
  const std::uint64_t floor_;
  std::uint64_t bytes_used_ = 0;
};

}  // namespace ds::getfile
