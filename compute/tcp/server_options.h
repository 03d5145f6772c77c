#pragma once

#include <cstddef>

#include "common/base/status.h"

namespace ds::compute::tcp {

/// What prime-server can be told, beside what every daemon can.
struct ServerOptions {
  unsigned workers = 0;                 ///< threads; 0: one per core, at least 2
  double idle_timeout_s = 300;          ///< without a byte in either direction
  std::size_t connections_max = 65536;  ///< open at once; fewer where the limit of files is lower

  absl::Status Validate() const;
};

}  // namespace ds::compute::tcp
