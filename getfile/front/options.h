#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {

/// What every program with this front can be told, beside what every daemon can.
struct FrontOptions {
  unsigned threads = 0;  ///< workers; 0: one per core, at least 2
  Dialect dialect = Dialect::kStandard;
  std::uint64_t delay_us = 0;    ///< before each lookup
  double header_timeout_s = 10;  ///< for a whole header, from accept or from the last answer
  double timeout_s = 30;         ///< without progress of the peer in an answer
  std::size_t connections_max = 65536;
  std::uint64_t send_buffer_total = 256U << 20U;  ///< bytes in the kernel's send buffers
  std::string access_log;                         ///< file; empty: none

  absl::Status Validate() const;
};

/// How many workers `options` mean on this machine.
unsigned WorkerCount(const FrontOptions& options);

/// Adds the flags of `options`, which must outlive `flags`: --threads, --dialect, --header-timeout,
/// --timeout, --max-connections, --send-buffer-total, --access-log.
void AddFrontFlags(CLI::App& flags, FrontOptions* options);
/// Adds --delay, for programs whose own source is asked at once.
void AddDelayFlag(CLI::App& flags, FrontOptions* options);

}  // namespace ds::getfile
