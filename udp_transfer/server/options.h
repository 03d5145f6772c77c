#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "udp_transfer/core/classic_server.h"
#include "udp_transfer/server/fast_service.h"
#include "udp_transfer/server/final_names.h"

namespace ds::udp_transfer {

enum class ServerMode { kAuto, kClassic, kFast };
inline constexpr std::pair<const char*, ServerMode> kServerModeNames[] = {
    {"auto", ServerMode::kAuto}, {"classic", ServerMode::kClassic}, {"fast", ServerMode::kFast}};

inline constexpr std::pair<const char*, Overwrite> kOverwriteNames[] = {
    {"yes", Overwrite::kYes}, {"no", Overwrite::kNo}, {"rename", Overwrite::kRename}};

/// What udp-server can be told, beside what every daemon can.
struct ServerOptions {
  std::string folder = ".";  ///< where files go
  ServerMode mode = ServerMode::kAuto;
  bool classic = false;                  ///< off loopback and beside a key, too
  std::optional<Overwrite> overwrite{};  ///< none: yes; off loopback, rename
  std::string key_file;                  ///< empty: no key
  bool sync = true;                      ///< files survive a loss of power once acknowledged

  ClassicServer::Options classic_limits{};
  FastService::Options fast{};
  std::uint64_t file_bytes_max = UINT64_MAX;     ///< of a fast transfer
  std::uint64_t partial_bytes_max = UINT64_MAX;  ///< of all unfinished fast transfers
  double keep_partial_s = 24 * 3600;

  absl::Status Validate() const;
};

}  // namespace ds::udp_transfer
