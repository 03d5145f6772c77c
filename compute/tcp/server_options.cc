#include "compute/tcp/server_options.h"

namespace ds::compute::tcp {

absl::Status ServerOptions::Validate() const {
  if (workers > 1024) return InvalidArgument("--workers: more than 1024");
  if (idle_timeout_s <= 0) return InvalidArgument("--idle-timeout: not above 0 s");
  if (connections_max == 0) return InvalidArgument("--max-connections: 0");
  return absl::OkStatus();
}

}  // namespace ds::compute::tcp
