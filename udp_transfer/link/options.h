#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "udp_transfer/link/link_model.h"

namespace ds::udp_transfer {

/// Which end of the link. Also an index: direction i is the one that leaves side i.
enum class SideName : std::size_t { kA = 0, kB = 1 };
inline constexpr std::array<const char*, 2> kSideNames{"a", "b"};

/// What link-emulator is told. Texts of the form "X[,Y]" are for both directions, or for a to b and
/// b to a.
struct EmulatorOptions {
  static constexpr std::size_t kMtuMin = 1280;  ///< IPv6 asks for as much
  static constexpr std::size_t kMtuMax = 65535;

  std::string rate_mbit;       ///< empty: no limit
  std::string delay_ms = "0";  ///< one way
  std::string jitter_ms = "0";
  std::string loss_percent = "0";
  std::string queue;  ///< see ParseQueue(); empty: one bandwidth-delay product
  std::string corrupt_percent = "0";
  std::string duplicate_percent = "0";
  std::string reorder_percent = "0";
  std::string reorder_by_ms = "5";
  std::uint64_t seed = 1;
  std::size_t mtu = 1500;            ///< bytes of an IP packet
  std::vector<std::string> servers;  ///< shell commands for side b
  double server_timeout_s = 10;      ///< for each to bind a socket
  double drain_timeout_s = 5;        ///< from SIGTERM to SIGKILL for all that was started
  std::vector<std::string> command;  ///< for side a
  std::string join;                  ///< PID:a, PID:b
  bool json = false;
  bool quiet = false;
  bool exit_on_stdin_close = false;

  /// Both directions, checked. kInvalidArgument names the option.
  absl::StatusOr<std::array<LinkOptions, 2>> Links() const;
};

/// Sets the limits of a queue: "64p" packets, "20ms" at the link's rate, or a number of bytes; ""
/// is what a link with this rate and round trip would be given: their product, or 64 full packets.
/// REQUIRES: link->rate_bits_per_s > 0.
absl::Status ParseQueue(const std::string& text, Duration round_trip, std::size_t mtu,
                        LinkOptions* link);

}  // namespace ds::udp_transfer
