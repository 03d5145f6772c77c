#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "udp_transfer/core/discovery.h"

namespace ds::udp_transfer {

inline constexpr std::pair<const char*, Discovery::Mode> kClientModeNames[] = {
    {"auto", Discovery::Mode::kAuto},
    {"classic", Discovery::Mode::kClassic},
    {"fast", Discovery::Mode::kFast}};

/// What udp-client can be told.
struct ClientOptions {
  std::string server;              ///< HOST:PORT
  std::vector<std::string> paths;  ///< local ones, and last the name on the server
  Discovery::Mode mode = Discovery::Mode::kAuto;
  std::string key_file;                     ///< empty: no key
  bool resume = false;                      ///< go on where an earlier transfer broke off
  double rate_limit_mbit = 0;               ///< 10^6 bit/s of UDP payload; 0: none
  double timeout_s = 10;                    ///< for the first answer
  double idle_timeout_s = 30;               ///< without a sign of life
  std::uint64_t window_bytes = 32U << 20U;  ///< send buffer, 64 KiB to 1 GiB
  bool json = false;
  /// Why kAuto became kFast, for the error when the server does not know fast mode; else empty.
  std::string fast_because{};

  /// Also settles what `mode` the other options leave.
  absl::Status Validate();
  /// `what` can only be done in fast mode. An error if that is excluded.
  absl::Status NeedFast(const std::string& what);
};

}  // namespace ds::udp_transfer
