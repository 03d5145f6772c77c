#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "getfile/core/protocol.h"

namespace ds::getfile {

/// What getfile-server can be told, beside what every daemon can.
struct ServerOptions {
  unsigned threads = 0;      ///< workers; 0: one per core, at least 2
  std::string root = ".";    ///< served as a tree, unless there is a content file
  std::string content_file;  ///< empty: serve `root`
  bool dot_files = false;    ///< serve paths with components that begin with a dot
  Dialect dialect = Dialect::kStandard;
  std::uint64_t delay_us = 0;    ///< before each lookup
  double header_timeout_s = 10;  ///< for a whole header, from accept or from the last answer
  double timeout_s = 30;         ///< without progress in an answer
  double revalidate_s = 1;       ///< how long a cached open file may be stale
  std::size_t connections_max = 65536;
  std::uint64_t send_buffer_total = 256U << 20U;  ///< bytes in the kernel's send buffers
  std::string access_log;                         ///< file; empty: none

  absl::Status Validate() const;
};

}  // namespace ds::getfile
